//! What we know of the cluster, per namespace. Fed by the watches and by the answers to our own writes, whichever comes
//! first; says of every piece of news whether a plan could care.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pullpass_domain::{
    grant::Role,
    name::{GrantName, LinkName, Namespace, ServiceAccount},
};

use super::object::{Account, BindingFacts, Identity, NamespaceFacts, SecretFacts};
use crate::plan::{Entry, links, ownership};

/// One namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NamespaceState {
    /// Absent while the namespace does not exist.
    pub(crate) facts: Option<NamespaceFacts>,
    pub(crate) accounts: BTreeMap<ServiceAccount, Account>,
    pub(crate) secrets: BTreeMap<String, SecretFacts>,
    pub(crate) bindings: BTreeMap<String, BindingFacts>,
    /// Entries that we added for a Secret that is not there yet: ours although no Secret tells so.
    pub(crate) claimed: BTreeMap<Entry, LinkName>,
    /// What the API server answered: whether the grant's subject may already do what it grants.
    pub(crate) permitted: BTreeMap<GrantName, bool>,
}

impl NamespaceState {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Something of which a namespace holds several.
pub(crate) trait Kept: Sized + PartialEq {
    /// Its name in the index.
    type Name: Ord + Clone;
    /// Where a namespace keeps it.
    fn of(state: &mut NamespaceState) -> &mut BTreeMap<Self::Name, Self>;
    fn identity(&self) -> &Identity;
    /// Whether a plan made for the one holds for the other.
    fn equivalent(&self, other: &Self) -> bool;
}

macro_rules! kept {
    ($type:ty, $name:ty, $field:ident, $($part:ident),+) => {
        impl Kept for $type {
            type Name = $name;
            fn of(state: &mut NamespaceState) -> &mut BTreeMap<$name, Self> {
                &mut state.$field
            }
            fn identity(&self) -> &Identity {
                &self.identity
            }
            fn equivalent(&self, other: &Self) -> bool {
                self.identity.uid == other.identity.uid $(&& self.$part == other.$part)+
            }
        }
    };
}
kept!(Account, ServiceAccount, accounts, labels, pull, mount);
kept!(SecretFacts, String, secrets, marks, secret_type, data, immutable, terminating);
kept!(BindingFacts, String, bindings, marks, role, subjects, terminating);

/// The whole cluster.
#[derive(Debug, Default)]
pub(crate) struct Index {
    namespaces: BTreeMap<Namespace, NamespaceState>,
    roles: BTreeSet<Role>,
    /// Uids of what we deleted, until the watch tells of it too: older news must not bring it back.
    gone: HashSet<String>,
}

impl Index {
    pub(crate) fn namespace(&self, name: &Namespace) -> Option<&NamespaceState> {
        self.namespaces.get(name)
    }

    pub(crate) fn namespaces(&self) -> impl Iterator<Item = (&Namespace, &NamespaceState)> {
        self.namespaces.iter()
    }

    pub(crate) fn roles(&self) -> &BTreeSet<Role> {
        &self.roles
    }

    /// Whether it is a change.
    pub(crate) fn set_role(&mut self, role: Role, exists: bool) -> bool {
        if exists { self.roles.insert(role) } else { self.roles.remove(&role) }
    }

    /// Whether it is a change. A namespace that is gone has taken along whatever was in it.
    pub(crate) fn set_namespace(&mut self, name: &Namespace, facts: Option<NamespaceFacts>) -> bool {
        let state = self.namespaces.entry(name.clone()).or_default();
        let changed = state.facts != facts;
        state.facts = facts;
        self.tidy(name);
        changed
    }

    /// Takes in an object. Whether it is a change.
    pub(crate) fn put<K: Kept>(&mut self, namespace: &Namespace, name: K::Name, object: K) -> bool {
        if self.gone.contains(&object.identity().uid) {
            return false;
        }
        let objects = K::of(self.namespaces.entry(namespace.clone()).or_default());
        match objects.get(&name) {
            Some(known) if known.identity().is_newer_than(object.identity()) => false,
            known => {
                let changed = known.is_none_or(|known| !known.equivalent(&object));
                objects.insert(name, object);
                changed
            }
        }
    }

    /// The watch says that the object, last seen as `was`, is gone, or (`was` is none) a fresh look does. Whether it is
    /// a change.
    pub(crate) fn remove<K: Kept>(
        &mut self,
        namespace: &Namespace,
        name: &K::Name,
        was: Option<&Identity>,
    ) -> bool {
        if let Some(was) = was {
            self.gone.remove(&was.uid);
        }
        let Some(state) = self.namespaces.get_mut(namespace) else {
            return false;
        };
        let objects = K::of(state);
        let meant =
            |known: &Identity| was.is_none_or(|was| known.uid == was.uid && !known.is_newer_than(was));
        let meant = objects.get(name).is_some_and(|object| meant(object.identity()));
        let removed = meant && objects.remove(name).is_some();
        self.tidy(namespace);
        removed
    }

    /// We deleted the object ourselves: what the watch still tells of it is old.
    pub(crate) fn deleted<K: Kept>(&mut self, namespace: &Namespace, name: &K::Name, was: &Identity) {
        // If it is not there any more, the watch was faster.
        if self.remove::<K>(namespace, name, Some(was)) {
            self.gone.insert(was.uid.clone());
        }
    }

