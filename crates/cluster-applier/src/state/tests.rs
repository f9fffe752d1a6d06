use std::time::Duration;

use pullpass_api::grant::v1::{
    ImageGrant, NamespaceSelection, SecretLink, SyncState, Usage, image_grant::Subject,
};

use super::*;
use crate::{
    cluster::object::{NamespaceFacts, SubjectFacts},
    plan::{
        Question,
        testing::{desired_link, link_message, link_name, rendered, secret_of},
    },
};

fn ns(name: &str) -> Namespace {
    Namespace::new(name).expect("a name")
}

fn complete(desired: Desired, revision: i64) -> Desired {
    Desired { revision, cluster: Some("clusters/dev".into()), ..desired }
}

/// Ready, with these namespaces, and nothing to do.
fn at_rest(desired: Desired, namespaces: &[&str]) -> State {
    let mut state = State::default();
    for name in namespaces {
        state.index.set_namespace(&ns(name), Some(NamespaceFacts::default()));
    }
    state.replace_desired(complete(desired, 5), "");
    work_off(&mut state);
    state
}

/// Takes every job and ends it with what the plan says.
fn work_off(state: &mut State) -> Vec<Job> {
    let mut jobs = Vec::new();
    while let Some(job) = state.take(Instant::now()) {
        let outcomes = crate::plan::namespace(&state.view(&job.namespace)).outcomes;
        state.done(&job.namespace, outcomes, End::Settled, Instant::now());
        jobs.push(job);
    }
    jobs
}

fn marked(state: &mut State) -> Vec<String> {
    let mut names: Vec<_> = work_off(state).into_iter().map(|job| job.namespace.to_string()).collect();
    names.sort();
    names
}

fn status_of(state: &State) -> (SyncState, i64, i64) {
    let status = state.statuses().remove(0);
    (status.state(), status.wanted, status.pending)
}

#[test]
fn nothing_is_worked_on_before_every_cache_is_filled_and_the_snapshot_complete() {
    let shared = Shared::new(["secrets", "namespaces"]);
    shared.with(|state| {
        state.index.set_namespace(&ns("a"), Some(NamespaceFacts::default()));
        state.namespace_changed(&ns("a"));
        state.cache_filled("secrets");
        state.replace_desired(complete(desired_link("web"), 5), "");
        assert_eq!(
            (state.take(Instant::now()), state.is_ready(), state.observed_revision()),
            (None, false, 0)
        );
        assert_eq!(state.empty_caches().iter().collect::<Vec<_>>(), [&"namespaces"]);
        state.cache_filled("namespaces");
        assert_eq!((state.is_ready(), state.observed_revision()), (true, 0));
        assert_eq!(status_of(state), (SyncState::Pending, 1, 1), "wanted from the start");
        assert_eq!(marked(state), ["a"]);
        assert_eq!(state.observed_revision(), 5);
    });
}

#[test]
fn a_change_concerns_the_namespaces_that_it_reaches_and_those_that_it_did() {
    let selection = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        SecretLink {
            namespaces: Some(NamespaceSelection { names, ..Default::default() }),
            ..link_message("web")
        }
    };
    let mut desired = Desired::default();
    desired.set_link(&selection(&["a", "b"]));
    let mut state = at_rest(desired, &["a", "b", "c", "d"]);
    let name = state.desired.set_link(&selection(&["b", "c", "later"])).expect("a name");
    state.desired.revision = 6;
    state.desired_changed(&name, "trace");
    assert_eq!(state.observed_revision(), 5);
    let jobs = work_off(&mut state);
    assert!(jobs.iter().all(|job| job.trace == "trace"));
    let mut names: Vec<_> = jobs.iter().map(|job| job.namespace.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c", "later"]);
    assert_eq!(state.observed_revision(), 6);
}

#[test]
fn a_selector_reaches_neither_the_platform_nor_what_is_being_deleted() {
    let mut state = at_rest(Desired::default(), &["a", "kube-system", "going"]);
    state.index.set_namespace(&ns("going"), Some(NamespaceFacts { terminating: true, ..Default::default() }));
    let name = state.desired.set_link(&link_message("web")).expect("a name");
    state.desired_changed(&name, "");
    assert_eq!(marked(&mut state), ["a"]);
}

#[test]
fn new_material_goes_to_the_namespaces_that_want_it() {
    let mut state = at_rest(desired_link("web"), &["a", "kube-system"]);
    let order = state.materials.due(Instant::now()).remove(0);
    let content = rendered("{}");
    let answer = Rendered::new(&b"{}".to_vec().into(), content.secret_type, content.versions.clone());
    state.fetched(&order, Ok(answer), Instant::now());
    assert_eq!(status_of(&state), (SyncState::Pending, 1, 1));
    assert_eq!(marked(&mut state), ["a"]);
    assert!(state.materials.of(&link_name("web")).rendered.is_some());
}

