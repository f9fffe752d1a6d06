//! Whatever is there and whatever is wanted: carrying out the plan ends in a state in which there is nothing left to do,
//! nothing that is not ours has changed, and with nothing wanted nothing of ours is left. While deletions are held, nothing
//! is deleted and no service account loses what it pulls with.

use proptest::{collection::vec, prelude::*, sample::select};
use pullpass_api::grant::v1::{SecretLink, ServiceAccountSelection, Usage};

use super::{super::testing::*, *};
use crate::{
    cluster::{
        index::Index,
        object::{Account, Marks, SecretFacts},
    },
    desired::Desired,
};

const NAMES: [&str; 4] = ["s", "t", "own", STAND_IN];
/// Whatever has this name stands for the Secret `s`.
const STAND_IN: &str = "stand-in";

/// Carries out a plan as the API server would.
fn carry_out(view: &mut View, plan: &Plan) {
    for action in &plan.actions {
        match &action.change {
            Change::CreateSecret { name, content } | Change::RecreateSecret { name, content, .. } => {
                view.state.secrets.insert(name.clone(), secret_of(content.link.id(), "{}"));
            }
            Change::UpdateSecret { name, content, .. } => {
                let facts = SecretFacts { immutable: false, ..secret_of(content.link.id(), "{}") };
                view.state.secrets.insert(name.clone(), facts);
            }
            Change::DeleteSecret { name, .. } => drop(view.state.secrets.remove(name)),
            Change::EditAccount { account, edits, .. } => edit(view, account, edits),
            other => panic!("no grants here: {other:?}"),
        }
    }
}

/// Two rounds: a Secret that is new makes entries ours that dangled before.
fn bring_to_rest(view: &mut View) {
    for _ in 0..2 {
        let plan = namespace(view);
        carry_out(view, &plan);
    }
}

fn edit(view: &mut View, account: &ServiceAccount, edits: &[Edit]) {
    let account = view.state.accounts.get_mut(account).expect("an account that is there");
    // A list that was emptied by the same patch is there, though empty.
    let absent = List::ALL.map(|list| super::super::links::entries(account, list).is_empty());
    for edit in edits {
        let absent =
            absent[edit.list as usize] && super::super::links::entries(account, edit.list).is_empty();
        let list = match edit.list {
            List::Pull => &mut account.pull,
            List::Mount => &mut account.mount,
        };
        match edit.step {
            Step::Append { first } => {
                assert_eq!(first, absent, "an absent list has to be created");
                list.push(edit.secret.clone());
            }
            Step::Remove(position) => assert_eq!(list.remove(position), edit.secret),
        }
    }
}

fn links() -> impl Strategy<Value = Vec<SecretLink>> {
    let one = (select(&["w", "x", "y"][..]), select(&NAMES[..2]), 1..4_i32, any::<bool>());
    vec(one, 0..4).prop_map(|links| {
        let message = |(id, secret, usages, all): (&str, &str, i32, bool)| SecretLink {
            secret_name: secret.into(),
            usages: [Usage::Pull, Usage::Mount]
                .into_iter()
                .map(i32::from)
                .filter(|u| usages & u != 0)
                .collect(),
            service_accounts: Some(if all {
                ServiceAccountSelection { all, ..Default::default() }
            } else {
                ServiceAccountSelection { names: vec!["other".into()], ..Default::default() }
            }),
            ..link_message(id)
        };
        links.into_iter().map(message).collect()
    })
}

fn secrets() -> impl Strategy<Value = Vec<(String, SecretFacts)>> {
    let one = (select(&NAMES[..]), select(&["w", "x", "gone"][..]), any::<[bool; 4]>());
    vec(one, 0..4).prop_map(|secrets| {
        let facts = |(name, link, [labelled, caused, right, immutable]): (&str, &str, [bool; 4])| {
            let marks = Marks { labelled, cause: caused.then(|| link.to_owned()) };
            let stands_for = (name == STAND_IN).then(|| "s".to_owned());
            let content = secret_of(link, if right { "{}" } else { "old" });
            (name.to_owned(), SecretFacts { marks, immutable, stands_for, ..content })
        };
        secrets.into_iter().map(facts).collect()
    })
}

fn lists() -> impl Strategy<Value = Vec<&'static str>> {
    vec(select(&["s", "t", "own", "", "s"][..]), 0..6)
}

/// Entries that name nothing of ours, in their order.
fn own_entries(view: &View, of: &NamespaceState) -> Vec<Vec<String>> {
    let managed = |name: &str| {
        let marked = |state: &NamespaceState| {
            let mut named = state
                .secrets
                .iter()
                .filter(|(secret, facts)| *secret == name || facts.stands_for.as_deref() == Some(name));
            named.any(|(_, facts)| ownership::managed_for(&facts.marks).is_some())
        };
        marked(&view.state)
            || marked(of)
            || view.links.values().any(|link| link.what.secret_name().as_str() == name)
    };
    let lists = view.state.accounts.values().flat_map(|account| [&account.pull, &account.mount]);
    lists.map(|list| list.iter().filter(|name| !managed(name)).cloned().collect()).collect()
}

