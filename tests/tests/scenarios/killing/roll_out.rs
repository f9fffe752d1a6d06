//! The applier is killed in the middle of what it does to many namespaces, and ends where it would have ended.

use std::{fs, time::Duration};

use e2e::{Scenario, audit_log::AuditLog, cluster::Lists, eventually, pullpass::Service, wait::seen};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde_json::json;

const NAMESPACES: usize = 40;
/// After so many writes is the applier killed, of two for each namespace.
const WRITES: [usize; 3] = [10, 25, 20];
const LINK: &str = "everywhere";
const STEP: Duration = Duration::from_millis(1);

#[tokio::test]
async fn an_applier_that_is_killed_in_the_middle_ends_in_the_same_state() {
    let s = Scenario::own("killing-roll-out", |_| {}).await;
    one_at_a_time(&s).await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespaces = join_all((0..NAMESPACES).map(|n| namespace_with_entries(&s, n))).await;
    let before = lists(&s, &namespaces).await;
    let linked: Vec<_> = before.iter().map(with_ours).collect();
    let create = [
        "link",
        "create",
        LINK,
        "--credential",
        &credential,
        "--namespace-selector",
        "rolled=out",
        "--service-account",
        "default",
        "--for",
        "pull,mount",
    ];

    let log = s.plane.audit_log().from_now();
    s.pullpass.cli(&create).await.ok();
    kill_in_the_middle(&s, log, WRITES[0], &namespaces).await;
    let log = s.plane.audit_log().from_now();
    s.pullpass.launch(Service::ClusterApplier).expect("it starts");
    kill_in_the_middle(&s, log, WRITES[1], &namespaces).await;
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    assert_eq!(lists(&s, &namespaces).await, linked);
    let data = join_all(namespaces.iter().map(async |ns| s.cluster.pull_secret(ns, LINK).await)).await;
    assert!(data.iter().all(|bytes| bytes.is_some() && *bytes == data[0]), "{data:?}");

    // Taken back.
    let log = s.plane.audit_log().from_now();
    s.pullpass.cli(&["link", "delete", LINK]).await.ok();
    kill_in_the_middle(&s, log, WRITES[2], &namespaces).await;
    assert_eq!(
        s.pullpass.cli(&["link", "get", LINK]).await.code,
        0,
        "it is not gone before it is taken back"
    );
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;
    nothing_is_left(&s, &namespaces, &before).await;

    // Taken back while nobody is there to do it.
    let log = s.plane.audit_log().from_now();
    s.pullpass.cli(&create).await.ok();
    kill_in_the_middle(&s, log, WRITES[1], &namespaces).await;
    s.pullpass.cli(&["link", "delete", LINK]).await.ok();
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;
    nothing_is_left(&s, &namespaces, &before).await;
}

/// Restarts the applier so that it works slowly enough to be caught at it.
async fn one_at_a_time(s: &Scenario) {
    let file = s.pullpass.state().config_file(Service::ClusterApplier);
    let config = fs::read_to_string(&file).expect("the applier's configuration");
    fs::write(&file, format!("in_flight = 1\n{config}")).expect("it can be written");
    s.pullpass.kill9(Service::ClusterApplier);
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;
}

/// A namespace whose lists have entries by others: twice the same, and one that names nothing.
async fn namespace_with_entries(s: &Scenario, number: usize) -> String {
    let name = s.name(&format!("rolled-{number}"));
    s.cluster.create_namespace(&name, &[("rolled", "out")]).await;
    // The token's Secret is added to the list by a controller.
    let there = s.cluster.lists_become(&name, "default", |lists| !lists.mount.is_empty()).await;
    let theirs = ["zebra", "apple", "zebra"].map(str::to_owned);
    let foreign = json!({"metadata": {"name": "apple"}, "stringData": {"mine": "not yours"}});
    s.cluster.create::<Secret>(&name, foreign).await;
    let entries = |names: &[String]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let change = json!({
        "imagePullSecrets": entries(&theirs),
        "secrets": entries(&[&theirs[..], &there.mount].concat()),
    });
    s.cluster.merge::<ServiceAccount>(&name, "default", change).await;
    name
}

async fn lists(s: &Scenario, namespaces: &[String]) -> Vec<Lists> {
    join_all(namespaces.iter().map(|namespace| s.cluster.lists(namespace, "default"))).await
}

fn with_ours(lists: &Lists) -> Lists {
    let add = |list: &[String]| [list, &[LINK.to_owned()]].concat();
    Lists { pull: add(&lists.pull), mount: add(&lists.mount) }
}

/// Kills the applier when it has written so often, and makes sure that it was not done.
async fn kill_in_the_middle(s: &Scenario, log: AuditLog, writes: usize, namespaces: &[String]) {
    let user = s.applier_user();
    let written = || log.requests_of(&user).iter().filter(|request| request.is_write()).count();
    let writing = async {
        while written() < writes {
            tokio::time::sleep(STEP).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), writing).await.expect("the applier writes");
    s.pullpass.kill9(Service::ClusterApplier);
    let secrets =
        join_all(namespaces.iter().map(async |ns| s.cluster.secret(ns, LINK).await.is_some())).await;
    let there = secrets.iter().filter(|there| **there).count();
    println!("killed after {} writes, with {there} of {} Secrets there", written(), namespaces.len());
    assert!(0 < there && there < namespaces.len(), "it was not in the middle: {there} Secrets");
}

async fn nothing_is_left(s: &Scenario, namespaces: &[String], before: &[Lists]) {
    eventually("the link is gone", async || {
        let answer = s.pullpass.cli(&["link", "get", LINK]).await;
        seen(answer.code == 1 && answer.stderr.contains("NOT_FOUND"), answer)
    })
    .await;
    assert_eq!(lists(s, namespaces).await, before);
    for namespace in namespaces {
        assert_eq!(s.cluster.our_secrets(namespace).await, [], "{namespace}");
        assert!(s.cluster.secret(namespace, "apple").await.is_some(), "{namespace}");
    }
}