#[test]
fn a_pod_that_cannot_pull_is_news_where_a_link_for_pulling_reaches_and_nowhere_else() {
    let only_a = |usage: Usage| {
        let mut desired = Desired::default();
        let selection = NamespaceSelection { names: vec!["a".into()], ..Default::default() };
        desired.set_link(&SecretLink {
            namespaces: Some(selection),
            usages: vec![usage.into()],
            ..link_message("web")
        });
        at_rest(desired, &["a", "b"])
    };
    for (usage, told) in [(Usage::Pull, vec!["a"]), (Usage::Mount, vec![])] {
        let mut state = only_a(usage);
        for namespace in ["a", "a", "b"] {
            state.stuck_pods_changed(&ns(namespace));
        }
        assert_eq!(marked(&mut state), told, "{usage:?}");
    }
}

#[test]
fn a_pod_that_cannot_pull_is_no_reason_to_try_again_what_failed() {
    let (mut state, now) = (at_rest(desired_link("web"), &["a"]), Instant::now());
    let fail = |state: &mut State| {
        let job = state.take(now).expect("a job");
        state.done(&job.namespace, Outcomes::new(), End::Retry { not_before: None }, now);
    };
    state.namespace_changed(&ns("a"));
    fail(&mut state);
    state.stuck_pods_changed(&ns("a"));
    assert_eq!(state.take(now), None);
    state.namespace_changed(&ns("a"));
    assert!(state.take(now).is_some());
    state.stuck_pods_changed(&ns("a"));
    state.done(&ns("a"), Outcomes::new(), End::Settled, now);
    assert!(state.take(now).is_some(), "it came while the namespace was looked at");
}

#[test]
fn a_role_concerns_the_projects_of_its_grants() {
    let mut desired = Desired::default();
    desired.set_grant(&ImageGrant {
        name: "imageGrants/share".into(),
        project: "b".into(),
        subject: Some(Subject::Group("devs".into())),
        clusters: vec!["clusters/dev".into()],
        ..Default::default()
    });
    let mut state = at_rest(desired, &["a", "b"]);
    state.set_role(Role::Push, true);
    assert_eq!(marked(&mut state), [""; 0]);
    state.set_role(Role::Pull, true);
    assert_eq!(marked(&mut state), ["b"]);
    state.set_role(Role::Pull, true);
    assert_eq!(marked(&mut state), [""; 0], "no news");
}

#[test]
fn asked_to_everything_is_looked_at_again() {
    let mut state = at_rest(desired_link("web"), &["a", "b"]);
    assert_eq!(state.retry_everything(Instant::now()), 2);
    assert_eq!(marked(&mut state), ["a", "b"]);
}

#[test]
fn what_was_permitted_is_asked_about_again_in_time_and_when_the_grant_changes() {
    let mut desired = Desired::default();
    let share = ImageGrant {
        name: "imageGrants/share".into(),
        project: "b".into(),
        subject: Some(Subject::Group("devs".into())),
        clusters: vec!["clusters/dev".into()],
        ..Default::default()
    };
    let share = desired.set_grant(&share).expect("a name");
    let mut state = at_rest(desired, &["a", "b"]);
    let permitted = |state: &mut State| state.view(&ns("b")).state.permitted.len();
    let question = Question { subject: SubjectFacts::default(), role: Role::Pull };
    state.index.set_permitted(&ns("b"), question.clone(), true);
    state.namespace_changed(&ns("b"));
    assert_eq!(marked(&mut state), ["b"]);
    assert_eq!(permitted(&mut state), 1, "what happens in the project is no reason to ask");
    state.ask_again();
    assert_eq!(marked(&mut state), ["b"]);
    assert_eq!(permitted(&mut state), 0);
    state.index.set_permitted(&ns("b"), question, true);
    state.desired_changed(&share, "");
    assert_eq!(permitted(&mut state), 0);
}

