//! What grant-manager wants of the cluster: the links and grants that apply to it, as last heard.
//!
//! Pure state. [`crate::follow`] feeds it; a snapshot is built aside and takes its place only when it is complete.

use std::{collections::BTreeMap, fmt, sync::Arc};

use pullpass_api::{
    convert,
    grant::v1::{
        ClusterLeave, ImageGrant, SecretLink, WatchDesiredStateResponse as Message,
        watch_desired_state_response::Event,
    },
};
use pullpass_domain::{
    grant::Grant,
    link::Link,
    name::{GrantName, LinkName},
};

/// A link or a grant: what asks for a change, and what is reported on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Name {
    Grant(GrantName),
    Link(LinkName),
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let link = LinkName::parse(text).map(Self::Link);
        link.or_else(|_| GrantName::parse(text).map(Self::Grant)).ok()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(name) => name.fmt(f),
            Self::Link(name) => name.fmt(f),
        }
    }
}

/// A link or grant as it stood at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted<T> {
    pub(crate) what: T,
    pub(crate) revision: i64,
    /// When it was created, in seconds and nanoseconds: of two links that want the same Secret the older one has it.
    pub(crate) created: (i64, i32),
}

/// Something that we were told of and cannot understand. Its traces in the cluster are left as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) revision: i64,
    pub(crate) problem: String,
}

/// What becomes of our objects when the cluster leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// They go.
    TakeBack,
    /// They stay, without our marks.
    Keep,
}

/// The desired state of the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Desired {
    pub(crate) links: BTreeMap<LinkName, Arc<Wanted<Link>>>,
    pub(crate) grants: BTreeMap<GrantName, Arc<Wanted<Grant>>>,
    pub(crate) unreadable: BTreeMap<Name, Unreadable>,
    /// The revision that this is the state of.
    pub(crate) revision: i64,
    /// Resource name of our cluster, once the first snapshot is complete.
    pub(crate) cluster: Option<String>,
    /// Its uid, another one after it was registered anew: then this is the state of another database.
    pub(crate) cluster_uid: String,
    /// The line of grant-manager's history that the revision belongs to.
    pub(crate) epoch: String,
    /// If our cluster leaves, how. Then nothing else is wanted.
    pub(crate) leave: Option<Leave>,
}

impl Desired {
    /// Takes in one message. Gives the link or grant that it tells of.
    pub(crate) fn apply(&mut self, message: &Message) -> Option<Name> {
        if message.revision > 0 {
            self.revision = message.revision;
        }
        match message.event.as_ref()? {
            Event::SecretLink(link) => self.set_link(link),
            Event::ImageGrant(grant) => self.set_grant(grant),
            Event::Removed(name) => {
                let name = Name::parse(name)?;
                self.remove(&name);
                Some(name)
            }
            Event::SnapshotEnd(end) => {
                self.cluster = Some(end.cluster.clone());
                self.cluster_uid.clone_from(&end.cluster_uid);
                self.epoch.clone_from(&end.epoch);
                self.leave = match end.leave() {
                    ClusterLeave::Unspecified => None,
                    ClusterLeave::TakeBack => Some(Leave::TakeBack),
                    ClusterLeave::Keep => Some(Leave::Keep),
                };
                None
            }
        }
    }

    pub(crate) fn set_link(&mut self, message: &SecretLink) -> Option<Name> {
        let name = LinkName::parse(&message.name).ok()?;
        let key = Name::Link(name.clone());
        self.remove(&key);
        if message.delete_time.is_none() {
            match convert::link(&name, message) {
                Ok(link) => {
                    let created = message.create_time.as_ref();
                    let wanted = wanted(link, message.revision, created.map(|t| (t.seconds, t.nanos)));
                    self.links.insert(name, wanted);
                }
                Err(problem) => self.not_understood(&key, message.revision, &problem),
            }
        }
        Some(key)
    }

    pub(crate) fn set_grant(&mut self, message: &ImageGrant) -> Option<Name> {
        let name = GrantName::parse(&message.name).ok()?;
        let key = Name::Grant(name.clone());
        self.remove(&key);
        if message.delete_time.is_none() {
            match convert::grant(message) {
                Ok(grant) => {
                    let created = message.create_time.as_ref();
                    let wanted = wanted(grant, message.revision, created.map(|t| (t.seconds, t.nanos)));
                    self.grants.insert(name, wanted);
                }
                Err(problem) => self.not_understood(&key, message.revision, &problem),
            }
        }
        Some(key)
    }

    /// Whether this may be what `before` became, and not an older state or one of another history or database.
    pub(crate) fn continues(&self, before: &Self) -> bool {
        let same_history = before.epoch.is_empty() || self.epoch == before.epoch;
        let same = same_history && self.cluster_uid == before.cluster_uid;
        before.cluster.is_none() || (same && self.revision >= before.revision)
    }

