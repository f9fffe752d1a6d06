//! What a change costs, over a thousand namespaces: counted by the API server's audit log and credential-store's audit
//! trail; and that it costs no more when every tenth write is refused.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use e2e::{
    Scenario,
    audit_log::Request,
    eventually,
    fault_proxy::{Asked, Exchange, Fault},
    pullpass::Service,
    wait::seen,
};
use pullpass_api::{applier::v1 as applier, credential::v1::ListAuditEventsRequest};

const NAMESPACES: usize = 1000;
/// So many are made at one time.
const CHUNK: usize = 250;
/// What the proxy asks to wait.
const RETRY_AFTER: u32 = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_namespaces_cost_what_they_must_and_no_more_when_every_tenth_write_is_refused() {
    let (s, proxy) = Scenario::own_with_faults("writes").await;
    let names: Vec<_> = (0..NAMESPACES).map(|number| format!("served-{number}")).collect();
    for chunk in names.chunks(CHUNK) {
        s.cluster.create_namespaces(chunk, &[("served", "yes")]).await;
    }
    let undisturbed = link_and_rotate(&s, "calm").await;
    assert_eq!(undisturbed, 3 * NAMESPACES);
    nothing_is_written_when_all_agree(&s).await;

    proxy.take_record();
    proxy.break_by(every_tenth_write());
    let disturbed = link_and_rotate(&s, "stormy").await;
    proxy.mend();
    let record = proxy.take_record();
    let refused = record.iter().filter(|exchange| exchange.fault.is_some()).count();
    println!("{disturbed} successful writes with {refused} refused, {undisturbed} without");
    assert!(refused * 10 >= disturbed, "only {refused} were refused");
    assert!(disturbed * 100 <= undisturbed * 105, "{disturbed} instead of {undisturbed}");
    retry_after_was_kept(&record);
}

/// Refuses in turn with 429 and 409.
fn every_tenth_write() -> impl FnMut(&Asked) -> Option<Fault> + Send + 'static {
    let mut writes = 0;
    move |asked| {
        writes += usize::from(asked.is_write());
        let refusal = match writes % 20 {
            10 => Fault::Refuse { code: 429, retry_after: Some(RETRY_AFTER) },
            0 => Fault::Refuse { code: 409, retry_after: None },
            _ => return None,
        };
        asked.is_write().then_some(refusal)
    }
}

/// Links a credential everywhere, rotates it, and counts. Gives how many writes succeeded.
async fn link_and_rotate(s: &Scenario, name: &str) -> usize {
    let credential = s.credential(name, "quay.io", "robot", "first").await;
    let begin = ["link", "create", name, "--credential", &credential, "--namespace-selector", "served=yes"];
    let create = [&begin[..], &["--service-account", "default", "--for", "pull"]].concat();
    let linked = writes_of(s, "", &create).await;
    assert_eq!((linked.len(), most_in_one_namespace(&linked)), (2 * NAMESPACES, 2), "a new link");
    assert_eq!(fetches(s, name).await, 1, "for a new link");

    let begin = ["credential", "rotate", &credential, "--server", "quay.io", "--username", "robot"];
    let rotated = writes_of(s, "second", &[&begin[..], &["--password-stdin"]].concat()).await;
    assert_eq!((rotated.len(), most_in_one_namespace(&rotated)), (NAMESPACES, 1), "a rotation");
    assert_eq!(fetches(s, name).await, 2, "for two versions");
    linked.len() + rotated.len()
}

/// Runs a command, and gives the applier's writes that succeeded until everything agreed.
async fn writes_of(s: &Scenario, input: &str, command: &[&str]) -> Vec<Request> {
    let (log, began) = (s.plane.audit_log().from_now(), Instant::now());
    s.pullpass.cli_with(input, command).await.ok();
    s.pullpass.cli(&["status", "--wait", "--timeout", "120s"]).await.ok();
    println!("{} {}: everything agreed after {:?}", command[0], command[1], began.elapsed());
    let requests = log.requests_of(&s.applier_user());
    let lists: Vec<_> = requests.iter().filter(|request| request.verb == "list").collect();
    assert!(lists.is_empty(), "after its start the applier lists: {lists:#?}");
    requests.into_iter().filter(|request| request.is_write() && request.code < 300).collect()
}

fn most_in_one_namespace(writes: &[Request]) -> usize {
    let mut counts = BTreeMap::<_, usize>::new();
    for write in writes {
        *counts.entry(write.uri.split('/').nth(4)).or_default() += 1;
    }
    counts.into_values().max().unwrap_or_default()
}

/// How often the content of a link was fetched.
async fn fetches(s: &Scenario, link: &str) -> usize {
    let mut store = s.pullpass.credential_store(&s.pullpass.admin());
    let request = ListAuditEventsRequest { page_size: 1000, ..ListAuditEventsRequest::default() };
    let events = store.list_audit_events(request).await.expect("audit events").into_inner().events;
    let link = format!("secretLinks/{link}");
    events.iter().filter(|event| event.action == "FetchPullSecret" && event.resource == link).count()
}

/// A new applier looks at every namespace and finds nothing to do.
async fn nothing_is_written_when_all_agree(s: &Scenario) {
    let log = s.plane.audit_log().from_now();
    s.pullpass.kill9(Service::ClusterApplier);
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;
    let ours = s.pullpass.cluster_applier(&s.pullpass.admin());
    eventually("the new applier has looked at everything", async || {
        let request = applier::GetSyncStatusRequest::default();
        let status = ours.clone().get_sync_status(request).await.map_err(|e| e.message().to_owned())?;
        let synced: i64 = status.into_inner().statuses.iter().map(|status| status.synced).sum();
        seen(usize::try_from(synced) == Ok(NAMESPACES), synced)
    })
    .await;
    let requests = log.requests_of(&s.applier_user());
    let others: Vec<_> = requests.iter().filter(|r| !matches!(&*r.verb, "list" | "watch")).collect();
    assert!(others.is_empty(), "everything agreed, but the applier asked for {others:#?}");
}

/// No namespace is written to before the time that the API server asked to wait there is over.
fn retry_after_was_kept(record: &[Exchange]) {
    let mut not_before = HashMap::new();
    let mut waits = 0;
    for exchange in record.iter().filter(|exchange| exchange.asked.is_write()) {
        let namespace = exchange.asked.namespace();
        if let Some(at) = not_before.remove(&namespace) {
            assert!(exchange.at >= at, "{:?} too early: {exchange:?}", at - exchange.at);
            waits += 1;
        }
        if let (Some(Fault::Refuse { retry_after: Some(seconds), .. }), Some((at, _))) =
            (exchange.fault, exchange.answered())
        {
            not_before.insert(namespace, at + Duration::from_secs(seconds.into()));
        }
    }
    println!("{waits} namespaces were written to again after the time that was asked for");
    assert!(waits > 0 && not_before.is_empty(), "never tried again: {not_before:?}");
}
