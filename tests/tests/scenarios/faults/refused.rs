//! A namespace whose writes are refused is reported with its reason, and the others go on; who is refused asks less often.

use std::{collections::BTreeMap, time::Duration};

use e2e::{
    Scenario, eventually,
    fault_proxy::{Asked, Fault},
    pullpass::Service,
    wait::seen,
};
use pullpass_api::{
    applier::v1::SyncRequest,
    grant::v1::{SyncState, SyncStatus},
};

/// What each namespace meets, and how that is reported.
const FATES: [(&str, Option<Fault>, &str); 6] = [
    ("forbidden", Some(refuse(403)), "FORBIDDEN"),
    ("broken", Some(refuse(500)), "UNAVAILABLE"),
    ("throttled", Some(Fault::Refuse { code: 429, retry_after: Some(1) }), "THROTTLED"),
    ("cut-off", Some(Fault::CutBefore), "UNAVAILABLE"),
    ("fine", None, ""),
    ("fine-too", None, ""),
];

const fn refuse(code: u16) -> Fault {
    Fault::Refuse { code, retry_after: None }
}

#[tokio::test]
async fn every_failing_namespace_is_reported_with_its_reason_while_the_others_go_on() {
    let (s, proxy) = Scenario::own_with_faults("refused").await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let names = FATES.map(|(name, ..)| name.to_owned());
    s.cluster.create_namespaces(&names, &[("served", "yes")]).await;
    proxy.break_by(|asked: &Asked| {
        let fate = FATES.iter().find(|(name, ..)| asked.namespace() == Some(*name));
        fate.and_then(|(_, fault, _)| *fault).filter(|_| asked.is_write())
    });

    let begin = ["link", "create", "web", "--credential", &credential, "--namespace-selector", "served=yes"];
    s.pullpass.cli(&[&begin[..], &["--service-account", "default", "--for", "pull"]].concat()).await.ok();
    let counts = |status: &SyncStatus| (status.synced, status.pending, status.failed);
    let status = s.status_becomes("secretLinks/web", |status| counts(status) == (2, 3, 1)).await;
    let mut told: Vec<_> =
        status.reasons.iter().map(|reason| (reason.namespace.as_str(), reason.code.as_str())).collect();
    let mut expected: Vec<_> =
        FATES.iter().filter(|(_, fault, _)| fault.is_some()).map(|(name, _, code)| (*name, *code)).collect();
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!((told, status.state()), (expected, SyncState::Failed), "{status:#?}");
    for (name, fault, _) in FATES {
        let linked = s.cluster.lists(name, "default").await.pull == ["web"];
        assert_eq!(linked, fault.is_none(), "{name}");
    }

    // A rotation reaches the others while these are tried again and again.
    let rotate = ["credential", "rotate", &credential, "--server", "quay.io", "--username", "robot"];
    let first = s.cluster.pull_secret("fine", "web").await;
    s.pullpass.cli_with("second", &[&rotate[..], &["--password-stdin"]].concat()).await.ok();
    eventually("the others are rotated", async || {
        let now =
            [s.cluster.pull_secret("fine", "web").await, s.cluster.pull_secret("fine-too", "web").await];
        seen(now.iter().all(|bytes| bytes.is_some() && *bytes != first), now.map(|bytes| bytes.is_some()))
    })
    .await;
    proxy.mend();
    let mut applier = s.pullpass.cluster_applier(&s.pullpass.admin());
    applier.sync(SyncRequest::default()).await.expect("everything is tried at once");
    let status = s.becomes_synced("secretLinks/web").await;
    assert_eq!(counts(&status), (6, 0, 0));
}

/// So long are lists refused.
const REFUSED: Duration = Duration::from_secs(5);
/// So often may each be tried in that time: after 250 ms at most, 500 ms, 1 s, 2 s; half of that, if chance will have it.
const TRIES: usize = 7;

#[tokio::test]
async fn lists_that_are_refused_are_tried_less_and_less_often() {
    let (s, proxy) = Scenario::own_with_faults("lists").await;
    proxy.break_by(|asked: &Asked| (asked.verb == "read").then(|| refuse(500)));
    s.pullpass.kill9(Service::ClusterApplier);
    s.pullpass.launch(Service::ClusterApplier).expect("the applier starts");
    tokio::time::sleep(REFUSED).await;
    proxy.mend();
    let record = proxy.take_record().into_iter().filter(|exchange| exchange.fault.is_some());
    let mut tries = BTreeMap::<_, usize>::new();
    for exchange in record {
        *tries.entry(exchange.asked.path).or_default() += 1;
    }
    // The three lists of ClusterRoles share a path.
    tries.retain(|path, _| !path.ends_with("/clusterroles"));
    println!("{tries:?}");
    assert_eq!(tries.len(), 5, "{tries:?}");
    assert!(tries.values().all(|count| (2..=TRIES).contains(count)), "{tries:?}");
    s.pullpass.wait_until_healthy(Service::ClusterApplier).await.expect("it is well again");
}
