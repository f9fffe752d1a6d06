//! What nobody wants any more, counted without making plans: exactly what the plans of [`super::links`] and
//! [`super::grants`] would delete.

use litemap::LiteMap;
use pullpass_domain::{
    link::Link,
    name::{GrantName, LinkName, Namespace},
};

use super::{grants::binding_name, ownership::managed_for};
use crate::{
    cluster::{
        index::{Index, NamespaceState},
        object::{BindingFacts, Marks, NamespaceFacts, SecretFacts},
    },
    desired::{Desired, Name},
};

/// How many objects are managed, and how many of these nobody wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) managed: usize,
    pub(crate) unwanted: usize,
}

impl Count {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { managed: self.managed + other.managed, unwanted: self.unwanted + other.unwanted }
    }

    pub(crate) fn less(self, other: Self) -> Self {
        Self { managed: self.managed - other.managed, unwanted: self.unwanted - other.unwanted }
    }
}

/// Counts one namespace, and gives the uids of what nobody wants there.
pub(crate) fn count<'a>(namespace: &Namespace, index: &'a Index, desired: &Desired) -> (Count, Vec<&'a str>) {
    let Some(state) = index.namespace(namespace) else { return (Count::default(), Vec::new()) };
    let is_managed = |marks: &Marks| managed_for(marks).is_some();
    let counts = |secret: &&SecretFacts| is_managed(&secret.marks) && !is_spent(secret, &state.secrets);
    let managed = state.secrets.values().filter(counts).count()
        + state.bindings.values().filter(|binding| is_managed(&binding.marks)).count();
    let unwanted = unwanted(namespace, state, desired);
    (Count { managed, unwanted: unwanted.len() }, unwanted)
}

/// How many of the objects that nobody wants are there for one of these links and grants.
pub(crate) fn count_for(causes: &Desired, namespace: &Namespace, index: &Index, desired: &Desired) -> usize {
    let Some(state) = index.namespace(namespace) else { return 0 };
    let of_links = state.secrets.values().filter(|secret| {
        let link = managed_for(&secret.marks).and_then(|id| LinkName::from_id(id).ok());
        link.is_some_and(|link| causes.revision_of(&Name::Link(link)).is_some())
    });
    let of_grants = state.bindings.values().filter(|binding| {
        let grant = managed_for(&binding.marks).and_then(|id| GrantName::from_id(id).ok());
        grant.is_some_and(|grant| causes.revision_of(&Name::Grant(grant)).is_some())
    });
    let uids = of_links.map(|secret| &secret.identity.uid);
    let uids: Vec<_> = uids.chain(of_grants.map(|binding| &binding.identity.uid)).collect();
    unwanted(namespace, state, desired).iter().filter(|uid| uids.iter().any(|of| of == *uid)).count()
}

fn unwanted<'a>(namespace: &Namespace, state: &'a NamespaceState, desired: &Desired) -> Vec<&'a str> {
    // What is in a namespace that goes is left to that.
    let Some(facts) = state.facts.as_ref().filter(|facts| !facts.terminating) else { return Vec::new() };
    let secrets = state.secrets.iter().filter(|(name, secret)| {
        let place = place(name, secret, &state.secrets);
        !is_spent(secret, &state.secrets)
            && is_unwanted_secret(place, secret, desired, |link| reaches(link, namespace, facts))
    });
    let bindings = state
        .bindings
        .iter()
        .filter(|(name, binding)| is_unwanted_binding(name, binding, desired, namespace));
    let secrets = secrets.map(|(_, secret)| secret.identity.uid.as_str());
    secrets.chain(bindings.map(|(_, binding)| binding.identity.uid.as_str())).collect()
}

fn reaches(link: &Link, namespace: &Namespace, facts: &NamespaceFacts) -> bool {
    link.namespaces().matches(namespace, &facts.labels)
}

/// The name by which a Secret is wanted: of a stand-in that of the Secret which is away.
pub(super) fn place<'a>(
    name: &'a str,
    secret: &'a SecretFacts,
    all: &LiteMap<String, SecretFacts>,
) -> &'a str {
    secret.stands_for.as_deref().filter(|away| !all.contains_key(*away)).unwrap_or(name)
}

/// Whether it is a stand-in whose Secret is there: with it nothing goes, so no guard counts or holds it.
pub(super) fn is_spent(secret: &SecretFacts, all: &LiteMap<String, SecretFacts>) -> bool {
    secret.stands_for.as_ref().is_some_and(|stood_for| all.contains_key(stood_for))
}

fn is_unwanted_secret(
    name: &str,
    secret: &SecretFacts,
    desired: &Desired,
    reaches: impl Fn(&Link) -> bool,
) -> bool {
    let Some(link) = managed_for(&secret.marks).and_then(|id| LinkName::from_id(id).ok()) else {
        return false;
    };
    let wants = |link: &Link| link.secret_name().as_str() == name && reaches(link);
    // Most are wanted by the link that they are marked for.
    let is_wanted = desired.links.get(&link).is_some_and(|link| wants(&link.what))
        || desired.links.values().any(|link| wants(&link.what));
    !is_wanted && !secret.terminating && !desired.unreadable.contains_key(&Name::Link(link))
}

fn is_unwanted_binding(name: &str, binding: &BindingFacts, desired: &Desired, namespace: &Namespace) -> bool {
    let Some(grant) = managed_for(&binding.marks).and_then(|id| GrantName::from_id(id).ok()) else {
        return false;
    };
    let mut grants = desired.grants.iter().filter(|(_, grant)| grant.what.project() == namespace);
    let is_wanted = grants.any(|(grant, _)| binding_name(grant) == name);
    !is_wanted && !binding.terminating && !desired.unreadable.contains_key(&Name::Grant(grant))
}
