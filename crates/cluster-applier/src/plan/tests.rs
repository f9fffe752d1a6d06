//! The plan, case by case: `before` says what is there, the plan says what is done, in one line each.

mod grants;
mod links;
mod model;
mod pods;

use super::*;

/// The actions as short sentences.
fn said(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(|action| say(&action.change)).collect()
}

fn say(change: &Change) -> String {
    match change {
        Change::CreateSecret { name, .. } => format!("create Secret {name}"),
        Change::UpdateSecret { name, surplus, .. } => format!("update Secret {name} less {surplus:?}"),
        Change::RecreateSecret { name, .. } => format!("recreate Secret {name}"),
        Change::DeleteSecret { name, .. } => format!("delete Secret {name}"),
        Change::ReleaseSecret { name, .. } => format!("release Secret {name}"),
        Change::ReleaseBinding { name, .. } => format!("release RoleBinding {name}"),
        Change::EditAccount { account, edits, .. } => {
            let edits: Vec<_> = edits.iter().map(say_edit).collect();
            format!("edit {account}: {}", edits.join(", "))
        }
        Change::CreateBinding { name, .. } => format!("create RoleBinding {name}"),
        Change::UpdateBinding { name, .. } => format!("update RoleBinding {name}"),
        Change::RecreateBinding { name, .. } => format!("recreate RoleBinding {name}"),
        Change::DeleteBinding { name, .. } => format!("delete RoleBinding {name}"),
        Change::Ask { name, .. } => format!("ask about RoleBinding {name}"),
    }
}

fn say_edit(edit: &Edit) -> String {
    let (list, secret) = (edit.list.field(), &edit.secret);
    match edit.step {
        Step::Append { first: true } => format!("begin {list} with {secret}"),
        Step::Append { first: false } => format!("append {secret} to {list}"),
        Step::Remove(position) => format!("remove {secret} from {list} at {position}"),
    }
}

/// How something stands, and the codes of its reasons.
fn standing(plan: &Plan, name: &str) -> (Standing, Vec<String>) {
    let told = plan.outcomes.iter().find(|(known, _)| known.to_string() == name);
    let (_, outcome) = told.expect("the plan tells of it");
    (outcome.standing, outcome.reasons.iter().map(|reason| reason.code.to_string()).collect())
}

fn just(standing: Standing) -> (Standing, Vec<String>) {
    (standing, Vec::new())
}

fn with(standing: Standing, code: &str) -> (Standing, Vec<String>) {
    (standing, vec![code.to_owned()])
}