    /// After a complete list: forgets what it did not name and `keep` does not want. Gives the namespaces that changed.
    pub(crate) fn retain<K: Kept>(
        &mut self,
        listed: &HashSet<(Namespace, K::Name)>,
        keep: impl Fn(&K) -> bool,
    ) -> Vec<Namespace>
    where
        K::Name: std::hash::Hash,
    {
        let mut changed = Vec::new();
        for (namespace, state) in &mut self.namespaces {
            let objects = K::of(state);
            let before = objects.len();
            objects
                .retain(|name, object| keep(object) || listed.contains(&(namespace.clone(), name.clone())));
            if objects.len() != before {
                changed.push(namespace.clone());
            }
        }
        for namespace in &changed {
            self.tidy(namespace);
        }
        changed
    }

    /// After a complete list of namespaces: those that it did not name are gone. Gives them.
    pub(crate) fn retain_namespaces(&mut self, listed: &HashSet<Namespace>) -> Vec<Namespace> {
        let gone =
            self.namespaces.iter().filter(|(name, state)| state.facts.is_some() && !listed.contains(*name));
        let gone: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
        for name in &gone {
            self.set_namespace(name, None);
        }
        gone
    }

    /// Remembers what the API server said about a grant.
    pub(crate) fn set_permitted(&mut self, namespace: &Namespace, grant: GrantName, permitted: bool) {
        let state = self.namespaces.entry(namespace.clone()).or_default();
        state.permitted.insert(grant, permitted);
    }

    /// Forgets what the API server said about grants, so that it is asked again.
    pub(crate) fn forget_permitted(&mut self, namespace: &Namespace) {
        if let Some(state) = self.namespaces.get_mut(namespace) {
            state.permitted.clear();
        }
        self.tidy(namespace);
    }

    /// Before entries are appended for a Secret that is yet to be created: remembers whose they are.
    pub(crate) fn claim(&mut self, namespace: &Namespace, entry: Entry, link: LinkName) {
        self.namespaces.entry(namespace.clone()).or_default().claimed.insert(entry, link);
    }

    /// Forgets the claims that are not needed any more: the Secret tells of them now, or the entry is not there.
    pub(crate) fn settle_claims(&mut self, namespace: &Namespace) {
        if let Some(state) = self.namespaces.get_mut(namespace) {
            let mut claimed = std::mem::take(&mut state.claimed);
            claimed.retain(|(account, list, secret), _| {
                let marks = state.secrets.get(secret).map(|facts| &facts.marks);
                let told = marks.is_some_and(|marks| ownership::managed_for(marks).is_some());
                let account = state.accounts.get(account);
                !told && account.is_some_and(|account| links::entries(account, *list).contains(secret))
            });
            state.claimed = claimed;
        }
    }

    fn tidy(&mut self, name: &Namespace) {
        if self.namespaces.get(name).is_some_and(NamespaceState::is_empty) {
            self.namespaces.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> Namespace {
        Namespace::new("a").expect("a namespace")
    }

    fn identity(uid: &str, version: &str) -> Identity {
        Identity { uid: uid.into(), version: version.into() }
    }

    fn secret(uid: &str, version: &str) -> SecretFacts {
        SecretFacts { identity: identity(uid, version), ..Default::default() }
    }

    fn index_with(secrets: &[SecretFacts]) -> Index {
        let mut index = Index::default();
        for secret in secrets {
            index.put(&namespace(), "web".to_owned(), secret.clone());
        }
        index
    }

    fn version(index: &Index) -> Option<&str> {
        let state = index.namespace(&namespace())?;
        state.secrets.get("web").map(|secret| secret.identity.version.as_str())
    }

    #[test]
    fn old_news_of_an_object_changes_nothing() {
        let mut index = index_with(&[secret("u", "10")]);
        assert!(!index.put(&namespace(), "web".to_owned(), secret("u", "9")));
        assert_eq!(version(&index), Some("10"));
        assert!(!index.put(&namespace(), "web".to_owned(), secret("u", "11")), "only the version changed");
        assert_eq!(version(&index), Some("11"));
        assert!(index.put(&namespace(), "web".to_owned(), secret("v", "5")), "another object of the name");
    }

    #[test]
    fn what_we_deleted_does_not_come_back_by_old_news() {
        let (mut index, web) = (index_with(&[secret("u", "10")]), "web".to_owned());
        index.deleted::<SecretFacts>(&namespace(), &web, &identity("u", "10"));
        assert!(!index.put(&namespace(), web.clone(), secret("u", "9")));
        assert_eq!(version(&index), None);
        assert!(!index.remove::<SecretFacts>(&namespace(), &web, Some(&identity("u", "11"))));
        assert!(index.gone.is_empty());
    }

    #[test]
    fn the_end_of_an_older_object_or_state_does_not_remove_what_came_after() {
        let (mut index, web) = (index_with(&[secret("new", "10")]), "web".to_owned());
        assert!(!index.remove::<SecretFacts>(&namespace(), &web, Some(&identity("old", "12"))));
        assert!(
            !index.remove::<SecretFacts>(&namespace(), &web, Some(&identity("new", "9"))),
            "it lost its label and got it back"
        );
        assert_eq!(version(&index), Some("10"));
        assert!(index.remove::<SecretFacts>(&namespace(), &web, Some(&identity("new", "11"))));
    }

    #[test]
    fn a_complete_list_forgets_what_it_does_not_name() {
        let mut index = index_with(&[secret("u", "10")]);
        assert_eq!(index.retain::<SecretFacts>(&HashSet::new(), |_| true), []);
        assert_eq!(index.retain::<SecretFacts>(&HashSet::new(), |_| false), [namespace()]);
        assert_eq!(index.namespaces().count(), 0, "nothing is kept of a namespace of which nothing is known");
    }
}
