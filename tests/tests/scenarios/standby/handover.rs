//! One works, the other takes over: within the lease time when the active one is killed, at once when it ends by itself.

use std::time::{Duration, Instant};

use e2e::Scenario;
use pullpass_api::{
    applier::v1::{GetSyncStatusRequest, PlanSyncRequest, SyncRequest},
    credential::v1::ListAuditEventsRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::pair::{NAMES, Pair, writes};

const SECONDS: u16 = 3;
const LEASE: Duration = Duration::from_secs(SECONDS as u64);
/// What a busy machine may add to what the clock says.
const BUSY: Duration = Duration::from_secs(1);
const NAMESPACES: usize = 4;

#[tokio::test]
async fn one_applier_works_and_the_other_takes_over_when_it_is_killed_or_ends() {
    let s = Scenario::own("standby", |_| {}).await;
    let log = s.plane.audit_log().from_now();
    let pair = Pair::start(&s, SECONDS, None).await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    for number in 0..NAMESPACES {
        s.cluster.create_namespace(&s.name(&format!("served-{number}")), &[("served", "yes")]).await;
    }
    let first = pair.active().await;
    link(&s, "before", &credential).await;
    only_one_works(&s, &pair, &log, first).await;

    let (second, began) = (1 - first, Instant::now());
    pair.applier(first).kill9();
    let took = pair.becomes_active(second, began).await;
    println!("kill -9: taken over after {took:?} of a lease of {LEASE:?}");
    assert!(took < LEASE + BUSY, "it took {took:?}");
    link(&s, "after-kill", &credential).await;
    assert_eq!(pair.lease().await.lease_transitions, Some(1));

    pair.applier(first).launch().expect("it starts");
    pair.is_warm(first).await;
    let began = Instant::now();
    let ended = pair.applier(second).terminate(Duration::from_secs(4)).await;
    let took = pair.becomes_active(first, began).await;
    println!("SIGTERM: taken over after {took:?} of a lease of {LEASE:?}");
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    assert!(took < LEASE / 3 + BUSY, "it took {took:?}, but the Lease was given back");
    link(&s, "after-end", &credential).await;
    assert_eq!(pair.lease().await.lease_transitions, Some(2));

    pair.applier(second).launch().expect("it starts");
    pair.is_warm(second).await;
    s.plane.kill_api_server();
    tokio::time::sleep(LEASE).await;
    s.plane.start_api_server().await.expect("it starts");
    link(&s, "after-outage", &credential).await;
    let stepped_down = pair.applier(first).log().contains("not the active applier any more");
    assert!(stepped_down, "nobody could renew for so long");
}

/// Links everywhere, and waits until that is so.
async fn link(s: &Scenario, name: &str, credential: &str) {
    let create = ["link", "create", name, "--credential", credential, "--namespace-selector", "served=yes"];
    let how = ["--service-account", "default", "--for", "pull", "--wait", "--timeout", "60s"];
    s.pullpass.cli(&[&create[..], &how].concat()).await.ok();
}

async fn only_one_works(s: &Scenario, pair: &Pair<'_>, log: &e2e::audit_log::AuditLog, active: usize) {
    let standby = 1 - active;
    let writes = [active, standby].map(|number| writes(log, number).len());
    assert_eq!(writes, [2 * NAMESPACES, 0], "two writes for each namespace, and all by the active one");
    let request = ListAuditEventsRequest { page_size: 1000, ..Default::default() };
    let events = s.pullpass.credential_store(&s.pullpass.admin()).list_audit_events(request).await;
    let events = events.expect("audit events").into_inner().events;
    let fetches = events.iter().filter(|event| event.action == "FetchPullSecret").count();
    assert_eq!(fetches, 1, "the one that stands by fetches nothing");

    let admin = s.pullpass.admin();
    let mut client = pair.applier(standby).client(&admin);
    let plan = client
        .plan_sync(PlanSyncRequest::default())
        .await
        .expect("either plans")
        .into_inner()
        .message()
        .await;
    assert_eq!(plan.expect("a plan"), None, "nothing is left to do");
    let refused = client.sync(SyncRequest::default()).await.expect_err("it stands by");
    names_the_holder(&refused, active);
    let refused = client.get_sync_status(GetSyncStatusRequest {}).await.expect_err("it does not know");
    names_the_holder(&refused, active);
    pair.applier(active).client(&admin).sync(SyncRequest::default()).await.expect("the active one does");
}

fn names_the_holder(status: &Status, active: usize) {
    let info = status.get_details_error_info().expect("a reason");
    assert_eq!((status.code(), info.reason.as_str()), (Code::FailedPrecondition, "STANDBY"), "{status:?}");
    assert!(info.metadata["holder"].starts_with(NAMES[active]), "{info:?}");
}
