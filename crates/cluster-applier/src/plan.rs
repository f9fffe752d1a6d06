//! The plan: from what is wanted and what is there in one namespace to the changes that remain, and to how every link and
//! grant stands. A pure function: no cluster, no clock, no secret bytes.
//!
//! ```text
//!  View ─► links ──► Secrets (create, update, recreate, delete)   ┐
//!      │        ├──► entries of the service accounts' lists       ├─► actions, in order of execution
//!      │        └──► pods that came before their entry (told)    │
//!      ├─► grants ─► RoleBindings, questions about permissions    ┤   outcomes, by link and grant
//!      └─► release: our marks come off, instead of all else       ┘
//! ```

pub(crate) mod grants;
pub(crate) mod links;
mod lost;
pub(crate) mod ownership;
mod pods;
mod release;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod unwanted;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use litemap::LiteMap;
use pullpass_domain::{
    docker_config::SecretType,
    grant::{Grant, Role},
    link::Link,
    name::{GrantName, LinkName, Namespace, ServiceAccount},
};

use crate::{
    cluster::{
        index::NamespaceState,
        object::{Identity, SubjectFacts},
    },
    desired::{Leave, Name, Wanted},
    guard::Hold,
    material::{Material, Rendered, Versions},
};

/// All that the plan of one namespace depends on.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) name: Namespace,
    pub(crate) state: NamespaceState,
    /// The links that reach this namespace.
    pub(crate) links: BTreeMap<LinkName, Arc<Wanted<Link>>>,
    /// The grants on this project.
    pub(crate) grants: BTreeMap<GrantName, Arc<Wanted<Grant>>>,
    /// What is known of the content of the links' Secrets.
    pub(crate) materials: BTreeMap<LinkName, Material>,
    /// The ClusterRoles that exist.
    pub(crate) roles: BTreeSet<Role>,
    /// Links and grants that nobody understands: their objects are nobody else's.
    pub(crate) unreadable: BTreeSet<Name>,
    /// Links and grants that an older desired state lost: nothing of theirs is deleted.
    pub(crate) lost: BTreeSet<Name>,
    /// Why nothing may be deleted, if that is so…
    pub(crate) hold: Option<Hold>,
    /// … except these, by uid.
    pub(crate) confirmed: BTreeSet<String>,
    /// If the cluster leaves, how. Then there are neither links nor grants.
    pub(crate) leave: Option<Leave>,
}

impl View {
    /// Why this object must not be deleted, if it must not.
    fn holds(&self, object: &Identity) -> Option<&Hold> {
        self.hold.as_ref().filter(|_| !self.confirmed.contains(&object.uid))
    }
}

/// What to do in a namespace, and how things stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) outcomes: Outcomes,
}

impl Plan {
    /// Notes that something is not deleted although nobody wants it.
    fn keep(&mut self, cause: &Name, kind: &'static str, object: &str, hold: &Hold) {
        let outcome = self.outcomes.entry(cause.clone()).or_insert_with(|| Outcome::new(Standing::Leaving));
        let reason = Reason::pending(Hold::CODE, kind, object, hold.message());
        outcome.because(Reason { of_guard: true, ..reason });
    }
}

/// How each link and grant stands in a namespace.
pub(crate) type Outcomes = LiteMap<Name, Outcome>;

/// One change, asked for by one link or grant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Action {
    pub(crate) cause: Name,
    pub(crate) change: Change,
    /// Why, for people.
    pub(crate) reason: String,
}

/// What is done to one object. `was` is the state that the change was made for and on which it depends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    CreateSecret {
        name: String,
        content: Content,
    },
    /// One write for new content, marks or both; `surplus` are keys that shall not be there.
    UpdateSecret {
        name: String,
        was: Identity,
        content: Content,
        surplus: Vec<String>,
    },
    /// The type of a Secret cannot be changed, nor the content of an immutable one.
    RecreateSecret {
        name: String,
        was: Identity,
        content: Content,
    },
    /// Only after no service account names it any more.
    DeleteSecret {
        name: String,
        was: Identity,
    },
    /// It stays as it is, without our marks.
    ReleaseSecret {
        name: String,
        was: Identity,
    },
    EditAccount {
        account: ServiceAccount,
        was: Identity,
        edits: Vec<Edit>,
    },
    CreateBinding {
        name: String,
        binding: Binding,
    },
    UpdateBinding {
        name: String,
        was: Identity,
        binding: Binding,
    },
    /// The role of a binding cannot be changed.
    RecreateBinding {
        name: String,
        was: Identity,
        binding: Binding,
    },
    DeleteBinding {
        name: String,
        was: Identity,
    },
    ReleaseBinding {
        name: String,
        was: Identity,
    },
    /// Ask the API server whether the subject may do already what the grant's binding would allow.
    Ask {
        name: String,
        question: Question,
    },
}

