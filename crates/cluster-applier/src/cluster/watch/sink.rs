//! Where what the watches tell goes: into the index, and for the Lease to the election.

use std::{collections::HashSet, hash::Hash};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        coordination::v1::Lease,
        core::v1::{Namespace as ApiNamespace, ServiceAccount as ApiServiceAccount},
        rbac::v1::{ClusterRole, RoleBinding},
    },
};
use kube::{Resource, ResourceExt, core::PartialObjectMeta};
use pullpass_domain::{
    grant::Role,
    name::{Namespace, ServiceAccount},
};

use crate::{
    cluster::{
        index::Kept,
        object::{Account, BindingFacts, Identity, NamespaceFacts, SecretFacts, SlimSecret},
        pod::{SlimPod, StuckPod},
    },
    state::State,
};

/// Where what a watch tells goes. A list lies between `begin` and `end`.
pub(super) trait Sink<K> {
    fn begin(&mut self);
    fn put(&mut self, state: &mut State, object: K, listed: bool);
    fn remove(&mut self, state: &mut State, object: &K);
    fn end(&mut self, state: &mut State);
}

/// The namespaces.
#[derive(Default)]
pub(super) struct Namespaces {
    listed: HashSet<Namespace>,
}

impl Sink<PartialObjectMeta<ApiNamespace>> for Namespaces {
    fn begin(&mut self) {
        self.listed.clear();
    }

    fn put(&mut self, state: &mut State, object: PartialObjectMeta<ApiNamespace>, listed: bool) {
        let Ok(name) = Namespace::new(object.name_any()) else { return };
        if state.index.set_namespace(&name, Some(NamespaceFacts::from(&object.metadata))) {
            state.namespace_changed(&name);
        }
        if listed {
            self.listed.insert(name);
        }
    }

    fn remove(&mut self, state: &mut State, object: &PartialObjectMeta<ApiNamespace>) {
        let Ok(name) = Namespace::new(object.name_any()) else { return };
        if state.index.set_namespace(&name, None) {
            state.namespace_changed(&name);
        }
    }

    fn end(&mut self, state: &mut State) {
        let gone = state.index.retain_namespaces(&std::mem::take(&mut self.listed));
        state.namespaces_changed(&gone);
    }
}

/// An object of the index, as it comes from the API server.
trait FromApi<K>: Kept {
    fn name_of(object: &K) -> Option<Self::Name>;
    /// None if, as it is now, there is nothing to be kept of it.
    fn kept_of(object: K) -> Option<Self>;
    /// Whether it stays although a list does not name it, because it was looked up and is not watched.
    fn is_unwatched(&self) -> bool {
        false
    }
    /// What follows from a change.
    fn changed(state: &mut State, namespace: &Namespace) {
        state.namespace_changed(namespace);
    }
}

impl FromApi<ApiServiceAccount> for Account {
    fn name_of(object: &ApiServiceAccount) -> Option<ServiceAccount> {
        ServiceAccount::new(object.name_any()).ok()
    }

    fn kept_of(object: ApiServiceAccount) -> Option<Self> {
        Some(object.into())
    }
}

impl FromApi<SlimPod> for StuckPod {
    fn name_of(object: &SlimPod) -> Option<String> {
        Some(object.name_any())
    }

    fn kept_of(object: SlimPod) -> Option<Self> {
        Self::of(object)
    }

    fn changed(state: &mut State, namespace: &Namespace) {
        state.stuck_pods_changed(namespace);
    }
}

impl FromApi<SlimSecret> for SecretFacts {
    fn name_of(object: &SlimSecret) -> Option<String> {
        Some(object.name_any())
    }

    fn kept_of(object: SlimSecret) -> Option<Self> {
        Some(object.into())
    }

    fn is_unwatched(&self) -> bool {
        !self.marks.labelled
    }
}

impl FromApi<RoleBinding> for BindingFacts {
    fn name_of(object: &RoleBinding) -> Option<String> {
        Some(object.name_any())
    }

    fn kept_of(object: RoleBinding) -> Option<Self> {
        Some(object.into())
    }

    fn is_unwatched(&self) -> bool {
        !self.marks.labelled
    }
}

/// Objects of one kind, for the index.
pub(super) struct Objects<O: Kept> {
    listed: HashSet<(Namespace, O::Name)>,
}

impl<O: Kept> Default for Objects<O> {
    fn default() -> Self {
        Self { listed: HashSet::new() }
    }
}

fn place_of<K, O>(object: &K) -> Option<(Namespace, O::Name)>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    O: FromApi<K>,
{
    Some((Namespace::new(object.namespace()?).ok()?, O::name_of(object)?))
}

impl<K, O> Sink<K> for Objects<O>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    O: FromApi<K>,
    O::Name: Hash,
{
    fn begin(&mut self) {
        self.listed.clear();
    }

    fn put(&mut self, state: &mut State, object: K, listed: bool) {
        let Some((namespace, name)) = place_of::<K, O>(&object) else { return };
        let was = Identity::of(object.meta());
        let changed = match O::kept_of(object) {
            Some(kept) => state.index.put(&namespace, name.clone(), kept),
            None => state.index.remove::<O>(&namespace, &name, Some(&was)),
        };
        if changed {
            O::changed(state, &namespace);
        }
        if listed {
            self.listed.insert((namespace, name));
        }
    }

    fn remove(&mut self, state: &mut State, object: &K) {
        let Some((namespace, name)) = place_of::<K, O>(object) else { return };
        if state.index.remove::<O>(&namespace, &name, Some(&Identity::of(object.meta()))) {
            O::changed(state, &namespace);
        }
    }

    fn end(&mut self, state: &mut State) {
        for namespace in state.index.retain::<O>(&std::mem::take(&mut self.listed), O::is_unwatched) {
            O::changed(state, &namespace);
        }
    }
}

/// Whether one `ClusterRole` is there.
pub(super) struct OneRole {
    pub(super) role: Role,
    pub(super) seen: bool,
}

impl Sink<PartialObjectMeta<ClusterRole>> for OneRole {
    fn begin(&mut self) {
        self.seen = false;
    }

    fn put(&mut self, state: &mut State, _: PartialObjectMeta<ClusterRole>, _: bool) {
        self.seen = true;
        state.set_role(self.role, true);
    }

    fn remove(&mut self, state: &mut State, _: &PartialObjectMeta<ClusterRole>) {
        state.set_role(self.role, false);
    }

    fn end(&mut self, state: &mut State) {
        state.set_role(self.role, self.seen);
    }
}

/// The Lease, for the election.
pub(super) struct TheLease {
    pub(super) news: tokio::sync::watch::Sender<Option<Lease>>,
    pub(super) listed: Option<Lease>,
}

impl Sink<Lease> for TheLease {
    fn begin(&mut self) {
        self.listed = None;
    }

    fn put(&mut self, _: &mut State, object: Lease, listed: bool) {
        if listed {
            self.listed = Some(object);
        } else {
            self.news.send_replace(Some(object));
        }
    }

    fn remove(&mut self, _: &mut State, _: &Lease) {
        self.news.send_replace(None);
    }

    fn end(&mut self, _: &mut State) {
        self.news.send_replace(self.listed.take());
    }
}

#[cfg(test)]
mod tests;
