//! Taking over, so that there is no moment in which a pod could not pull. Whatever is cut off is done by running it again.
//!
//! A Secret: its content is stored; it gets the annotation of its link, without the label; the link is declared. The
//! applier takes a Secret with the annotation alone for one of that link's that somebody damaged, and repairs it where it
//! stands: the same object, the same keyring, its entries in service accounts untouched. The annotation comes first
//! because alone it does nothing (no applier, of whichever cluster, deletes what has no label); the label before the link
//! is known would have the Secret deleted as a leftover.
//!
//! A RoleBinding: ours have names of their own, so the grants are declared, their bindings are looked for, and only then
//! does the old one go, if it still is as it was.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use pullpass_api::{
    convert,
    credential::v1::{AddCredentialVersionRequest, CreateCredentialRequest, Material, material::Source},
    grant::v1::{CreateImageGrantRequest, CreateSecretLinkRequest, SyncState, SyncStatus},
};
use pullpass_domain::{
    docker_config::SecretType,
    grant::{Grant, Subject},
    name::{ClusterName, GrantName},
};
use serde_json::json;

use super::{
    kubectl::{Kubectl, Scope},
    propose::{Access, Object, PlannedGrant, PlannedLink, Pull, Storing},
    survey::{Binding, MANAGED_BY, Named, PULLPASS, ROLE_BINDINGS, Reference},
};
use crate::{client::Session, output::note, wait};

const LINK: &str = "pullpass.io/link";
const GRANT: &str = "pullpass.io/grant";

/// How many Secrets are marked at the same time, each by a kubectl of its own.
const AT_ONCE: usize = 4;

/// Where it is done.
pub(super) struct Site<'a> {
    pub(super) session: &'a Session,
    pub(super) kubectl: &'a Kubectl,
    pub(super) cluster: &'a ClusterName,
}