/// Whether a subject may do in a project what a role allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) subject: SubjectFacts,
    pub(crate) role: Role,
}

/// What goes into a Secret.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Content {
    pub(crate) link: LinkName,
    pub(crate) secret_type: SecretType,
    /// Not known where a proposal is planned.
    pub(crate) rendered: Option<Arc<Rendered>>,
}

/// What goes into a RoleBinding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binding {
    pub(crate) grant: GrantName,
    pub(crate) role: Role,
    pub(crate) subject: SubjectFacts,
}

/// A place in a list: the service account, the list, the Secret that the entry names.
type Entry = (ServiceAccount, List, String);

/// The two lists of a service account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum List {
    Pull,
    Mount,
}

impl List {
    pub(crate) const ALL: [Self; 2] = [Self::Pull, Self::Mount];

    /// As the API has it.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Pull => "imagePullSecrets",
            Self::Mount => "secrets",
        }
    }
}

/// One change to one list of a service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) list: List,
    /// The Secret that the entry names.
    pub(crate) secret: String,
    pub(crate) step: Step,
    pub(crate) cause: Name,
}

/// How a list is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// At the end; `first` if the list is empty, which the API server takes for absent.
    Append { first: bool },
    /// At this position.
    Remove(usize),
}

/// How a link or grant stands in a namespace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) standing: Standing,
    pub(crate) reasons: Vec<Reason>,
    /// The credential versions that the Secret holds.
    pub(crate) versions: Versions,
}

impl Outcome {
    pub(crate) fn new(standing: Standing) -> Self {
        Self { standing, reasons: Vec::new(), versions: Versions::default() }
    }

    /// Makes it no better than this reason allows.
    pub(crate) fn because(&mut self, reason: Reason) {
        if self.standing != Standing::Leaving {
            self.standing = self.standing.max(reason.standing);
        }
        self.reasons.push(reason);
    }
}

/// From good to bad; `Leaving` for what shall not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Standing {
    Synced,
    Pending,
    Failed,
    Leaving,
}

/// Why something stands as it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) standing: Standing,
    pub(crate) code: Cow<'static, str>,
    /// Kind of the object in the way.
    pub(crate) kind: &'static str,
    /// Its name.
    pub(crate) object: String,
    /// For people: what is the matter and what to do.
    pub(crate) message: String,
    /// It is that of the guard, which judges the whole cluster: the report tells it once, as it is then.
    pub(crate) of_guard: bool,
}

impl Reason {
    pub(crate) fn pending(code: &'static str, kind: &'static str, object: &str, message: String) -> Self {
        let (standing, object) = (Standing::Pending, object.into());
        Self { standing, code: code.into(), kind, object, message, of_guard: false }
    }

    pub(crate) fn failed(code: &'static str, kind: &'static str, object: &str, message: String) -> Self {
        Self { standing: Standing::Failed, ..Self::pending(code, kind, object, message) }
    }

    pub(crate) fn note(code: &'static str, kind: &'static str, object: &str, message: String) -> Self {
        Self { standing: Standing::Synced, ..Self::pending(code, kind, object, message) }
    }
}

/// The plan of one namespace.
pub(crate) fn namespace(view: &View) -> Plan {
    if let Some(absence) = absence(view) {
        return absence;
    }
    if view.leave == Some(Leave::Keep) {
        return release::plan(view);
    }
    let mut plan = Plan::default();
    links::plan(view, &mut plan);
    grants::plan(view, &mut plan);
    lost::hold_back(view, &mut plan);
    plan
}

/// The plan of a namespace that is not there, or not for long: whoever named it waits, and nothing is done.
fn absence(view: &View) -> Option<Plan> {
    let (code, what) = match &view.state.facts {
        None => ("NAMESPACE_NOT_FOUND", "does not exist; it is served as soon as it does"),
        Some(facts) if facts.terminating => ("NAMESPACE_TERMINATING", "is being deleted and is left alone"),
        Some(_) => return None,
    };
    let links =
        view.links.iter().filter(|(_, link)| link.what.namespaces().by().names().any(|n| *n == view.name));
    let names = links.map(|(name, _)| Name::Link(name.clone()));
    let names = names.chain(view.grants.keys().cloned().map(Name::Grant));
    let outcome = || {
        let message = format!("namespace {} {what}", view.name);
        let mut outcome = Outcome::new(Standing::Pending);
        outcome.because(Reason::pending(code, "Namespace", view.name.as_str(), message));
        outcome
    };
    Some(Plan { actions: Vec::new(), outcomes: names.map(|name| (name, outcome())).collect() })
}
