//! What is declared, and what must therefore be in the cluster: a pure function, and the measure of every round.

use std::collections::{BTreeMap, BTreeSet};

/// The namespaces of the rounds, in each the same service accounts.
pub(super) const NAMESPACES: [&str; 4] = ["storm-0", "storm-1", "storm-2", "storm-3"];
pub(super) const ACCOUNTS: [&str; 3] = ["default", "robot", "other"];
/// The one account that carries the label by which links choose.
pub(super) const LABELLED: &str = "robot";
pub(super) const LINKS: [&str; 5] = ["link-0", "link-1", "link-2", "link-3", "link-4"];
pub(super) const GRANTS: [&str; 4] = ["grant-0", "grant-1", "grant-2", "grant-3"];
pub(super) const CREDENTIALS: [&str; 3] = ["quay", "internal", "mirror"];
/// Here stands a Secret of this link's name, and a RoleBinding of this grant's, that are not ours.
pub(super) const TAKEN: (&str, &str, &str) = ("storm-0", "link-0", "grant-0");

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) credential: &'static str,
    pub(super) dockercfg: bool,
    pub(super) reach: Reach,
    pub(super) accounts: Accounts,
    /// `pull`, `mount`.
    pub(super) lists: (bool, bool),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    Named(BTreeSet<&'static str>),
    /// The label `served=yes`.
    Served,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accounts {
    Default,
    Labelled,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) project: &'static str,
    pub(super) push: bool,
    /// To the project's own service account `default`, of which the applier first asks what it may already; or else to a
    /// user of the grant's name.
    pub(super) own: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) links: BTreeMap<&'static str, Link>,
    pub(super) grants: BTreeMap<&'static str, Grant>,
    pub(super) versions: BTreeMap<&'static str, i64>,
    pub(super) served: BTreeSet<&'static str>,
}

/// What is ours in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ours {
    /// Type, link and password of each Secret.
    pub(super) secrets: BTreeMap<String, (String, String, String)>,
    /// Per service account and list, in order of name here.
    pub(super) entries: BTreeMap<(String, &'static str), Vec<String>>,
    /// Role, subject and grant of each binding.
    pub(super) bindings: BTreeMap<String, (String, String, String)>,
}

pub(super) fn password(credential: &str, version: i64) -> String {
    format!("{credential}-password-{version}")
}

pub(super) fn binding_name(grant: &str) -> String {
    format!("pullpass-{grant}")
}

impl Link {
    fn serves(&self, account: &str) -> bool {
        match self.accounts {
            Accounts::Default => account == "default",
            Accounts::Labelled => account == LABELLED,
            Accounts::All => true,
        }
    }
}

impl Model {
    /// The links that reach a namespace, one that finds its place taken included.
    pub(super) fn reaching(&self, namespace: &str) -> impl Iterator<Item = (&'static str, &Link)> {
        let reaches = move |link: &Link| match &link.reach {
            Reach::Named(names) => names.contains(namespace),
            Reach::Served => self.served.contains(namespace),
        };
        self.links.iter().filter(move |(_, link)| reaches(link)).map(|(name, link)| (*name, link))
    }

    /// What shall be in a namespace.
    pub(super) fn ours(&self, namespace: &str) -> Ours {
        let mut ours = Ours::default();
        let free = |name: &str| (namespace, name) != (TAKEN.0, TAKEN.1);
        for (name, link) in self.reaching(namespace).filter(|(name, _)| free(name)) {
            let kind = if link.dockercfg { "dockercfg" } else { "dockerconfigjson" };
            let content = password(link.credential, self.versions[link.credential]);
            ours.secrets.insert(name.to_owned(), (format!("kubernetes.io/{kind}"), name.to_owned(), content));
            for account in ACCOUNTS.into_iter().filter(|account| link.serves(account)) {
                for (list, wanted) in [("pull", link.lists.0), ("mount", link.lists.1)] {
                    if wanted {
                        ours.entries.entry((account.to_owned(), list)).or_default().push(name.to_owned());
                    }
                }
            }
        }
        let free = |name: &str| (namespace, name) != (TAKEN.0, TAKEN.2);
        let here = self.grants.iter().filter(|(name, grant)| grant.project == namespace && free(name));
        ours.bindings.extend(here.map(|(name, grant)| {
            let role = if grant.push { "system:image-pusher" } else { "system:image-puller" };
            let subject = if grant.own { "default" } else { name };
            (binding_name(name), (role.to_owned(), subject.to_owned(), (*name).to_owned()))
        }));
        ours
    }

    /// How many namespaces of a link or grant (by its resource name) must be reported as failed.
    pub(super) fn failing(&self, name: &str) -> i64 {
        let (namespace, link, grant) = TAKEN;
        let taken = match name.split_once('/') {
            Some(("secretLinks", id)) => id == link && self.reaching(namespace).any(|(name, _)| name == link),
            Some((_, id)) => id == grant && self.grants.get(grant).is_some_and(|g| g.project == namespace),
            None => false,
        };
        i64::from(taken)
    }
}
