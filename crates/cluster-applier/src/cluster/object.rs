//! What we keep of the API server's objects: the little that a plan needs. A Secret's payload becomes a digest while it
//! is parsed, so its bytes are never held.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{Secret, ServiceAccount},
        rbac::v1::RoleBinding,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use litemap::LiteMap;
use pullpass_domain::selector::Labels;
use serde::{Deserialize, Deserializer, de};

/// The label of everything that we manage.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub(crate) const PULLPASS: &str = "pullpass";
/// The annotation of a managed Secret: the id of its link.
pub(crate) const LINK: &str = "pullpass.io/link";
/// The annotation of a stand-in: the name of the Secret whose place it keeps.
pub(crate) const STANDS_FOR: &str = "pullpass.io/stands-for";
/// The annotation of a managed RoleBinding: the id of its grant.
pub(crate) const GRANT: &str = "pullpass.io/grant";

/// SHA-256 of a value.
pub(crate) type Digest = [u8; 32];

/// The digest by which the content of a Secret is compared.
pub(crate) fn digest_of(value: &[u8]) -> Digest {
    let mut result = Digest::default();
    result.copy_from_slice(digest(&SHA256, value).as_ref());
    result
}

/// Which object, and which state of it: what every guarded write needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Identity {
    pub(crate) uid: String,
    pub(crate) version: String,
}

impl Identity {
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
        }
    }

    /// Whether `other` is an earlier state of the same object: news that is no news. Resource versions have been
    /// comparable numbers in every release (and officially so since 1.35); where they are not, news is news.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        let number = |identity: &Self| identity.version.parse::<u64>().ok();
        self.uid == other.uid && number(self).zip(number(other)).is_some_and(|(a, b)| a > b)
    }
}

/// The marks that tell whose an object is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Marks {
    /// It carries the label `app.kubernetes.io/managed-by: pullpass`.
    pub(crate) labelled: bool,
    /// The id of the link or grant in its annotation.
    pub(crate) cause: Option<String>,
}

impl Marks {
    fn of(meta: &ObjectMeta, annotation: &str) -> Self {
        let label = meta.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
        Self {
            labelled: label.is_some_and(|value| value == PULLPASS),
            cause: meta.annotations.as_ref().and_then(|annotations| annotations.get(annotation)).cloned(),
        }
    }
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NamespaceFacts {
    pub(crate) labels: Labels,
    pub(crate) terminating: bool,
}

impl From<&ObjectMeta> for NamespaceFacts {
    fn from(meta: &ObjectMeta) -> Self {
        Self {
            labels: meta.labels.clone().unwrap_or_default(),
            terminating: meta.deletion_timestamp.is_some(),
        }
    }
}

/// A service account: its labels and its two lists, nameless entries and repetitions included, for positions count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Account {
    pub(crate) identity: Identity,
    pub(crate) labels: Labels,
    pub(crate) pull: Vec<String>,
    pub(crate) mount: Vec<String>,
}

impl From<ServiceAccount> for Account {
    fn from(account: ServiceAccount) -> Self {
        let pull = account.image_pull_secrets.unwrap_or_default();
        let mount = account.secrets.unwrap_or_default();
        Self {
            identity: Identity::of(&account.metadata),
            labels: account.metadata.labels.unwrap_or_default(),
            pull: pull.into_iter().map(|entry| entry.name).collect(),
            mount: mount.into_iter().map(|entry| entry.name.unwrap_or_default()).collect(),
        }
    }
}

/// A Secret that is ours, or has the name of one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SecretFacts {
    pub(crate) identity: Identity,
    pub(crate) marks: Marks,
    pub(crate) secret_type: String,
    /// Digest of each value.
    pub(crate) data: LiteMap<String, Option<Digest>>,
    pub(crate) immutable: bool,
    pub(crate) terminating: bool,
    /// It is a stand-in: while this Secret is being made anew, it tells whose the entries are that name it.
    pub(crate) stands_for: Option<String>,
}

