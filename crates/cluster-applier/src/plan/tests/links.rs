use pullpass_api::grant::v1::{
    NamespaceSelection, SecretLink, SecretType as WireType, ServiceAccountSelection, Usage,
};

use super::{super::testing::*, *};
use crate::cluster::object::{Account, Marks, NamespaceFacts, SecretFacts};

const WEB: &str = "secretLinks/web";

fn web() -> SecretLink {
    link_message("web")
}

fn marks(labelled: bool, cause: Option<&str>) -> Marks {
    Marks { labelled, cause: cause.map(Into::into) }
}

#[test]
fn a_new_namespace_gets_secret_and_entry_in_one_go() {
    for (pull, edit) in
        [(&[][..], "begin imagePullSecrets with web"), (&["own"][..], "append web to imagePullSecrets")]
    {
        let plan = namespace(&view(pull, &[]).with_link(&web()));
        assert_eq!(said(&plan), ["create Secret web".to_owned(), format!("edit default: {edit}")]);
        assert_eq!(standing(&plan, WEB), just(Standing::Pending));
    }
}

#[test]
fn nothing_is_done_when_all_is_well() {
    let plan = namespace(
        &view(&["own", "web", "web"], &[]).with_link(&web()).with_secret("web", secret_of("web", "{}")),
    );
    assert_eq!(said(&plan), [""; 0]);
    assert_eq!(standing(&plan, WEB), just(Standing::Synced));
    assert_eq!(plan.outcomes.values().next().map(|outcome| outcome.versions[0].1), Some(1));
}

#[test]
fn both_lists_are_served_and_a_smaller_usage_takes_its_entry_back() {
    let both = SecretLink { usages: vec![Usage::Mount.into(), Usage::Pull.into()], ..web() };
    let there =
        |message| view(&["web"], &["token"]).with_link(message).with_secret("web", secret_of("web", "{}"));
    assert_eq!(said(&namespace(&there(&both))), ["edit default: append web to secrets"]);
    let mount = SecretLink { usages: vec![Usage::Mount.into()], ..web() };
    let moved = namespace(&there(&mount));
    assert_eq!(said(&moved), ["edit default: remove web from imagePullSecrets at 0, append web to secrets"]);
}

#[test]
fn a_link_that_is_gone_is_taken_out_of_every_list_and_then_deleted() {
    let plan = namespace(
        &view(&["web", "own", "web"], &["token", "web"]).with_secret("web", secret_of("web", "{}")),
    );
    assert_eq!(
        said(&plan),
        [
            "edit default: remove web from imagePullSecrets at 2, remove web from imagePullSecrets at 0, remove web from secrets at 1",
            "delete Secret web",
        ]
    );
    assert_eq!(standing(&plan, WEB), just(Standing::Leaving));
}

#[test]
fn taking_one_link_back_leaves_the_entries_of_another() {
    let view = view(&["api", "web"], &[]).with_link(&link_message("api"));
    let view = view.with_secret("web", secret_of("web", "{}")).with_secret("api", secret_of("api", "{}"));
    let plan = namespace(&view);
    assert_eq!(said(&plan), ["edit default: remove web from imagePullSecrets at 1", "delete Secret web"]);
    assert_eq!(standing(&plan, "secretLinks/api"), just(Standing::Synced));
}

#[test]
fn a_renamed_secret_is_replaced_by_the_new_one() {
    let renamed = SecretLink { secret_name: "new".into(), ..web() };
    let plan = namespace(&view(&["web"], &[]).with_link(&renamed).with_secret("web", secret_of("web", "{}")));
    assert_eq!(
        said(&plan),
        [
            "create Secret new",
            "edit default: remove web from imagePullSecrets at 0, append new to imagePullSecrets",
            "delete Secret web",
        ]
    );
    assert_eq!(standing(&plan, WEB), just(Standing::Pending));
}

