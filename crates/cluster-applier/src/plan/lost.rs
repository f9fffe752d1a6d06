//! Deletions that nobody decided are held back: of what was lost when grant-manager went back to an older state.

use std::collections::BTreeSet;

use super::{Action, Change, Outcome, Plan, Reason, Standing, Step, View};
use crate::desired::Name;

/// Takes the deletions out of the plan that are not to be carried out, and tells of them.
pub(super) fn hold_back(view: &View, plan: &mut Plan) {
    let mut held = BTreeSet::new();
    plan.actions.retain_mut(|action| goes_on(view, action, &mut held));
    for name in held {
        let message = format!(
            "grant-manager went back to an older state, which lost something of {name}: what it has in namespace {} \
             stays; declare it anew, or run `pullpass sync --confirm-deletions` if the older state is meant",
            view.name
        );
        let outcome = plan.outcomes.entry(name.clone()).or_insert_with(|| Outcome::new(Standing::Leaving));
        outcome.because(Reason::pending("DELETIONS_HELD", "Namespace", view.name.as_str(), message));
    }
}

/// Whether there is anything left of the action.
fn goes_on(view: &View, action: &mut Action, held: &mut BTreeSet<Name>) -> bool {
    let mut holds = |cause: &Name| {
        let holds = view.lost.contains(cause);
        held.extend(holds.then(|| cause.clone()));
        holds
    };
    match &mut action.change {
        Change::DeleteSecret { .. } | Change::DeleteBinding { .. } => !holds(&action.cause),
        Change::EditAccount { edits, .. } => {
            edits.retain(|edit| !(matches!(edit.step, Step::Remove(_)) && holds(&edit.cause)));
            if let Some(edit) = edits.first() {
                action.cause = edit.cause.clone();
            }
            !edits.is_empty()
        }
        _ => true,
    }
}
