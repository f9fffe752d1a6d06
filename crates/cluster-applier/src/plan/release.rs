//! A cluster that leaves and keeps what it has: our marks come off our objects, one patch for each, and nothing else is
//! done. What has no marks any more is a plain object, and a start in the middle goes on with what still has them.

use pullpass_domain::name::{GrantName, LinkName};

use super::{Action, Change, Outcome, Plan, Standing, View, ownership::managed_for};
use crate::desired::Name;

pub(super) fn plan(view: &View) -> Plan {
    let secrets = view.state.secrets.iter().filter(|(_, facts)| !facts.terminating);
    let secrets = secrets.filter_map(|(name, facts)| {
        let cause = Name::Link(LinkName::from_id(managed_for(&facts.marks)?).ok()?);
        let (name, was) = (name.clone(), facts.identity.clone());
        // A stand-in is nothing to keep.
        let release = match facts.stands_for {
            Some(_) => Change::DeleteSecret { name, was },
            None => Change::ReleaseSecret { name, was },
        };
        Some((cause, release))
    });
    let bindings = view.state.bindings.iter().filter(|(_, facts)| !facts.terminating);
    let bindings = bindings.filter_map(|(name, facts)| {
        let cause = Name::Grant(GrantName::from_id(managed_for(&facts.marks)?).ok()?);
        Some((cause, Change::ReleaseBinding { name: name.clone(), was: facts.identity.clone() }))
    });
    let mut plan = Plan::default();
    for (cause, change) in secrets.chain(bindings) {
        plan.outcomes.insert(cause.clone(), Outcome::new(Standing::Leaving));
        let reason = "the cluster leaves and keeps its objects".to_owned();
        plan.actions.push(Action { cause, change, reason });
    }
    plan
}