    /// Less what `other` has just the same.
    pub(crate) fn less(mut self, other: &Self) -> Self {
        self.links.retain(|name, link| other.links.get(name).is_none_or(|there| there.what != link.what));
        self.grants.retain(|name, grant| other.grants.get(name).is_none_or(|there| there.what != grant.what));
        self.unreadable.retain(|name, _| other.revision_of(name).is_none());
        self
    }

    /// Takes away a link or grant by its resource name; none if it is not one.
    pub(crate) fn remove_named(&mut self, name: &str) -> Option<()> {
        Name::parse(name).map(|name| self.remove(&name))
    }

    /// The revision of a link or grant; none if it does not apply.
    pub(crate) fn revision_of(&self, name: &Name) -> Option<i64> {
        let unreadable = || self.unreadable.get(name).map(|unreadable| unreadable.revision);
        match name {
            Name::Link(link) => self.links.get(link).map(|link| link.revision).or_else(unreadable),
            Name::Grant(grant) => self.grants.get(grant).map(|grant| grant.revision).or_else(unreadable),
        }
    }

    /// Every link and grant that applies.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> {
        let grants = self.grants.keys().cloned().map(Name::Grant);
        let links = self.links.keys().cloned().map(Name::Link);
        grants.chain(links).chain(self.unreadable.keys().cloned())
    }

    pub(crate) fn remove(&mut self, name: &Name) {
        self.unreadable.remove(name);
        match name {
            Name::Link(link) => drop(self.links.remove(link)),
            Name::Grant(grant) => drop(self.grants.remove(grant)),
        }
    }

    fn not_understood(&mut self, name: &Name, revision: i64, problem: &convert::Error) {
        tracing::error!(%name, %problem, "cannot understand what is wanted, its traces stay as they are");
        let problem = problem.to_string();
        self.unreadable.insert(name.clone(), Unreadable { revision, problem });
    }
}

fn wanted<T>(what: T, revision: i64, created: Option<(i64, i32)>) -> Arc<Wanted<T>> {
    let created = created.unwrap_or_default();
    Arc::new(Wanted { what, revision, created })
}

#[cfg(test)]
mod tests {
    use pullpass_api::grant::v1::{
        DesiredStateSnapshotEnd, NamespaceSelection, ServiceAccountSelection, Usage,
    };

    use super::*;

    fn link(name: &str) -> SecretLink {
        SecretLink {
            name: name.into(),
            credentials: vec!["credentials/quay".into()],
            clusters: vec!["clusters/dev".into()],
            namespaces: Some(NamespaceSelection { all: true, ..Default::default() }),
            service_accounts: Some(ServiceAccountSelection { all: true, ..Default::default() }),
            usages: vec![Usage::Pull.into()],
            revision: 3,
            ..Default::default()
        }
    }

    fn message(event: Event, revision: i64) -> Message {
        Message { event: Some(event), revision, ..Default::default() }
    }

    #[test]
    fn links_come_change_and_go() {
        let mut desired = Desired::default();
        let web = Name::Link(LinkName::from_id("web").expect("a name"));
        assert_eq!(desired.apply(&message(Event::SecretLink(link("secretLinks/web")), 3)), Some(web.clone()));
        assert_eq!((desired.revision_of(&web), desired.revision), (Some(3), 3));
        assert_eq!(desired.apply(&message(Event::Removed("secretLinks/web".into()), 4)), Some(web.clone()));
        assert_eq!((desired.revision_of(&web), desired.revision), (None, 4));
    }

    #[test]
    fn a_link_that_is_being_deleted_is_not_wanted() {
        let deleted =
            SecretLink { delete_time: Some(prost_types::Timestamp::default()), ..link("secretLinks/web") };
        let mut desired = Desired::default();
        desired.apply(&message(Event::SecretLink(deleted), 3));
        assert_eq!(desired.names().count(), 0);
    }

    #[test]
    fn what_cannot_be_understood_is_remembered_as_such() {
        let mut desired = Desired::default();
        desired.apply(&message(Event::SecretLink(link("secretLinks/web")), 3));
        let bad = SecretLink { usages: vec![77], ..link("secretLinks/web") };
        let name = desired.apply(&message(Event::SecretLink(bad), 4)).expect("it has a name");
        assert!(desired.links.is_empty());
        assert_eq!(desired.unreadable.keys().next(), Some(&name));
        assert_eq!(desired.revision_of(&name), Some(3));
    }

    #[test]
    fn messages_of_a_snapshot_carry_no_revision_before_its_end() {
        let mut desired = Desired::default();
        desired.apply(&message(Event::SecretLink(link("secretLinks/web")), 0));
        assert_eq!((desired.revision, &desired.cluster), (0, &None));
        let end = DesiredStateSnapshotEnd { cluster: "clusters/dev".into(), ..Default::default() };
        desired.apply(&message(Event::SnapshotEnd(end), 9));
        assert_eq!((desired.revision, desired.cluster.as_deref()), (9, Some("clusters/dev")));
    }
}