impl Site<'_> {
    /// Takes over Secrets.
    pub(super) async fn pull(&self, pull: &Pull) -> anyhow::Result<()> {
        self.store(pull).await?;
        let secrets =
            pull.links.iter().flat_map(|planned| planned.secrets.iter().map(move |secret| (secret, planned)));
        let marks = stream::iter(secrets.map(|(secret, planned)| self.mark(secret, planned)));
        marks.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        for planned in &pull.links {
            self.declare_link(planned).await?;
        }
        for planned in &pull.links {
            let name = planned.name.to_string();
            self.until(&name, |status| status.state() == SyncState::Synced).await?;
            self.ensure_ours(planned).await?;
            note(&format!("link {} has taken over {}", planned.name.id(), listed(&planned.secrets)));
        }
        Ok(())
    }

    async fn store(&self, pull: &Pull) -> anyhow::Result<()> {
        let (store, id) = (self.session.store(), pull.credential.id());
        let content = pull.config.render(SecretType::DockerConfigJson)?;
        let material = Some(Material { source: Some(Source::DockerConfig(content.expose().to_vec())) });
        match &pull.storing {
            Storing::Held => return Ok(()),
            Storing::New => {
                let request = CreateCredentialRequest {
                    credential_id: id.to_owned(),
                    description: pull.description.clone(),
                    material,
                    ..Default::default()
                };
                let attempted = format!("create credential {id}");
                store.call(attempted, async |mut c| c.create_credential(request).await).await?;
                note(&format!("credential {id} created"));
            }
            Storing::Again(etag) => {
                let request = AddCredentialVersionRequest {
                    name: pull.credential.to_string(),
                    material,
                    etag: etag.clone(),
                    ..Default::default()
                };
                let attempted = format!("store credential {id} again");
                store.call(attempted, async |mut c| c.add_credential_version(request).await).await?;
                note(&format!("credential {id}, which an earlier run created, stored again"));
            }
        }
        Ok(())
    }

    /// Only if the Secret is as it was looked at, for its content has been stored.
    async fn mark(&self, secret: &Object, planned: &PlannedLink) -> anyhow::Result<()> {
        if secret.marked.as_deref() == Some(planned.name.id()) {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "uid": secret.uid, "resourceVersion": secret.version, "annotations": {LINK: planned.name.id()},
        }});
        let (namespace, patch) = (format!("--namespace={}", secret.namespace), format!("--patch={patch}"));
        let arguments =
            ["patch", "secret", &secret.name, &namespace, "--type=merge", &patch, "--output=name"];
        let patched = self.kubectl.run(&arguments, "").await;
        patched.map(|_| ()).with_context(|| {
            format!(
                "Secret {}/{} cannot be marked; if it has changed meanwhile, run the same command again",
                secret.namespace, secret.name
            )
        })
    }

    async fn declare_link(&self, planned: &PlannedLink) -> anyhow::Result<()> {
        let id = planned.name.id();
        if planned.declared {
            return Ok(());
        }
        let request = CreateSecretLinkRequest {
            secret_link_id: id.to_owned(),
            secret_link: Some(convert::link_message(&planned.name, &planned.link)),
            ..Default::default()
        };
        let attempted = format!("create link {id}");
        self.session.grants().call(attempted, async |mut c| c.create_secret_link(request).await).await?;
        note(&format!("link {id} created"));
        Ok(())
    }

    /// The applier says that all is well in its cluster; this is whether that is the cluster which kubectl reaches.
    async fn ensure_ours(&self, planned: &PlannedLink) -> anyhow::Result<()> {
        let (label, name) = (
            format!("--selector={MANAGED_BY}={PULLPASS}"),
            format!("--field-selector=metadata.name={}", planned.link.secret_name()),
        );
        let namespaces: BTreeSet<_> =
            planned.secrets.iter().map(|secret| secret.namespace.as_str()).collect();
        let scopes: Vec<_> = match namespaces.len() {
            1 => namespaces.into_iter().map(Scope::In).collect(),
            _ => vec![Scope::All],
        };
        let mut ours = Vec::<Named>::new();
        for scope in scopes {
            ours.extend(self.kubectl.list("secrets", scope, &[&label, &name]).await?);
        }
        let ours: BTreeSet<_> = ours.iter().map(|secret| secret.metadata.uid.as_str()).collect();
        let foreign: Vec<_> =
            planned.secrets.iter().filter(|secret| !ours.contains(secret.uid.as_str())).cloned().collect();
        ensure!(
            foreign.is_empty(),
            "{} did not become ours: does kubectl reach cluster {}? Check --kubeconfig and --context; if it does not, link {} \
             was not meant: delete it",
            listed(&foreign),
            self.cluster.id(),
            planned.name.id()
        );
        Ok(())
    }

    /// Takes over a RoleBinding.
    pub(super) async fn access(&self, access: &Access) -> anyhow::Result<()> {
        for planned in &access.grants {
            self.declare_grant(planned).await?;
        }
        for planned in &access.grants {
            self.until(&planned.name.to_string(), |status| status.state() == SyncState::Synced).await?;
            self.ensure_bound(planned).await?;
        }
        self.remove(&access.old).await?;
        note(&format!("RoleBinding {}/{} is replaced by grants", access.old.namespace, access.old.name));
        Ok(())
    }

    async fn declare_grant(&self, planned: &PlannedGrant) -> anyhow::Result<()> {
        let id = planned.name.id();
        if planned.declared {
            return Ok(());
        }
        let request = CreateImageGrantRequest {
            image_grant_id: id.to_owned(),
            image_grant: Some(convert::grant_message(&planned.name, &planned.grant)),
            ..Default::default()
        };
        let attempted = format!("create grant {id}");
        self.session.grants().call(attempted, async |mut c| c.create_image_grant(request).await).await?;
        note(&format!("grant {id} created"));
        Ok(())
    }

    /// The grant's own binding must be there, or what it permits goes with the old one. Within one project the applier
    /// writes none, because the old binding permits it already: then it is made here.
    async fn ensure_bound(&self, planned: &PlannedGrant) -> anyhow::Result<()> {
        let (project, name) = (planned.grant.project().as_str(), binding_name(&planned.name));
        if self.is_bound(planned).await? {
            return Ok(());
        }
        let elsewhere = || {
            format!(
                "RoleBinding {project}/{name} is not there, though grant {} is synced: does kubectl reach cluster {}? \
                 Check --kubeconfig and --context",
                planned.name.id(),
                self.cluster.id()
            )
        };
        if !planned.grant.is_within_one_project() {
            bail!(elsewhere());
        }
        let created = self.kubectl.run(&["create", "--filename=-", "--output=name"], &binding(planned)).await;
        created.with_context(|| format!("RoleBinding {project}/{name} cannot be created"))?;
        // When the applier sees it, its reason for writing none is gone. It does not if this is another cluster.
        let name_of_grant = planned.name.to_string();
        let explained = |status: &SyncStatus| status.reasons.iter().any(|r| r.code == "ALREADY_PERMITTED");
        let seen = self.until(&name_of_grant, |status| !explained(status));
        if let Err(unseen) = seen.await {
            let namespace = format!("--namespace={project}");
            self.kubectl.run(&["delete", ROLE_BINDINGS, &name, &namespace, "--ignore-not-found"], "").await?;
            return Err(unseen.context(elsewhere()));
        }
        ensure!(self.is_bound(planned).await?, elsewhere());
        Ok(())
    }

    async fn is_bound(&self, planned: &PlannedGrant) -> anyhow::Result<bool> {
        let (grant, name) = (&planned.grant, binding_name(&planned.name));
        let found: Option<Binding> = self.kubectl.get(ROLE_BINDINGS, grant.project().as_str(), &name).await?;
        Ok(found.is_some_and(|binding| {
            binding.metadata.is_ours()
                && binding.role_ref.name == grant.role().cluster_role()
                && binding.subjects == [reference(grant)]
        }))
    }

    /// `kubectl delete` itself knows no preconditions.
    async fn remove(&self, old: &Object) -> anyhow::Result<()> {
        let (group, kind) = ("apis/rbac.authorization.k8s.io/v1", "rolebindings");
        let path = format!("/{group}/namespaces/{}/{kind}/{}", old.namespace, old.name);
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": old.uid, "resourceVersion": old.version},
        });
        let removed =
            self.kubectl.run(&["delete", "--raw", &path, "--filename=-"], &options.to_string()).await;
        removed.map(|_| ()).with_context(|| {
            format!(
                "RoleBinding {}/{} cannot be deleted; if it has changed meanwhile, run the same command again",
                old.namespace, old.name
            )
        })
    }

    async fn until(&self, name: &str, is: impl Fn(&SyncStatus) -> bool) -> anyhow::Result<()> {
        wait::until(&self.session.grants(), name, &self.cluster.to_string(), is).await
    }
}

