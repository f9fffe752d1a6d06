//! Grants: one RoleBinding each, in the project whose images are granted.

use pullpass_domain::{
    grant::{Grant, Subject},
    name::GrantName,
};

use super::{
    Action, Binding, Change, Outcome, Plan, Question, Reason, Standing, View,
    ownership::{Ownership, managed_for, seen_by},
};
use crate::{
    cluster::object::{BindingFacts, Identity, SubjectFacts},
    desired::Name,
};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn plan(view: &View, plan: &mut Plan) {
    for (name, wanted) in &view.grants {
        let mut outcome = Outcome::new(Standing::Synced);
        let change = binding_change(view, name, &wanted.what).unwrap_or_else(|reason| {
            outcome.because(reason);
            None
        });
        if let Some((change, reason)) = change {
            outcome.standing = Standing::Pending;
            plan.actions.push(Action { cause: Name::Grant(name.clone()), change, reason });
        }
        plan.outcomes.insert(Name::Grant(name.clone()), outcome);
    }
    for (name, grant, was) in leavings(view) {
        let reason = format!("{grant} does not want it here any more");
        let cause = Name::Grant(grant);
        if let Some(hold) = view.holds(was) {
            plan.keep(&cause, "RoleBinding", name, hold);
            continue;
        }
        plan.outcomes.entry(cause.clone()).or_insert_with(|| Outcome::new(Standing::Leaving));
        let change = Change::DeleteBinding { name: name.to_owned(), was: was.clone() };
        plan.actions.push(Action { cause, change, reason });
    }
}

/// Name of the RoleBinding of a grant.
pub(crate) fn binding_name(grant: &GrantName) -> String {
    format!("pullpass-{}", grant.id())
}

/// What the RoleBinding of a grant lacks, and why; or what is remarkable about there being nothing to do.
fn binding_change(view: &View, grant: &GrantName, what: &Grant) -> Result<Option<(Change, String)>, Reason> {
    let name = binding_name(grant);
    let facts = view.state.bindings.get(&name);
    if facts.is_some_and(|facts| seen_by(&facts.marks, grant.id()) == Ownership::Foreign) {
        return Err(not_ours(view, &name));
    }
    if facts.is_some_and(|facts| facts.terminating) {
        let message = format!("RoleBinding {name} in project {} is being deleted", view.name);
        return Err(Reason::pending("BINDING_TERMINATING", "RoleBinding", &name, message));
    }
    let binding = Binding { grant: grant.clone(), role: what.role(), subject: subject(what.subject()) };
    let alone = || !permitted_by_ours(view, &name, &binding.subject);
    if facts.is_none() && what.is_within_one_project() && alone() {
        let question = Question { subject: binding.subject.clone(), role: binding.role };
        match view.state.permitted.get(&question) {
            Some(true) => return Err(already_permitted(view, &name)),
            Some(false) => {}
            None => {
                let reason = "within one project it may be permitted already";
                return Ok(Some((Change::Ask { name, question }, reason.into())));
            }
        }
    }
    match facts.map(|facts| difference(facts, &name, &binding)) {
        Some(None) => Ok(None),
        _ if !view.roles.contains(&what.role()) => Err(no_role(&name, what)),
        Some(change) => Ok(change),
        None => Ok(Some((Change::CreateBinding { name, binding }, format!("{grant} wants it here")))),
    }
}

/// Whether another binding of ours may permit it, which does not count: it goes when its own grant does.
fn permitted_by_ours(view: &View, name: &str, subject: &SubjectFacts) -> bool {
    let own = format!("system:serviceaccounts:{}", view.name);
    let groups = ["system:authenticated", "system:serviceaccounts", &own];
    let covers = |other: &SubjectFacts| {
        other == subject || (other.kind == "Group" && groups.contains(&other.name.as_str()))
    };
    let ours = view.state.bindings.iter().filter(|(_, facts)| managed_for(&facts.marks).is_some());
    ours.filter(|(other, _)| *other != name).any(|(_, facts)| facts.subjects.iter().any(covers))
}

/// How a RoleBinding of ours is brought to the right role, subject and marks.
fn difference(facts: &BindingFacts, name: &str, binding: &Binding) -> Option<(Change, String)> {
    let (name, was, binding) = (name.to_owned(), facts.identity.clone(), binding.clone());
    let role = ("ClusterRole".to_owned(), binding.role.cluster_role().to_owned());
    if facts.role != role {
        let reason = "its role is not the grant's, and a role cannot be changed".to_owned();
        return Some((Change::RecreateBinding { name, was, binding }, reason));
    }
    let same_subject = facts.subjects == [binding.subject.clone()];
    let same_marks = managed_for(&facts.marks) == Some(binding.grant.id());
    let reason = match (same_subject, same_marks) {
        (true, true) => return None,
        (false, _) => "its subject is not the grant's",
        (true, false) => "its label or annotation is not ours",
    };
    Some((Change::UpdateBinding { name, was, binding }, reason.to_owned()))
}

/// The RoleBindings that nobody wants any more, with their grants and states.
fn leavings(view: &View) -> Vec<(&str, GrantName, &Identity)> {
    let leaving = |(name, facts): (&'_ String, &'_ BindingFacts)| {
        let grant = GrantName::from_id(managed_for(&facts.marks)?).ok()?;
        let wanted = view.grants.keys().any(|wanted| binding_name(wanted) == *name);
        let stays = wanted || view.unreadable.contains(&Name::Grant(grant.clone())) || facts.terminating;
        (!stays).then_some(grant)
    };
    let bindings = view.state.bindings.iter();
    bindings.filter_map(|entry| Some((entry.0.as_str(), leaving(entry)?, &entry.1.identity))).collect()
}

/// The subject as RBAC wants it: service accounts have no group, users and groups have RBAC's own.
fn subject(subject: &Subject) -> SubjectFacts {
    let (api_group, kind, namespace, name) = match subject {
        Subject::ServiceAccount(namespace, name) => {
            ("", "ServiceAccount", namespace.to_string(), name.to_string())
        }
        Subject::ProjectServiceAccounts(project) => {
            (RBAC, "Group", String::new(), format!("system:serviceaccounts:{project}"))
        }
        Subject::Group(name) => (RBAC, "Group", String::new(), name.to_string()),
        Subject::User(name) => (RBAC, "User", String::new(), name.to_string()),
    };
    SubjectFacts { api_group: api_group.into(), kind: kind.into(), namespace, name }
}

fn not_ours(view: &View, name: &str) -> Reason {
    let message = format!(
        "RoleBinding {name} in project {} exists and is not ours: delete it, or give the grant another name",
        view.name
    );
    Reason::failed("NOT_OURS", "RoleBinding", name, message)
}

fn already_permitted(view: &View, name: &str) -> Reason {
    let message =
        format!("the cluster permits this within project {} already, nothing is written", view.name);
    Reason::note("ALREADY_PERMITTED", "RoleBinding", name, message)
}

fn no_role(name: &str, what: &Grant) -> Reason {
    let message = format!(
        "ClusterRole {} does not exist in this cluster; the binding is written as soon as it does",
        what.role().cluster_role()
    );
    Reason::pending("ROLE_NOT_FOUND", "RoleBinding", name, message)
}