fn foreign(view: &View) -> BTreeMap<String, SecretFacts> {
    let is_foreign = |facts: &SecretFacts| !facts.marks.labelled && facts.marks.cause.is_none();
    view.state
        .secrets
        .iter()
        .filter(|(_, facts)| is_foreign(facts))
        .map(|(n, f)| (n.clone(), f.clone()))
        .collect()
}

/// The Secrets that a plan deletes for good.
fn deletions(plan: &Plan) -> BTreeSet<String> {
    let deleted = |action: &Action| match &action.change {
        Change::DeleteSecret { name, .. } => Some(name.clone()),
        _ => None,
    };
    plan.actions.iter().filter_map(deleted).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_plan_leads_to_rest_and_touches_only_what_is_ours(
        links in links(), secrets in secrets(), pull in lists(), mount in lists(),
    ) {
        let mut view = view(&pull, &mount);
        view.state.accounts.insert(account_name("other"), Account::default());
        for (name, facts) in secrets { view = view.with_secret(&name, facts); }
        for link in &links { view = view.with_link(link); }
        let before = view.clone();
        bring_to_rest(&mut view);
        prop_assert_eq!(namespace(&view).actions, vec![]);
        prop_assert_eq!(own_entries(&view, &before.state), own_entries(&before, &view.state));
        prop_assert_eq!(foreign(&view), foreign(&before));

        view.links.clear();
        bring_to_rest(&mut view);
        prop_assert_eq!(namespace(&view), Plan::default());
        let managed = view.state.secrets.values().any(|facts| ownership::managed_for(&facts.marks).is_some());
        prop_assert!(!managed);
        prop_assert_eq!(foreign(&view), foreign(&before));
    }

    #[test]
    fn while_deletions_are_held_nothing_is_deleted_and_what_was_named_stays_named(
        links in links(), secrets in secrets(), pull in lists(), mount in lists(),
    ) {
        let mut view = view(&pull, &mount);
        view.state.accounts.insert(account_name("other"), Account::default());
        for (name, facts) in secrets { view = view.with_secret(&name, facts); }
        for link in &links { view = view.with_link(link); }
        let spent = |name: &String| unwanted::is_spent(&view.state.secrets[name], &view.state.secrets);
        let deletions: Vec<_> = deletions(&namespace(&view)).into_iter().filter(|name| !spent(name)).collect();
        let stood_for = deletions.iter().any(|name| name == STAND_IN) && !view.state.secrets.contains_key("s");
        let named = |view: &View| -> Vec<Vec<String>> {
            let lists = view.state.accounts.values().flat_map(|account| [&account.pull, &account.mount]);
            let kept = |name: &&String| deletions.contains(name) || (stood_for && *name == "s");
            lists.map(|list| list.iter().filter(kept).cloned().collect()).collect()
        };
        let before = named(&view);
        view.hold = Some(Hold::MoreThanHalf { deletions: 60, others: 0 });
        bring_to_rest(&mut view);
        prop_assert_eq!(namespace(&view).actions, vec![]);
        prop_assert_eq!(named(&view), before);
        prop_assert!(deletions.iter().all(|name| view.state.secrets.contains_key(name)));
        let held = |outcome: &Outcome| outcome.reasons.iter().any(|reason| reason.code == Hold::CODE);
        prop_assert_eq!(namespace(&view).outcomes.values().any(held), !deletions.is_empty());
    }

    #[test]
    fn what_is_counted_as_unwanted_is_what_the_plan_deletes(links in links(), secrets in secrets()) {
        let (mut index, mut desired) = (Index::default(), Desired::default());
        let mut view = view(&[], &[]);
        index.set_namespace(&view.name, view.state.facts.clone());
        for (name, facts) in secrets { view = view.with_secret(&name, facts); }
        for (name, facts) in &view.state.secrets { index.put(&view.name, name.clone(), facts.clone()); }
        for link in &links { view = view.with_link(link); }
        desired.links = view.links.clone();
        let (count, _) = unwanted::count(&view.name, &index, &desired);
        let spent = |facts: &SecretFacts| unwanted::is_spent(facts, &view.state.secrets);
        let mut deletions = deletions(&namespace(&view));
        deletions.retain(|name| !spent(&view.state.secrets[name]));
        prop_assert_eq!(count.unwanted, deletions.len());
        let managed = |facts: &&SecretFacts| ownership::managed_for(&facts.marks).is_some() && !spent(facts);
        prop_assert_eq!(count.managed, view.state.secrets.values().filter(managed).count());
    }
}