#[test]
fn a_secret_is_brought_back_to_content_type_and_marks() {
    let good = secret_of("web", "{}");
    let edited = |change: fn(&mut SecretFacts)| {
        let mut facts = good.clone();
        change(&mut facts);
        said(&namespace(&view(&["web"], &[]).with_link(&web()).with_secret("web", facts)))
    };
    assert_eq!(edited(|_| {}), [""; 0]);
    assert_eq!(edited(|s| s.data.iter_mut().for_each(|(_, v)| *v = None)), ["update Secret web less []"]);
    assert_eq!(edited(|s| s.data.extend([("x".to_owned(), None)])), [r#"update Secret web less ["x"]"#]);
    assert_eq!(edited(|s| s.data.clear()), ["update Secret web less []"]);
    assert_eq!(edited(|s| s.marks.cause = None), ["update Secret web less []"]);
    assert_eq!(edited(|s| s.marks.labelled = false), ["update Secret web less []"]);
    assert_eq!(edited(|s| s.secret_type = "Opaque".into()), ["recreate Secret web"]);
    assert_eq!(edited(|s| s.immutable = true), [""; 0], "immutable and right");
    assert_eq!(
        edited(|s| {
            s.immutable = true;
            s.data.clear();
        }),
        ["recreate Secret web"]
    );
}

#[test]
fn what_is_not_ours_is_never_touched() {
    for foreign in [marks(false, None), marks(false, Some("other")), marks(true, Some("Not An Id"))] {
        let secret = SecretFacts { marks: foreign, ..secret_of("web", "theirs") };
        let plan = namespace(&view(&["web"], &["web"]).with_link(&web()).with_secret("web", secret.clone()));
        assert_eq!((said(&plan), standing(&plan, WEB)), (vec![], with(Standing::Failed, "NOT_OURS")));
        let unwanted = namespace(&view(&["web"], &["web"]).with_secret("web", secret));
        assert_eq!(unwanted, Plan::default());
    }
}

#[test]
fn what_lost_one_mark_is_left_alone_unless_its_link_wants_it() {
    for damaged in [marks(true, None), marks(false, Some("web"))] {
        let secret = SecretFacts { marks: damaged, ..secret_of("web", "{}") };
        assert_eq!(namespace(&view(&["web"], &[]).with_secret("web", secret)), Plan::default());
    }
}

#[test]
fn entries_for_a_secret_that_somebody_took_away_are_taken_back() {
    let mut without_link = view(&["own", "web"], &[]);
    without_link.state.departed.insert("web".to_owned(), link_name("web"));
    assert_eq!(said(&namespace(&without_link)), ["edit default: remove web from imagePullSecrets at 1"]);
}

#[test]
fn a_stand_in_tells_whose_entries_are_and_goes_when_the_secret_is_there_or_nobody_wants_it() {
    let stand_in = SecretFacts { stands_for: Some("web".into()), ..secret_of("web", "") };
    let cut_off = || view(&["own", "web"], &[]).with_secret("stand-in", stand_in.clone());
    assert_eq!(
        said(&namespace(&cut_off())),
        ["edit default: remove web from imagePullSecrets at 1", "delete Secret stand-in"]
    );
    assert_eq!(said(&namespace(&cut_off().with_link(&web()))), ["create Secret web"]);
    let made_anew = cut_off().with_link(&web()).with_secret("web", secret_of("web", "{}"));
    assert_eq!(said(&namespace(&made_anew)), ["delete Secret stand-in"]);
}

#[test]
fn of_two_links_the_marked_and_else_the_older_has_the_name() {
    let older = SecretLink { secret_name: "s".into(), create_time: Some(timestamp(1)), ..link_message("zz") };
    let newer = SecretLink { secret_name: "s".into(), create_time: Some(timestamp(2)), ..link_message("aa") };
    let both = || view(&["s"], &[]).with_link(&older).with_link(&newer);
    for (there, holder, loser) in [(None, "zz", "aa"), (Some("aa"), "aa", "zz"), (Some("gone"), "zz", "aa")] {
        let view = there.map_or_else(both, |owner| both().with_secret("s", secret_of(owner, "{}")));
        let plan = namespace(&view);
        let lost = standing(&plan, &format!("secretLinks/{loser}"));
        assert_eq!(lost, with(Standing::Failed, "SECRET_NAME_TAKEN"), "{there:?}");
        let writes = match there {
            None => vec!["create Secret s"],
            Some("gone") => vec!["update Secret s less []"],
            Some(_) => vec![],
        };
        assert_eq!(said(&plan), writes, "{there:?} {holder}");
    }
}

fn timestamp(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

#[test]
fn service_accounts_that_do_not_exist_are_waited_for_while_the_secret_is_written() {
    let selection =
        ServiceAccountSelection { names: vec!["builder".into(), "default".into()], ..Default::default() };
    let message = SecretLink { service_accounts: Some(selection), ..web() };
    let plan = namespace(&view(&[], &[]).with_link(&message));
    assert_eq!(said(&plan), ["create Secret web", "edit default: begin imagePullSecrets with web"]);
    assert_eq!(standing(&plan, WEB), with(Standing::Pending, "SERVICE_ACCOUNT_NOT_FOUND"));
}

#[test]
fn service_accounts_by_label_or_all() {
    let mut there = view(&[], &[]);
    let labelled = Account { labels: [("ci".to_owned(), "yes".to_owned())].into(), ..Default::default() };
    there.state.accounts.insert(account_name("robot"), labelled);
    let by_label =
        ServiceAccountSelection { match_labels: [("ci".into(), "yes".into())].into(), ..Default::default() };
    for (selection, edits) in [
        (by_label, vec!["edit robot: begin imagePullSecrets with web"]),
        (
            ServiceAccountSelection { all: true, ..Default::default() },
            vec![
                "edit default: begin imagePullSecrets with web",
                "edit robot: begin imagePullSecrets with web",
            ],
        ),
    ] {
        let message = SecretLink { service_accounts: Some(selection), ..web() };
        assert_eq!(said(&namespace(&there.clone().with_link(&message)))[1..], edits);
    }
}

#[test]
fn without_material_nothing_is_linked_and_what_is_there_stays() {
    let mut waiting = view(&[], &[]).with_link(&web());
    waiting.materials.clear();
    let plan = namespace(&waiting);
    assert_eq!(
        (said(&plan), standing(&plan, WEB)),
        (vec![], with(Standing::Pending, "WAITING_FOR_MATERIAL"))
    );
    let absent = Reason::pending("CREDENTIAL_NOT_FOUND", "Secret", "web", "no such credential".into());
    waiting.materials.entry(link_name("web")).or_default().problem = Some(absent);
    assert_eq!(standing(&namespace(&waiting), WEB), with(Standing::Pending, "CREDENTIAL_NOT_FOUND"));
    let plan = namespace(&waiting.with_secret("web", secret_of("web", "old")));
    assert_eq!(said(&plan), ["edit default: begin imagePullSecrets with web"], "the Secret stays as it is");
    assert_eq!(standing(&plan, WEB), with(Standing::Pending, "CREDENTIAL_NOT_FOUND"));
}

#[test]
fn the_old_content_serves_while_the_new_cannot_be_fetched_and_that_is_told() {
    let mut view = view(&[], &[]).with_link(&web());
    let problem = Reason::failed("TICKET_NOT_YOURS", "Secret", "web", "no".into());
    view.materials.entry(link_name("web")).or_default().problem = Some(problem);
    let plan = namespace(&view);
    assert_eq!(said(&plan)[0], "create Secret web");
    assert_eq!(standing(&plan, WEB), with(Standing::Failed, "TICKET_NOT_YOURS"));
}

#[test]
fn content_of_another_type_is_not_used() {
    let message = SecretLink { secret_type: WireType::Dockercfg.into(), ..web() };
    let plan = namespace(&view(&["web"], &[]).with_link(&message).with_secret("web", secret_of("web", "{}")));
    assert_eq!(
        (said(&plan), standing(&plan, WEB)),
        (vec![], with(Standing::Pending, "WAITING_FOR_MATERIAL"))
    );
}

#[test]
fn a_namespace_that_is_not_there_or_not_for_long_is_left_alone() {
    let selection = NamespaceSelection { names: vec!["a".into()], ..Default::default() };
    let by_name = SecretLink { namespaces: Some(selection), ..web() };
    for (facts, code) in [
        (None, "NAMESPACE_NOT_FOUND"),
        (Some(NamespaceFacts { terminating: true, ..Default::default() }), "NAMESPACE_TERMINATING"),
    ] {
        let mut there = view(&["web"], &[]).with_secret("web", secret_of("gone", "{}"));
        there.state.facts = facts;
        let plan = namespace(&there.clone().with_link(&by_name));
        assert_eq!((said(&plan), standing(&plan, WEB)), (vec![], with(Standing::Pending, code)));
        assert_eq!(namespace(&there.with_link(&web())), Plan::default(), "nobody waits who did not name it");
    }
}

#[test]
fn what_is_not_understood_keeps_its_traces() {
    let mut view = view(&["web"], &[]).with_secret("web", secret_of("web", "{}"));
    view.unreadable.insert(Name::Link(link_name("web")));
    assert_eq!(namespace(&view), Plan::default());
    let other = SecretLink { secret_name: "web".into(), ..link_message("other") };
    let plan = namespace(&view.with_link(&other));
    assert_eq!(said(&plan), [""; 0]);
    assert_eq!(standing(&plan, "secretLinks/other"), with(Standing::Failed, "SECRET_NAME_TAKEN"));
}

#[test]
fn of_what_an_older_state_lost_nothing_is_deleted() {
    let mut lost = view(&["theirs", "web"], &["web"]).with_secret("web", secret_of("web", "{}"));
    lost.lost.insert(Name::Link(link_name("web")));
    let plan = namespace(&lost);
    assert_eq!((said(&plan), standing(&plan, WEB)), (vec![], with(Standing::Leaving, "DELETIONS_HELD")));

    let other = SecretLink { secret_name: "web".into(), ..link_message("other") };
    let plan = namespace(&lost.clone().with_link(&other));
    assert_eq!(standing(&plan, "secretLinks/other"), with(Standing::Failed, "SECRET_NAME_TAKEN"));

    // It is still wanted here, but no more for both lists; the entry of another that nobody lost goes.
    let narrowed = lost.with_link(&web()).with_secret("theirs", secret_of("theirs", "{}"));
    let plan = namespace(&narrowed);
    assert_eq!(
        said(&plan),
        ["edit default: remove theirs from imagePullSecrets at 0", "delete Secret theirs"]
    );
    assert_eq!(standing(&plan, WEB), with(Standing::Pending, "DELETIONS_HELD"));
}

#[test]
fn a_secret_that_is_being_deleted_is_waited_for() {
    let going = SecretFacts { terminating: true, ..secret_of("web", "{}") };
    let plan = namespace(&view(&["web"], &[]).with_link(&web()).with_secret("web", going.clone()));
    assert_eq!((said(&plan), standing(&plan, WEB)), (vec![], with(Standing::Pending, "SECRET_TERMINATING")));
    let unwanted = namespace(&view(&["web"], &[]).with_secret("web", going));
    assert_eq!(said(&unwanted), ["edit default: remove web from imagePullSecrets at 0"]);
}

#[test]
fn a_proposal_of_which_the_content_is_unknown_creates_what_is_absent() {
    let mut proposal = view(&[], &[]).with_link(&web());
    let proposed = Material { unfetched: true, ..Default::default() };
    proposal.materials.insert(link_name("web"), proposed);
    assert_eq!(
        said(&namespace(&proposal)),
        ["create Secret web", "edit default: begin imagePullSecrets with web"]
    );
    let there = proposal.with_secret("web", secret_of("web", "old"));
    assert_eq!(said(&namespace(&there)), ["edit default: begin imagePullSecrets with web"]);
}

#[test]
fn a_cluster_that_leaves_and_keeps_what_it_has_only_loses_our_marks() {
    let other = SecretFacts { marks: marks(true, None), ..secret_of("other", "{}") };
    let mut leaving = view(&["web", "own"], &["web"]).with_secret("web", secret_of("web", "old"));
    leaving = leaving.with_secret("other", other);
    leaving.state.departed.insert("own".into(), link_name("web"));
    leaving.leave = Some(Leave::Keep);
    let plan = namespace(&leaving);
    assert_eq!(
        (said(&plan), standing(&plan, WEB)),
        (vec!["release Secret web".into()], just(Standing::Leaving))
    );
    let stand_in = SecretFacts { stands_for: Some("web".into()), ..secret_of("web", "") };
    let with_stand_in = leaving.clone().with_secret("stand-in", stand_in);
    assert_eq!(said(&namespace(&with_stand_in)), ["delete Secret stand-in", "release Secret web"]);
    leaving.state.secrets.get_mut("web").expect("it is there").marks = Marks::default();
    assert_eq!(namespace(&leaving), Plan::default());
    leaving.leave = Some(Leave::TakeBack);
    assert_eq!(said(&namespace(&leaving)), ["edit default: remove own from imagePullSecrets at 1"]);
}

#[test]
fn a_held_secret_stays_with_its_entries_while_the_rest_goes_on() {
    let renamed = SecretLink { secret_name: "new".into(), ..web() };
    let mut held =
        view(&["gone", "web"], &["gone"]).with_link(&renamed).with_secret("web", secret_of("web", "{}"));
    held = held.with_secret("gone", SecretFacts { identity: identity("gone"), ..secret_of("gone", "{}") });
    held.hold = Some(Hold::MoreThanHalf { deletions: 60, others: 0 });
    let plan = namespace(&held);
    assert_eq!(said(&plan), ["create Secret new", "edit default: append new to imagePullSecrets"]);
    assert_eq!(standing(&plan, WEB), with(Standing::Pending, Hold::CODE));
    assert_eq!(standing(&plan, "secretLinks/gone"), with(Standing::Leaving, Hold::CODE));
    held.confirmed.insert("gone".into());
    assert_eq!(
        said(&namespace(&held)),
        [
            "create Secret new",
            "edit default: remove gone from imagePullSecrets at 0, append new to imagePullSecrets, remove gone from secrets at 0",
            "delete Secret gone",
        ]
    );
}
