use std::time::Instant;

use pullpass_api::grant::v1::{NamespaceSelection, SecretLink, SyncStatus};

use super::*;
use crate::{
    cluster::object::{Identity, NamespaceFacts, SecretFacts},
    desired::Name,
    plan::testing::{link_message, secret_of},
    queue::End,
    state::State,
};

fn ns(number: usize) -> Namespace {
    Namespace::new(format!("n{number}")).expect("a name")
}

/// Ready, with the Secret of each of these links in so many namespaces of its own.
fn state(links: &[(&str, usize)]) -> State {
    let mut state = State::default();
    let (mut desired, mut next) = (Desired { cluster: Some("clusters/dev".into()), ..Desired::default() }, 0);
    for (link, count) in links {
        let mut names = Vec::new();
        for number in next..next + count {
            state.index.set_namespace(&ns(number), Some(NamespaceFacts::default()));
            put_secret(&mut state, link, number);
            names.push(ns(number).to_string());
        }
        next += count;
        desired.set_link(&reaching(link, names));
    }
    state.replace_desired(desired, "");
    work_off(&mut state);
    state
}

fn put_secret(state: &mut State, link: &str, number: usize) {
    let identity = Identity { uid: format!("{link}-{number}"), version: "1".into() };
    let secret = SecretFacts { identity, ..secret_of(link, "{}") };
    state.index.put(&ns(number), link.to_owned(), secret);
    state.namespace_changed(&ns(number));
}

fn reaching(link: &str, names: Vec<String>) -> SecretLink {
    SecretLink { namespaces: Some(NamespaceSelection { names, ..Default::default() }), ..link_message(link) }
}

fn remove(state: &mut State, link: &str) {
    let name = Name::Link(pullpass_domain::name::LinkName::from_id(link).expect("a name"));
    state.desired.remove_named(&name.to_string());
    state.desired_changed(&name, "");
}

fn declare(state: &mut State, link: &SecretLink) {
    let name = state.desired.set_link(link).expect("a name");
    state.desired_changed(&name, "");
}

/// Takes every job and carries out the deletions of its plan. Gives their number.
fn work_off(state: &mut State) -> usize {
    let mut deleted = 0;
    while let Some(job) = state.take(Instant::now()) {
        let plan = crate::plan::namespace(&state.view(&job.namespace));
        for action in plan.actions {
            if let crate::plan::Change::DeleteSecret { name, was } = action.change {
                state.index.deleted::<SecretFacts>(&job.namespace, &name, &was);
                deleted += 1;
            }
        }
        let outcomes = crate::plan::namespace(&state.view(&job.namespace)).outcomes;
        state.done(&job.namespace, outcomes, End::Settled, Instant::now());
    }
    deleted
}

fn status(state: &State, link: &str) -> SyncStatus {
    let mut statuses = state.statuses().into_iter();
    statuses.find(|status| status.name == format!("secretLinks/{link}")).expect("a status")
}

#[test]
fn more_than_half_and_over_fifty_objects_are_held() {
    for (others, deletions, held) in
        [(0, 50, false), (0, 51, true), (60, 60, false), (60, 61, true), (61, 60, false), (3, 49, false)]
    {
        let mut state = state(&[("web", deletions), ("api", others)]);
        remove(&mut state, "web");
        let deleted = work_off(&mut state);
        assert_eq!(deleted, if held { 0 } else { deletions }, "{deletions} beside {others}");
        assert_eq!(state.held_deletions(), deletions - deleted);
    }
}

#[test]
fn status_says_once_how_many_are_held_and_what_to_do() {
    let mut state = state(&[("web", 60), ("api", 10)]);
    remove(&mut state, "web");
    work_off(&mut state);
    let status = status(&state, "web");
    assert_eq!((status.leaving, status.reasons.len()), (60, 1));
    let reason = &status.reasons[0];
    assert_eq!((reason.code.as_str(), reason.namespace.as_str()), (Hold::CODE, ""));
    for part in ["60 of 70", "pullpass sync --confirm-deletions"] {
        assert!(reason.message.contains(part), "{part} is not in {}", reason.message);
    }
}

#[test]
fn what_is_confirmed_goes_and_what_comes_later_is_held_again() {
    let mut state = state(&[("web", 60), ("api", 60)]);
    assert_eq!(state.confirm_deletions(), 0, "nothing is held, so nothing is let go in advance");
    remove(&mut state, "web");
    assert_eq!(work_off(&mut state), 60, "half is not more than half");
    remove(&mut state, "api");
    assert_eq!(work_off(&mut state), 0);
    assert_eq!((state.confirm_deletions(), state.held_deletions()), (60, 0));
    for number in 0..60 {
        put_secret(&mut state, "late", number);
    }
    assert_eq!(work_off(&mut state), 60, "those of the confirmation, and not those that came in between");
    assert_eq!(state.held_deletions(), 60);
    assert_eq!(state.confirm_deletions(), 60);
    assert_eq!(work_off(&mut state), 60);
}

#[test]
fn what_is_declared_again_is_kept_and_a_confirmation_of_it_is_forgotten() {
    let mut state = state(&[("web", 60)]);
    let web = reaching("web", (0..60).map(|number| ns(number).to_string()).collect());
    remove(&mut state, "web");
    assert_eq!((work_off(&mut state), state.held_deletions()), (0, 60));
    state.confirm_deletions();
    declare(&mut state, &web);
    assert_eq!((work_off(&mut state), state.held_deletions()), (0, 0));
    remove(&mut state, "web");
    assert_eq!((work_off(&mut state), state.held_deletions()), (0, 60));
    let some = reaching("web", (0..20).map(|number| ns(number).to_string()).collect());
    declare(&mut state, &some);
    assert_eq!((work_off(&mut state), state.held_deletions()), (40, 0), "that few need no confirmation");
}

#[test]
fn what_is_created_while_deletions_are_held_does_not_tip_the_scale() {
    let mut state = state(&[("web", 60), ("api", 30)]);
    remove(&mut state, "web");
    assert_eq!(work_off(&mut state), 0);
    declare(&mut state, &link_message("api"));
    for number in 0..60 {
        put_secret(&mut state, "api", number);
    }
    assert_eq!((work_off(&mut state), state.held_deletions()), (0, 60));
}

#[test]
fn a_cluster_that_leaves_is_not_held() {
    let mut state = state(&[("web", 60)]);
    let leave = Some(crate::desired::Leave::TakeBack);
    state.replace_desired(Desired { cluster: Some("clusters/dev".into()), leave, ..Desired::default() }, "");
    assert_eq!(work_off(&mut state), 60);
}

#[test]
fn a_proposal_is_judged_like_a_change() {
    let mut state = state(&[("web", 60), ("api", 10)]);
    let mut without = state.desired.clone();
    without.remove_named("secretLinks/web");
    assert_eq!(state.hold_of(&without), Some(Hold::MoreThanHalf { deletions: 60, others: 10 }));
    assert_eq!(state.hold_of(&state.desired.clone()), None);
    assert_eq!(state.held_deletions(), 0);
}
