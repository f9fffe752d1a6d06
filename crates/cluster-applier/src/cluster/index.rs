//! What we know of the cluster, per namespace. Fed by the watches and by the answers to our own writes, whichever comes
//! first; says of every piece of news whether a plan could care.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use litemap::LiteMap;
use pullpass_domain::{
    grant::Role,
    name::{LinkName, Namespace, ServiceAccount},
};

use super::{
    object::{Account, BindingFacts, Identity, NamespaceFacts, SecretFacts},
    pod::StuckPod,
};
use crate::plan::{Question, ownership};

/// One namespace. There are many, and in each a handful of objects: flat maps, for a tree's first node has room for eleven.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NamespaceState {
    /// Absent while the namespace does not exist.
    pub(crate) facts: Option<NamespaceFacts>,
    pub(crate) accounts: LiteMap<ServiceAccount, Account>,
    pub(crate) secrets: LiteMap<String, SecretFacts>,
    pub(crate) bindings: LiteMap<String, BindingFacts>,
    /// Those that cannot pull an image, and no others.
    pub(crate) pods: LiteMap<String, StuckPod>,
    /// Secrets of ours that somebody took away while service accounts name them: these entries are ours still.
    pub(crate) departed: BTreeMap<String, LinkName>,
    /// What the API server answered when it was last asked.
    pub(crate) permitted: BTreeMap<Question, bool>,
}

impl NamespaceState {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an entry of a service account names this Secret.
    fn names_secret(&self, secret: &String) -> bool {
        self.accounts.values().any(|account| account.pull.contains(secret) || account.mount.contains(secret))
    }

    /// Forgets the departed Secrets that are there again, or that nobody names any more.
    fn forget_departed(&mut self) {
        let mut departed = std::mem::take(&mut self.departed);
        departed.retain(|secret, _| !self.secrets.contains_key(secret) && self.names_secret(secret));
        self.departed = departed;
    }
}

/// Something of which a namespace holds several.
pub(crate) trait Kept: Sized + PartialEq {
    /// Its name in the index.
    type Name: Ord + Clone;
    /// Where a namespace keeps it.
    fn of(state: &mut NamespaceState) -> &mut LiteMap<Self::Name, Self>;
    fn identity(&self) -> &Identity;
    /// Whether a plan made for the one holds for the other.
    fn equivalent(&self, other: &Self) -> bool;
    /// It is gone.
    fn depart(self, _name: &Self::Name, _state: &mut NamespaceState) {}
}

macro_rules! kept {
    ($type:ty, $name:ty, $field:ident, [$($part:ident),+] $($depart:item)?) => {
        impl Kept for $type {
            type Name = $name;
            fn of(state: &mut NamespaceState) -> &mut LiteMap<$name, Self> {
                &mut state.$field
            }
            fn identity(&self) -> &Identity {
                &self.identity
            }
            fn equivalent(&self, other: &Self) -> bool {
                self.identity.uid == other.identity.uid $(&& self.$part == other.$part)+
            }
            $($depart)?
        }
    };
}
kept!(Account, ServiceAccount, accounts, [labels, pull, mount]);
kept!(BindingFacts, String, bindings, [marks, role, subjects, terminating]);
kept!(StuckPod, String, pods, [account, pull, image]);
kept!(SecretFacts, String, secrets, [marks, secret_type, data, immutable, terminating, stands_for]
    fn depart(self, name: &String, state: &mut NamespaceState) {
        let link = ownership::managed_for(&self.marks).and_then(|id| LinkName::from_id(id).ok());
        if let Some(link) = link.filter(|_| state.names_secret(name)) {
            state.departed.insert(name.clone(), link);
        }
    }
);

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
                if objects.is_empty() {
                    *objects = LiteMap::with_capacity(1);
                }
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
        let removed = if meant { objects.remove(name) } else { None };
        let changed = removed.is_some();
        if let Some(object) = removed {
            object.depart(name, state);
        }
        self.tidy(namespace);
        changed
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
            let stays = |name: &K::Name, object: &K| {
                keep(object) || listed.contains(&(namespace.clone(), name.clone()))
            };
            let objects = K::of(state);
            let gone = objects.iter().filter(|(name, object)| !stays(name, object));
            let gone: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
            let gone: Vec<_> = gone
                .into_iter()
                .filter_map(|name| objects.remove(&name).map(|object| (name, object)))
                .collect();
            if !gone.is_empty() {
                changed.push(namespace.clone());
            }
            for (name, object) in gone {
                object.depart(&name, state);
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

    /// Remembers what the API server answered.
    pub(crate) fn set_permitted(&mut self, namespace: &Namespace, question: Question, permitted: bool) {
        let state = self.namespaces.entry(namespace.clone()).or_default();
        state.permitted.insert(question, permitted);
    }

    /// Forgets what the API server answered, so that it is asked again.
    pub(crate) fn forget_permitted(&mut self, namespace: &Namespace) {
        if let Some(state) = self.namespaces.get_mut(namespace) {
            state.permitted.clear();
        }
        self.tidy(namespace);
    }

    /// Forgets the departed Secrets of a namespace that do not matter any more: all if the cluster keeps what it has, for
    /// then it keeps the entries, too.
    pub(crate) fn forget_departed(&mut self, namespace: &Namespace, keeps_all: bool) {
        if let Some(state) = self.namespaces.get_mut(namespace) {
            state.forget_departed();
            state.departed.retain(|_, _| !keeps_all);
        }
        self.tidy(namespace);
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
    use crate::cluster::object::Marks;

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

    #[test]
    fn a_secret_of_ours_that_somebody_took_away_is_remembered_while_service_accounts_name_it() {
        let marks = Marks { labelled: true, cause: Some("web".into()) };
        let web = SecretFacts { marks, ..secret("u", "10") };
        let default = ServiceAccount::new("default").expect("a name");
        let account = |version: &str, pull: &[&str]| Account {
            identity: identity("a", version),
            pull: pull.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let mut index = index_with(std::slice::from_ref(&web));
        index.put(&namespace(), default.clone(), account("1", &["web"]));
        index.remove::<SecretFacts>(&namespace(), &"web".to_owned(), Some(&identity("u", "11")));
        index.forget_departed(&namespace(), false);
        let departed = |index: &Index| index.namespace(&namespace()).map_or(0, |state| state.departed.len());
        assert_eq!(departed(&index), 1);
        index.forget_departed(&namespace(), true);
        assert_eq!(departed(&index), 0, "the cluster keeps the entry, too");
        index.put(&namespace(), "web".to_owned(), web.clone());
        index.remove::<SecretFacts>(&namespace(), &"web".to_owned(), Some(&identity("u", "11")));
        index.put(&namespace(), default, account("2", &[]));
        index.forget_departed(&namespace(), false);
        assert_eq!(departed(&index), 0, "nobody names it any more");
        let mut unnamed = index_with(&[web]);
        unnamed.retain::<SecretFacts>(&HashSet::new(), |_| false);
        assert_eq!(departed(&unnamed), 0, "nobody named it");
    }
}
