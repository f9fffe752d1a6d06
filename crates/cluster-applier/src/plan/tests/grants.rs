use pullpass_api::grant::v1::{ImageGrant, Role as WireRole, ServiceAccountSubject, image_grant::Subject};

use super::{super::testing::*, *};
use crate::cluster::object::{BindingFacts, Marks};

const SHARE: &str = "imageGrants/share";
const BINDING: &str = "pullpass-share";

fn grant_to(subject: Subject) -> ImageGrant {
    ImageGrant {
        name: SHARE.into(),
        project: "a".into(),
        subject: Some(subject),
        clusters: vec!["clusters/dev".into()],
        ..Default::default()
    }
}

fn account_of(namespace: &str) -> Subject {
    Subject::ServiceAccount(ServiceAccountSubject { namespace: namespace.into(), name: "default".into() })
}

fn there() -> View {
    view(&[], &[])
}

/// The same after the API server has answered what the plan asks, if it asks.
fn answered(mut view: View, permitted: bool) -> View {
    view.state.permitted.clear();
    if let Some(Change::Ask { question, .. }) = namespace(&view).actions.pop().map(|action| action.change) {
        view.state.permitted.insert(question, permitted);
    }
    view
}

/// The binding as the plan would create it.
fn binding_for(message: &ImageGrant) -> BindingFacts {
    let view = answered(there().with_grant(message), false);
    match namespace(&view).actions.remove(0).change {
        Change::CreateBinding { binding, .. } => BindingFacts {
            identity: identity("binding"),
            marks: Marks { labelled: true, cause: Some("share".into()) },
            role: ("ClusterRole".into(), binding.role.cluster_role().into()),
            subjects: vec![binding.subject],
            terminating: false,
        },
        other => panic!("expected a binding, got {other:?}"),
    }
}

fn with_binding(mut view: View, facts: BindingFacts) -> View {
    view.state.bindings.insert(BINDING.into(), facts);
    view
}

#[test]
fn a_grant_becomes_a_binding_to_the_subject_as_rbac_has_it() {
    const RBAC: &str = "rbac.authorization.k8s.io";
    for (subject, group, kind, namespace, name) in [
        (account_of("b"), "", "ServiceAccount", "b", "default"),
        (Subject::ProjectServiceAccounts("b".into()), RBAC, "Group", "", "system:serviceaccounts:b"),
        (Subject::Group("devs".into()), RBAC, "Group", "", "devs"),
        (Subject::User("alice".into()), RBAC, "User", "", "alice"),
    ] {
        let facts = binding_for(&grant_to(subject));
        let subject = &facts.subjects[0];
        let told = (&*subject.api_group, &*subject.kind, &*subject.namespace, &*subject.name);
        assert_eq!(told, (group, kind, namespace, name));
    }
}

#[test]
fn a_binding_is_kept_right_and_taken_back() {
    let message = grant_to(account_of("b"));
    let good = binding_for(&message);
    let edited = |change: fn(&mut BindingFacts)| {
        let mut facts = good.clone();
        change(&mut facts);
        said(&namespace(&with_binding(there().with_grant(&message), facts)))
    };
    assert_eq!(edited(|_| {}), [""; 0]);
    assert_eq!(edited(|b| b.subjects.clear()), ["update RoleBinding pullpass-share"]);
    assert_eq!(edited(|b| b.subjects.push(b.subjects[0].clone())), ["update RoleBinding pullpass-share"]);
    assert_eq!(edited(|b| b.marks.cause = None), ["update RoleBinding pullpass-share"]);
    assert_eq!(edited(|b| b.marks.labelled = false), ["update RoleBinding pullpass-share"]);
    assert_eq!(edited(|b| b.role.1 = "admin".into()), ["recreate RoleBinding pullpass-share"]);
    assert_eq!(edited(|b| b.role.0 = "Role".into()), ["recreate RoleBinding pullpass-share"]);
    let gone = namespace(&with_binding(there(), good));
    assert_eq!(said(&gone), ["delete RoleBinding pullpass-share"]);
    assert_eq!(standing(&gone, SHARE), just(Standing::Leaving));
}

#[test]
fn a_binding_that_an_older_state_lost_stays() {
    let mut lost = with_binding(there(), binding_for(&grant_to(account_of("b"))));
    lost.lost.insert(Name::Grant(GrantName::parse(SHARE).expect("a name")));
    let plan = namespace(&lost);
    assert_eq!((said(&plan), standing(&plan, SHARE)), (vec![], with(Standing::Leaving, "DELETIONS_HELD")));
}

#[test]
fn a_changed_role_replaces_the_binding() {
    let push = ImageGrant { role: WireRole::Push.into(), ..grant_to(account_of("b")) };
    let view = with_binding(there().with_grant(&push), binding_for(&grant_to(account_of("b"))));
    assert_eq!(said(&namespace(&view)), ["recreate RoleBinding pullpass-share"]);
}

