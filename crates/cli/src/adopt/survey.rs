//! What is in a cluster: the API server's objects, reduced to what a proposal needs. The values of Secrets go from the
//! answer straight into memory that is wiped; annotations that may repeat them are not even kept.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pullpass_domain::{docker_config::SecretType, name::Namespace, secret::SecretBytes};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

use super::kubectl::{Kubectl, Scope};

/// The label of everything that the applier manages, and its value.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(super) const PULLPASS: &str = "pullpass";

/// In full: OpenShift has an older kind of the same short name.
pub(super) const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";

/// All that a proposal is made from.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) namespaces: Vec<Named>,
    pub(super) secrets: Vec<Secret>,
    pub(super) accounts: Vec<Account>,
    pub(super) bindings: Vec<Binding>,
}

/// An object of which only the metadata matter.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) metadata: Meta,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: Annotations,
    pub(super) owner_references: Vec<Owner>,
    deletion_timestamp: Option<IgnoredAny>,
}

/// Those that say whose an object is. The others may hold secrets: OpenShift keeps a token in
/// `openshift.io/token-secret.value`, `kubectl apply` the whole Secret in its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotations {
    /// OpenShift from 4.16 on.
    #[serde(rename = "openshift.io/internal-registry-auth-token.service-account")]
    bound_token: Option<IgnoredAny>,
    /// OpenShift up to 4.15.
    #[serde(rename = "openshift.io/token-secret.name")]
    token_secret: Option<IgnoredAny>,
    /// Somebody keeps it in a file and writes it from there.
    #[serde(rename = "kubectl.kubernetes.io/last-applied-configuration")]
    applied: Option<IgnoredAny>,
    #[serde(rename = "pullpass.io/link")]
    pub(super) link: Option<String>,
    #[serde(rename = "pullpass.io/grant")]
    pub(super) grant: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
}

impl Meta {
    pub(super) fn is_ours(&self) -> bool {
        self.labels.get(MANAGED_BY).is_some_and(|by| by == PULLPASS)
    }

    /// A Secret that OpenShift itself keeps for a service account. Its content changes by itself.
    pub(super) fn is_openshifts(&self) -> bool {
        self.annotations.bound_token.is_some() || self.annotations.token_secret.is_some()
    }

    pub(super) fn is_applied_from_a_file(&self) -> bool {
        self.annotations.applied.is_some()
    }

    pub(super) fn is_going(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// A Secret of one of the two docker types.
#[derive(Debug, Deserialize)]
pub(super) struct Secret {
    pub(super) metadata: Meta,
    /// Its `type`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) data: BTreeMap<String, Content>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) immutable: bool,
}

/// A service account and its two lists.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    pub(super) metadata: Meta,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) image_pull_secrets: Vec<Entry>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) secrets: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Binding {
    pub(super) metadata: Meta,
    pub(super) role_ref: Reference,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) subjects: Vec<Reference>,
}

/// A role or a subject.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Reference {
    pub(super) kind: String,
    #[serde(default)]
    pub(super) namespace: String,
    pub(super) name: String,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// One value of a Secret; empty if it is not what the API server sends.
#[derive(Debug, Clone)]
pub(super) struct Content(pub(super) SecretBytes);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ContentVisitor)
    }
}

struct ContentVisitor;

impl de::Visitor<'_> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content(SecretBytes::new(STANDARD.decode(text).unwrap_or_default())))
    }
}

/// Looks at these namespaces, or at all of them if none is named.
pub(super) async fn survey(kubectl: &Kubectl, named: &[Namespace]) -> anyhow::Result<Found> {
    let mut found =
        Found { namespaces: kubectl.list("namespaces", Scope::All, &[]).await?, ..Found::default() };
    for name in named {
        let exists = found.namespaces.iter().any(|namespace| namespace.metadata.name == name.as_str());
        anyhow::ensure!(exists, "namespace {name} does not exist in that cluster: check -n and --context");
    }
    let scopes: Vec<_> = match named {
        [] => vec![Scope::All],
        _ => named.iter().map(|name| Scope::In(name.as_str())).collect(),
    };
    for scope in scopes {
        for secret_type in [SecretType::DockerConfigJson, SecretType::Dockercfg] {
            let selector = format!("--field-selector=type={}", secret_type.kubernetes_type());
            found.secrets.extend(kubectl.list("secrets", scope, &[&selector]).await?);
        }
        found.accounts.extend(kubectl.list("serviceaccounts", scope, &[]).await?);
        found.bindings.extend(kubectl.list(ROLE_BINDINGS, scope, &[]).await?);
    }
    Ok(found)
}
