//! etcd and the API server are killed and started again in the middle of a roll-out, one by one and together.

use std::time::Duration;

use e2e::{
    Scenario,
    audit_log::AuditLog,
    fault_proxy::{Asked, Fault},
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::json;

const NAMESPACES: usize = 120;
/// Each is killed after so many writes, of two for each namespace.
const WRITES: [usize; 3] = [20, 90, 160];
/// So that the roll-out takes long enough to be caught in the middle.
const SLOWLY: Duration = Duration::from_millis(500);
/// So long is what was killed away.
const AWAY: Duration = Duration::from_secs(1);
const LINK: &str = "everywhere";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_out_survives_the_restart_of_etcd_and_api_server() {
    let (s, proxy) = Scenario::own_with_faults("restart").await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let names: Vec<_> = (0..NAMESPACES).map(|number| format!("rolled-{number}")).collect();
    s.cluster.create_namespaces(&names, &[("rolled", "out")]).await;
    for name in &names {
        let theirs = json!({"imagePullSecrets": [{"name": "theirs"}]});
        s.cluster.merge::<ServiceAccount>(name, "default", theirs).await;
    }
    proxy.break_by(|asked: &Asked| asked.is_write().then_some(Fault::Stall(SLOWLY)));
    let log = s.plane.audit_log().from_now();
    let begin = ["link", "create", LINK, "--credential", &credential, "--namespace-selector", "rolled=out"];
    s.pullpass.cli(&[&begin[..], &["--service-account", "default", "--for", "pull"]].concat()).await.ok();
    for (written, (etcd, api_server)) in WRITES.into_iter().zip([(true, false), (false, true), (true, true)])
    {
        in_the_middle(&s, &log, written).await;
        restart(&s, etcd, api_server).await;
    }
    proxy.mend();
    // A new API server knows for a moment of no roles, and refuses: that is told as a failure, and tried again.
    s.becomes_synced(&format!("secretLinks/{LINK}")).await;
    let lists = join_all(names.iter().map(|name| s.cluster.lists(name, "default"))).await;
    assert!(lists.iter().all(|lists| lists.pull == ["theirs", LINK]), "{lists:?}");
    let data = join_all(names.iter().map(async |name| s.cluster.pull_secret(name, LINK).await)).await;
    assert!(data.iter().all(|bytes| bytes.is_some() && *bytes == data[0]), "{data:?}");
}

fn written(s: &Scenario, log: &AuditLog) -> usize {
    let requests = log.requests_of(&s.applier_user());
    requests.iter().filter(|request| request.is_write() && request.code < 300).count()
}

async fn in_the_middle(s: &Scenario, log: &AuditLog, writes: usize) {
    let writing = async {
        while written(s, log) < writes {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), writing).await.expect("the applier writes");
    let now = written(s, log);
    println!("{now} writes");
    assert!(now < 2 * NAMESPACES, "the roll-out is over");
}

async fn restart(s: &Scenario, etcd: bool, api_server: bool) {
    if api_server {
        s.plane.kill_api_server();
    }
    if etcd {
        s.plane.kill_etcd();
    }
    tokio::time::sleep(AWAY).await;
    if etcd {
        s.plane.start_etcd().expect("etcd starts");
    }
    if api_server {
        s.plane.start_api_server().await.expect("the API server starts");
    }
}
