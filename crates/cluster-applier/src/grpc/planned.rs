//! A plan as the wire has it: what would be done, in order of execution, and what cannot be, and why.

use pullpass_api::applier::v1::{Action as WireAction, PlannedChange};

use crate::plan::{Action, Change, Edit, Plan, Reason, Standing, Step, View};

/// What is done to what a leaving cluster keeps.
const RELEASE: &str = "take off label and annotation";

/// The changes of one namespace.
pub(super) fn changes(view: &View, plan: &Plan) -> Vec<PlannedChange> {
    let namespace = view.name.as_str();
    let mut changes: Vec<_> = plan.actions.iter().flat_map(|action| planned(namespace, action)).collect();
    for (name, outcome) in &plan.outcomes {
        let blocking = outcome.reasons.iter().filter(|reason| reason.standing != Standing::Synced);
        changes.extend(blocking.map(|reason| blocked(namespace, &name.to_string(), reason)));
    }
    changes
}

fn blocked(namespace: &str, cause: &str, reason: &Reason) -> PlannedChange {
    PlannedChange {
        action: WireAction::Blocked.into(),
        kind: reason.kind.to_owned(),
        namespace: namespace.to_owned(),
        object: reason.object.clone(),
        change: reason.code.to_string(),
        cause: cause.to_owned(),
        reason: reason.message.clone(),
    }
}

fn planned(namespace: &str, action: &Action) -> Vec<PlannedChange> {
    let change = |kind: &str, object: &str, done: WireAction, change: String| PlannedChange {
        action: done.into(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        object: object.to_owned(),
        change,
        cause: action.cause.to_string(),
        reason: action.reason.clone(),
    };
    let (kind, object, done, what) = match &action.change {
        Change::EditAccount { account, edits, .. } => {
            let edit = |edit: &Edit| PlannedChange {
                cause: edit.cause.to_string(),
                ..change("ServiceAccount", account.as_str(), WireAction::Update, describe(edit))
            };
            return edits.iter().map(edit).collect();
        }
        Change::CreateSecret { name, content } => {
            ("Secret", name, WireAction::Create, format!("type {}", content.secret_type.kubernetes_type()))
        }
        Change::UpdateSecret { name, .. } => {
            ("Secret", name, WireAction::Update, "set content and marks".to_owned())
        }
        Change::RecreateSecret { name, content, .. } => {
            let what = format!("delete and create with type {}", content.secret_type.kubernetes_type());
            ("Secret", name, WireAction::Update, what)
        }
        Change::DeleteSecret { name, .. } => ("Secret", name, WireAction::Delete, "delete".to_owned()),
        Change::ReleaseSecret { name, .. } => ("Secret", name, WireAction::Update, RELEASE.to_owned()),
        Change::ReleaseBinding { name, .. } => ("RoleBinding", name, WireAction::Update, RELEASE.to_owned()),
        Change::CreateBinding { name, binding } => {
            let who = &binding.subject;
            let what = format!("bind {} to {} {}", binding.role.cluster_role(), who.kind, who.name);
            ("RoleBinding", name, WireAction::Create, what)
        }
        Change::UpdateBinding { name, .. } => {
            ("RoleBinding", name, WireAction::Update, "set subject and marks".to_owned())
        }
        Change::RecreateBinding { name, binding, .. } => {
            let what = format!("delete and create with role {}", binding.role.cluster_role());
            ("RoleBinding", name, WireAction::Update, what)
        }
        Change::DeleteBinding { name, .. } => ("RoleBinding", name, WireAction::Delete, "delete".to_owned()),
        Change::Ask { name, question } => {
            let role = question.role.cluster_role();
            let what = format!("bind {role}, unless the cluster permits it already");
            ("RoleBinding", name, WireAction::Create, what)
        }
    };
    vec![change(kind, object, done, what)]
}

fn describe(edit: &Edit) -> String {
    let (secret, list) = (&edit.secret, edit.list.field());
    match edit.step {
        Step::Append { .. } => format!("append {secret:?} to {list}"),
        Step::Remove(_) => format!("remove {secret:?} from {list}"),
    }
}