#[test]
fn a_standby_knows_everything_and_does_nothing() {
    let now = Instant::now();
    let mut state = at_rest(desired_link("web"), &["a"]);
    let content = rendered("{}");
    let order = state.fetches(now).expect("active").remove(0);
    let answer = Rendered::new(&b"{}".to_vec().into(), content.secret_type, content.versions.clone());
    state.fetched(&order, Ok(answer), now);
    let web = link_name("web");
    for (holder, keeps) in [(None, true), (Some("other".to_owned()), false)] {
        state.stand_by(holder.clone());
        assert_eq!(state.materials.of(&web).rendered.is_some(), keeps, "{holder:?}");
        state.index.set_namespace(&ns("new"), Some(NamespaceFacts::default()));
        state.namespace_changed(&ns("new"));
        assert!(state.is_ready(), "so that it can plan");
        assert_eq!((state.take(now), state.fetches(now), state.may_report(now)), (None, None, false));
        assert_eq!((state.next_wake(now), state.next_fetch(now)), (None, None), "nor does it wake up for it");
        let preview = state.preview(&state.desired, None, &ns("a"));
        assert!(preview.materials[&web].unfetched, "contents are not compared");
    }
    state.become_active(None);
    assert_eq!(state.fetches(now).map(|orders| orders.len()), Some(1));
    assert_eq!(status_of(&state).0, SyncState::Pending, "nothing counts that was before");
    assert_eq!(marked(&mut state), ["a", "new"]);
}

#[test]
fn a_fetch_that_is_under_way_when_the_turn_ends_counts_for_nothing() {
    let now = Instant::now();
    let mut state = at_rest(desired_link("web"), &["a"]);
    let order = state.fetches(now).expect("active").remove(0);
    state.stand_by(None);
    let content = rendered("{}");
    let answer = Rendered::new(&b"{}".to_vec().into(), content.secret_type, content.versions.clone());
    state.fetched(&order, Ok(answer), now);
    assert!(state.materials.of(&link_name("web")).rendered.is_none());
    state.become_active(None);
    assert_eq!(state.fetches(now).map(|orders| orders.len()), Some(1), "it is fetched again");
}

#[test]
fn whose_hold_is_over_does_nothing_even_before_it_is_told() {
    let now = Instant::now();
    let mut state = at_rest(desired_link("web"), &["a"]);
    state.namespace_changed(&ns("a"));
    let turn = Turn::not_yet();
    state.turn = turn.clone();
    assert_eq!((state.take(now), state.fetches(now), state.may_report(now)), (None, None, false));
    turn.lasts_until(now + Duration::from_secs(1));
    assert!(state.take(now + Duration::from_secs(2)).is_none());
    assert!(state.take(now).is_some() && state.may_report(now));
}

#[test]
fn what_an_older_revision_lost_is_held_until_somebody_decides_anew() {
    let mut state = at_rest(desired_link("web"), &["a"]);
    let lost = |state: &mut State| state.view(&ns("a")).lost.len();
    state.replace_desired(complete(desired_link("web"), 3), "");
    assert_eq!(lost(&mut state), 0, "nothing was lost");
    state.replace_desired(complete(Desired::default(), 2), "");
    assert_eq!(lost(&mut state), 1);
    state.replace_desired(complete(Desired::default(), 9), "");
    assert_eq!(lost(&mut state), 1, "moving on decides nothing");
    state.replace_desired(complete(desired_link("web"), 12), "");
    assert_eq!(lost(&mut state), 0, "the right state came back");
    state.replace_desired(complete(Desired::default(), 11), "");
    state.desired_changed(&Name::Link(link_name("web")), "");
    assert_eq!(lost(&mut state), 0, "it was declared anew, or removed");
    let mut state = at_rest(desired_link("web"), &["a"]);
    state.index.put(&ns("a"), "web".to_owned(), secret_of("web", "{}"));
    state.replace_desired(complete(Desired::default(), 2), "");
    assert_eq!((state.held_deletions(), state.confirm_deletions()), (1, 1));
    assert_eq!((lost(&mut state), state.held_deletions()), (0, 0), "an operator let the older state count");
    let another = Desired { cluster_uid: "another".into(), ..complete(Desired::default(), 20) };
    let mut state = at_rest(desired_link("web"), &["a"]);
    state.replace_desired(another, "");
    assert_eq!(lost(&mut state), 1, "a new database names nothing");
    let before = Desired { epoch: "one".into(), ..desired_link("web") };
    for (epoch, held) in [("two", 1), ("one", 0)] {
        let mut state = at_rest(before.clone(), &["a"]);
        let after = Desired { epoch: epoch.into(), ..complete(Desired::default(), 20) };
        state.replace_desired(after, "");
        assert_eq!(lost(&mut state), held, "an older copy that has come as far again: {epoch}");
    }
    let mut state = at_rest(desired_link("web"), &["a"]);
    state.replace_desired(complete(Desired::default(), 6), "");
    assert_eq!(lost(&mut state), 0, "taken back in the course of things");
}