#[test]
fn a_foreign_binding_is_not_touched() {
    let message = grant_to(account_of("b"));
    let foreign = BindingFacts { marks: Marks::default(), ..binding_for(&message) };
    let plan = namespace(&with_binding(there().with_grant(&message), foreign.clone()));
    assert_eq!((said(&plan), standing(&plan, SHARE)), (vec![], with(Standing::Failed, "NOT_OURS")));
    assert_eq!(namespace(&with_binding(there(), foreign)), Plan::default());
}

#[test]
fn without_its_role_nothing_is_written_and_what_is_there_is_kept() {
    let message = grant_to(account_of("b"));
    let (mut absent, facts) = (there().with_grant(&message), binding_for(&message));
    absent.roles.clear();
    let plan = namespace(&absent);
    assert_eq!((said(&plan), standing(&plan, SHARE)), (vec![], with(Standing::Pending, "ROLE_NOT_FOUND")));
    let other_role = BindingFacts { role: ("ClusterRole".into(), "admin".into()), ..facts };
    let plan = namespace(&with_binding(absent, other_role));
    assert_eq!((said(&plan), standing(&plan, SHARE)), (vec![], with(Standing::Pending, "ROLE_NOT_FOUND")));
}

#[test]
fn within_one_project_the_cluster_is_asked_first() {
    let message = grant_to(account_of("a"));
    let mut view = there().with_grant(&message);
    assert_eq!(said(&namespace(&view)), ["ask about RoleBinding pullpass-share"]);
    view = answered(view, true);
    view.roles.clear();
    let plan = namespace(&view);
    assert_eq!((said(&plan), standing(&plan, SHARE)), (vec![], with(Standing::Synced, "ALREADY_PERMITTED")));
    view.roles.extend(Role::ALL);
    view = answered(view, false);
    assert_eq!(said(&namespace(&view)), ["create RoleBinding pullpass-share"]);
    let kept = with_binding(there().with_grant(&message), binding_for(&message));
    assert_eq!(said(&namespace(&kept)), [""; 0], "a binding of ours is not asked about");
}

#[test]
fn what_another_binding_of_ours_permits_does_not_count() {
    let grant = there().with_grant(&grant_to(account_of("a")));
    let all =
        SubjectFacts { kind: "Group".into(), name: "system:serviceaccounts:a".into(), ..Default::default() };
    let user = SubjectFacts { kind: "User".into(), name: "alice".into(), ..Default::default() };
    let same = binding_for(&grant_to(account_of("a"))).subjects;
    for (subjects, labelled, done) in [
        (same.clone(), true, "create RoleBinding pullpass-share"),
        (vec![all], true, "create RoleBinding pullpass-share"),
        (vec![user], true, "ask about RoleBinding pullpass-share"),
        (same, false, "ask about RoleBinding pullpass-share"),
    ] {
        let marks = Marks { labelled, cause: Some("other".into()) };
        let facts = BindingFacts { marks, subjects, ..binding_for(&grant_to(account_of("a"))) };
        let mut view = grant.clone();
        view.state.bindings.insert("other".into(), facts);
        let plan = namespace(&view);
        assert!(said(&plan).iter().any(|action| action == done), "{:?}", said(&plan));
    }
}

#[test]
fn a_project_that_does_not_exist_is_waited_for() {
    let mut view = there().with_grant(&grant_to(account_of("b")));
    view.state.facts = None;
    let plan = namespace(&view);
    assert_eq!(
        (said(&plan), standing(&plan, SHARE)),
        (vec![], with(Standing::Pending, "NAMESPACE_NOT_FOUND"))
    );
}

#[test]
fn a_binding_of_a_cluster_that_leaves_and_keeps_what_it_has_only_loses_our_marks() {
    let mut leaving = with_binding(there(), binding_for(&grant_to(account_of("b"))));
    leaving.leave = Some(Leave::Keep);
    let plan = namespace(&leaving);
    assert_eq!(
        (said(&plan), standing(&plan, SHARE)),
        (vec!["release RoleBinding pullpass-share".into()], just(Standing::Leaving))
    );
}

#[test]
fn a_held_binding_stays_unless_its_deletion_is_confirmed() {
    let mut held = with_binding(there(), binding_for(&grant_to(account_of("b"))));
    held.hold = Some(Hold::MoreThanHalf { deletions: 60, others: 0 });
    let plan = namespace(&held);
    assert_eq!((said(&plan), standing(&plan, SHARE)), (vec![], with(Standing::Leaving, Hold::CODE)));
    held.confirmed.insert("binding".into());
    assert_eq!(said(&namespace(&held)), ["delete RoleBinding pullpass-share"]);
}
