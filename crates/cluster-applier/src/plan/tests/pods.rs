use pullpass_api::grant::v1::{SecretLink, ServiceAccountSelection, Usage};

use super::{super::testing::*, *};
use crate::cluster::{
    object::{Account, Marks, SecretFacts},
    pod::StuckPod,
};

const WEB: &str = "secretLinks/web";

/// Link `web`, in place behind the entries `before` of the pull list and before `after`.
fn linked(before: &[&str], after: &[&str]) -> View {
    let pull = [before, &["web"], after].concat();
    view(&pull, &[]).with_link(&link_message("web")).with_secret("web", secret_of("web", "{}"))
}

fn messages(plan: &Plan) -> Vec<&str> {
    plan.outcomes.values().flat_map(|outcome| &outcome.reasons).map(|reason| &*reason.message).collect()
}

#[test]
fn a_pod_whose_list_could_be_an_earlier_one_of_its_account_came_before_the_link_others_have_their_own() {
    let (before, own) = ("POD_BEFORE_LINK", "POD_HAS_OWN_LIST");
    for (account_before, account_after, pod, code) in [
        (&[][..], &[][..], &[][..], Some(before)),
        (&["a", "b"], &[], &["a", "b"], Some(before)),
        (&["a", "b"], &[], &["b"], Some(before)),
        (&["a", "a"], &["z"], &["a", "a"], Some(before)),
        (&["a", ""], &[], &["a", ""], Some(before)),
        (&["a", "b"], &[], &[], Some(before)),
        (&["a", "b"], &[], &["b", "a"], Some(own)),
        (&["a"], &[], &["a", "a"], Some(own)),
        (&["a"], &[], &["mine"], Some(own)),
        (&[], &[], &["mine"], Some(own)),
        (&[], &[], &[""], Some(own)),
        (&[], &[], &["web"], None),
        (&["a"], &[], &["mine", "web"], None),
    ] {
        let plan = namespace(&linked(account_before, account_after).with_pod("web-1", stuck_pod(pod)));
        let told = code.map_or(just(Standing::Synced), |code| with(Standing::Synced, code));
        let case = format!("{account_before:?} web {account_after:?}, pod {pod:?}");
        assert_eq!((said(&plan), standing(&plan, WEB)), (vec![], told), "{case}");
    }
}

#[test]
fn the_pod_the_image_the_reason_and_the_remedy_are_named() {
    let told = |pod| messages(&namespace(&linked(&["a"], &[]).with_pod("web-1", pod)))[0].to_owned();
    let before = told(stuck_pod(&[]));
    for word in ["web-1 cannot pull quay.io/acme/app:1", "before service account default", "Secret web"] {
        assert!(before.contains(word), "{before}");
    }
    assert!(before.contains("kubectl delete pod web-1 -n a") && !before.contains("template"), "{before}");
    let perhaps = told(stuck_pod(&["a"]));
    assert!(perhaps.contains("kubectl delete pod web-1 -n a") && perhaps.contains("template"), "{perhaps}");
    let own = told(stuck_pod(&["mine", "yours"]));
    assert!(own.contains("(mine, yours)") && own.contains("add web") && !own.contains("kubectl"), "{own}");
}

#[test]
fn only_who_is_linked_for_pulling_and_lacks_the_secret_is_told_of() {
    let nobody = |case: &str, view: View| {
        let reasons: Vec<_> = messages(&namespace(&view)).into_iter().map(str::to_owned).collect();
        assert_eq!(reasons, [""; 0], "{case}");
    };
    let stuck = || stuck_pod(&[]);
    nobody("no pod", linked(&[], &[]));
    let mount = SecretLink { usages: vec![Usage::Mount.into()], ..link_message("web") };
    let mounted = view(&["web"], &["web"]).with_link(&mount).with_secret("web", secret_of("web", "{}"));
    nobody("a link for mounting", mounted.with_pod("web-1", stuck()));
    let other = StuckPod { account: account_name("other"), ..stuck() };
    nobody("a pod of an account that does not exist", linked(&[], &[]).with_pod("web-1", other));
    nobody("no link", view(&["web"], &[]).with_pod("web-1", stuck()));
    let robot = ServiceAccountSelection { names: vec!["robot".into()], ..Default::default() };
    let elsewhere = SecretLink { service_accounts: Some(robot), ..link_message("web") };
    let mut elsewhere = view(&[], &[]).with_link(&elsewhere).with_secret("web", secret_of("web", "{}"));
    elsewhere.state.accounts.insert(account_name("robot"), Account::default());
    nobody("a pod of an account that is not linked", elsewhere.with_pod("web-1", stuck()));
    let unlinked = view(&[], &[]).with_link(&link_message("web")).with_secret("web", secret_of("web", "{}"));
    nobody("the entry is not there yet", unlinked.with_pod("web-1", stuck()));
}

#[test]
fn what_is_not_ours_is_no_link_that_a_pod_could_lack() {
    let foreign = SecretFacts { marks: Marks::default(), ..secret_of("web", "theirs") };
    let plan = namespace(&linked(&[], &[]).with_secret("web", foreign).with_pod("web-1", stuck_pod(&[])));
    assert_eq!(standing(&plan, WEB), with(Standing::Failed, "NOT_OURS"));
}

#[test]
fn of_many_pods_three_are_named_and_the_others_counted() {
    let with_pods = |count: usize| {
        let all = (0..count).fold(linked(&[], &[]), |v, n| v.with_pod(&format!("web-{n}"), stuck_pod(&[])));
        messages(&namespace(&all)).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(with_pods(3).iter().filter(|message| message.contains("more pods")).count(), 0);
    let many = with_pods(50);
    assert_eq!(many.len(), 3);
    assert!(many[2].contains("pod web-10 ") && many[2].ends_with("; 47 more pods here lack it"), "{many:?}");
}