impl From<SlimSecret> for SecretFacts {
    fn from(secret: SlimSecret) -> Self {
        Self {
            identity: Identity::of(&secret.metadata),
            marks: Marks::of(&secret.metadata, LINK),
            secret_type: secret.secret_type,
            data: secret.data.into_iter().map(|(key, value)| (key, value.0)).collect(),
            immutable: secret.immutable,
            terminating: secret.metadata.deletion_timestamp.is_some(),
            stands_for: secret
                .metadata
                .annotations
                .and_then(|mut annotations| annotations.remove(STANDS_FOR)),
        }
    }
}

/// A RoleBinding that is ours, or has the name of one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BindingFacts {
    pub(crate) identity: Identity,
    pub(crate) marks: Marks,
    /// Kind and name of the role.
    pub(crate) role: (String, String),
    pub(crate) subjects: Vec<SubjectFacts>,
    pub(crate) terminating: bool,
}

/// A subject as RBAC has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord)]
pub(crate) struct SubjectFacts {
    pub(crate) api_group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl From<RoleBinding> for BindingFacts {
    fn from(binding: RoleBinding) -> Self {
        let subjects = binding.subjects.unwrap_or_default().into_iter();
        let subjects = subjects.map(|subject| SubjectFacts {
            api_group: subject.api_group.unwrap_or_default(),
            kind: subject.kind,
            namespace: subject.namespace.unwrap_or_default(),
            name: subject.name,
        });
        Self {
            identity: Identity::of(&binding.metadata),
            marks: Marks::of(&binding.metadata, GRANT),
            subjects: subjects.collect(),
            role: (binding.role_ref.kind, binding.role_ref.name),
            terminating: binding.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// A Secret on the wire, whose values turn into digests while they are parsed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SlimSecret {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default, rename = "type")]
    secret_type: String,
    #[serde(default, deserialize_with = "nullable")]
    data: BTreeMap<String, ValueDigest>,
    #[serde(default, deserialize_with = "nullable")]
    immutable: bool,
}

/// `null` is as good as nothing.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// Digest of one value; none if the value is not what the API server sends, which no error may quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ValueDigest(Option<Digest>);

impl<'de> Deserialize<'de> for ValueDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ValueVisitor)
    }
}

struct ValueVisitor;

impl de::Visitor<'_> for ValueVisitor {
    type Value = ValueDigest;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ValueDigest, E> {
        let bytes = STANDARD.decode(text).map(pullpass_domain::secret::SecretBytes::new);
        Ok(ValueDigest(bytes.ok().map(|bytes| digest_of(bytes.expose()))))
    }
}

impl Resource for SlimSecret {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_reduced_to_marks_type_and_digests() {
        let wire = json!({
            "metadata": {
                "name": "web", "uid": "u", "resourceVersion": "7",
                "labels": {MANAGED_BY: PULLPASS}, "annotations": {LINK: "web"},
            },
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": STANDARD.encode("{}"), "bad": "%%%"},
        });
        let secret: SlimSecret = serde_json::from_value(wire).expect("a secret");
        let facts = SecretFacts::from(secret);
        assert_eq!(facts.marks, Marks { labelled: true, cause: Some("web".into()) });
        assert_eq!(facts.data.get(".dockerconfigjson"), Some(&Some(digest_of(b"{}"))));
        assert_eq!(facts.data.get("bad"), Some(&None));
        assert!(!format!("{facts:?}").contains(&STANDARD.encode("{}")));
    }

    #[test]
    fn nameless_entries_keep_their_place() {
        let wire =
            json!({"metadata": {}, "imagePullSecrets": [{"name": "a"}, {}, {"name": "b"}], "secrets": [{}]});
        let account = Account::from(serde_json::from_value::<ServiceAccount>(wire).expect("an account"));
        assert_eq!(
            (account.pull, account.mount),
            (vec!["a".into(), String::new(), "b".into()], vec![String::new()])
        );
    }

    #[test]
    fn only_a_later_state_of_the_same_object_is_newer() {
        let state = |uid: &str, version: &str| Identity { uid: uid.into(), version: version.into() };
        for (a, b, newer) in [("10", "9", true), ("9", "10", false), ("9", "9", false), ("x", "9", false)] {
            assert_eq!(state("u", a).is_newer_than(&state("u", b)), newer, "{a} {b}");
        }
        assert!(!state("u", "10").is_newer_than(&state("v", "9")));
    }
}