/// As the applier names it.
fn binding_name(grant: &GrantName) -> String {
    format!("pullpass-{}", grant.id())
}

/// As the applier writes it.
fn binding(planned: &PlannedGrant) -> String {
    let Reference { kind, namespace, name } = reference(&planned.grant);
    let subject = match kind.as_str() {
        "ServiceAccount" => json!({"kind": kind, "namespace": namespace, "name": name}),
        _ => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}),
    };
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {
            "name": binding_name(&planned.name), "namespace": planned.grant.project().as_str(),
            "labels": {MANAGED_BY: PULLPASS}, "annotations": {GRANT: planned.name.id()},
        },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": planned.grant.role().cluster_role(),
        },
        "subjects": [subject],
    });
    binding.to_string()
}

fn reference(grant: &Grant) -> Reference {
    let (kind, namespace, name) = match grant.subject() {
        Subject::ServiceAccount(namespace, name) => {
            ("ServiceAccount", namespace.to_string(), name.to_string())
        }
        Subject::ProjectServiceAccounts(project) => {
            ("Group", String::new(), format!("system:serviceaccounts:{project}"))
        }
        Subject::Group(name) => ("Group", String::new(), name.to_string()),
        Subject::User(name) => ("User", String::new(), name.to_string()),
    };
    Reference { kind: kind.to_owned(), namespace, name }
}

fn listed(objects: &[Object]) -> String {
    let names: Vec<_> =
        objects.iter().map(|object| format!("{}/{}", object.namespace, object.name)).collect();
    names.join(", ")
}
