//! From what is in a cluster and what is declared already to what would be declared: a pure function.
//!
//! ```text
//!  Found ────┬─► secrets    same name, type and content ─► a credential and its links, one for each set of accounts
//!  Declared ─┴─► bindings   a RoleBinding ─► a grant for each of its subjects         what is left out, and why
//! ```
//!
//! Names hold from one run to the next, also when the first was cut off: they are made of what taking over does not
//! change, and what an earlier run declared is found again by its very content.

mod bindings;
mod names;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};

use pullpass_domain::{
    docker_config::DockerConfig,
    grant::Grant,
    link::Link,
    name::{ClusterName, CredentialName, GrantName, LinkName, Namespace, SecretName},
    selector::Labels,
};

pub(super) use self::{bindings::options, secrets::word};
use super::survey::{Found, Meta};

/// What the services know already.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub(super) credentials: BTreeMap<CredentialName, Stored>,
    pub(super) links: BTreeMap<LinkName, Link>,
    pub(super) grants: BTreeMap<GrantName, Grant>,
}

impl Declared {
    /// Whether an earlier run made a credential of this name and linked it.
    pub(super) fn links_adopted(&self, id: &str) -> bool {
        let credential = self.credentials.iter().find(|(name, _)| name.id() == id);
        credential.is_some_and(|(name, stored)| {
            stored.description.starts_with(secrets::ADOPTED)
                && self.links.values().any(|link| link.credentials().contains(name))
        })
    }
}

/// What may be known of a stored credential.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) description: String,
    /// Registry and user name of each entry of the newest version.
    pub(super) entries: Vec<(String, String)>,
    pub(super) etag: String,
}

/// The answer to a survey.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    pub(super) pulls: Vec<Pull>,
    pub(super) accesses: Vec<Access>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Which object, and which state of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: String,
    /// The link or grant that its annotation names already.
    pub(super) marked: Option<String>,
}

impl Object {
    fn of(meta: &Meta, marked: Option<&String>) -> Self {
        Self {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            version: meta.resource_version.clone(),
            marked: marked.cloned(),
        }
    }
}

/// Secrets of one name, type and content, and what they would become.
#[derive(Debug)]
pub(super) struct Pull {
    pub(super) name: String,
    pub(super) credential: CredentialName,
    pub(super) description: String,
    pub(super) config: DockerConfig,
    pub(super) storing: Storing,
    pub(super) secret_name: SecretName,
    pub(super) links: Vec<PlannedLink>,
    /// What a person should know before.
    pub(super) notes: Vec<String>,
}

/// What is to be done with the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Storing {
    /// It becomes a new credential.
    New,
    /// An earlier run stored it and went no further. It may have changed since: it becomes the next version of what has
    /// this etag.
    Again(String),
    /// A Secret of the credential's link has the very content.
    Held,
}

/// A link, and the Secrets that it would take over.
#[derive(Debug)]
pub(super) struct PlannedLink {
    pub(super) name: LinkName,
    pub(super) link: Link,
    pub(super) declared: bool,
    pub(super) secrets: Vec<Object>,
}

/// A RoleBinding, and the grants in its place.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) name: String,
    pub(super) old: Object,
    pub(super) grants: Vec<PlannedGrant>,
}

#[derive(Debug)]
pub(super) struct PlannedGrant {
    pub(super) name: GrantName,
    pub(super) grant: Grant,
    pub(super) declared: bool,
}

/// An object that is not proposed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) why: String,
}

impl LeftOut {
    fn new(kind: &'static str, meta: &Meta, why: impl Into<String>) -> Self {
        Self { kind, namespace: meta.namespace.clone(), name: meta.name.clone(), why: why.into() }
    }
}

/// Proposes for `cluster`. The platform's own namespaces count only if they are among the `named`.
pub(super) fn propose(
    cluster: &ClusterName,
    named: &[Namespace],
    found: &Found,
    declared: &Declared,
) -> Proposals {
    let namespaces = namespaces(named, found);
    let mut proposals = Proposals::default();
    let mut taken = BTreeSet::new();
    secrets::propose(
        &secrets::Scene { cluster, namespaces: &namespaces, found, declared },
        &mut taken,
        &mut proposals,
    );
    bindings::propose(cluster, &namespaces, found, declared, &mut taken, &mut proposals);
    proposals
}

/// Those that are looked at, with their labels.
type Namespaces = BTreeMap<Namespace, Labels>;

fn namespaces(named: &[Namespace], found: &Found) -> Namespaces {
    let looked_at = found.namespaces.iter().filter(|namespace| !namespace.metadata.is_going());
    let looked_at = looked_at.filter_map(|namespace| {
        let name = Namespace::new(&*namespace.metadata.name).ok()?;
        (named.contains(&name) || !name.is_platform()).then(|| (name, namespace.metadata.labels.clone()))
    });
    looked_at.collect()
}

/// Why somebody else would go on writing the object, if so.
fn others(meta: &Meta) -> Option<String> {
    if meta.is_going() {
        return Some("is being deleted".to_owned());
    }
    if let Some(owner) = meta.owner_references.first() {
        return Some(format!(
            "belongs to {} {}, which writes it: adopt what that was made from",
            owner.kind, owner.name
        ));
    }
    let manager = meta.labels.get(super::survey::MANAGED_BY);
    manager.map(|manager| format!("is managed by {manager}: take it out there first"))
}
