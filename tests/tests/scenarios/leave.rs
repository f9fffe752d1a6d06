//! A cluster that leaves holds no trace of us, or plain objects that nobody looks after.

use std::{collections::BTreeMap, fs, time::Duration};

use e2e::{Scenario, cluster::Lists, eventually, pullpass::Service, scenario::has_reason, wait::seen};
use futures::future::join_all;
use k8s_openapi::{
    api::{core::v1::Secret, rbac::v1::RoleBinding},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use pullpass_api::grant::v1::SyncState;
use serde_json::json;

/// More than the guard lets pass: a cluster that was asked to leave is not held.
const NAMESPACES: usize = 52;
/// After so many writes the applier is killed.
const WRITES: usize = 8;
const LINK: &str = "quay";
const STEP: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_cluster_leaves_with_every_trace_of_us_or_keeps_plain_objects() {
    let s = Scenario::own("leave", |_| {}).await;
    s.cluster.create_image_role("system:image-puller").await;
    one_at_a_time(&s).await;
    let namespaces = join_all((0..NAMESPACES).map(|number| namespace(&s, number))).await;
    let credential = s.credential(LINK, "quay.io", "robot", "first").await;
    let without = lists(&s, &namespaces).await;

    // Taken back, over a kill of the applier.
    declare(&s, &credential, &namespaces[0]).await;
    assert_ne!(lists(&s, &namespaces).await, without);
    leave_over_a_kill(&s, &[]).await;
    assert_eq!(lists(&s, &namespaces).await, without);
    for namespace in &namespaces {
        assert_eq!(s.cluster.our_secrets(namespace).await, [], "{namespace}");
        assert_eq!(s.cluster.secret(namespace, LINK).await, None, "{namespace}");
    }
    assert_eq!(s.cluster.our_bindings(&namespaces[0]).await, []);
    assert_eq!(s.pullpass.cli(&["link", "get", LINK]).await.code, 1, "it named no other cluster");

    // Registered anew, and left with what it has.
    register(&s).await;
    declare(&s, &credential, &namespaces[0]).await;
    let linked = lists(&s, &namespaces).await;
    let (secrets, binding) = objects(&s, &namespaces).await;
    leave_over_a_kill(&s, &["--keep-secrets"]).await;
    assert_eq!(lists(&s, &namespaces).await, linked);
    let (kept, kept_binding) = objects(&s, &namespaces).await;
    for (before, after) in secrets.iter().zip(&kept) {
        assert_eq!((&before.data, &before.type_), (&after.data, &after.type_));
        is_the_same_without_marks(&before.metadata, &after.metadata);
    }
    assert_eq!((&binding.subjects, &binding.role_ref), (&kept_binding.subjects, &kept_binding.role_ref));
    is_the_same_without_marks(&binding.metadata, &kept_binding.metadata);

    // Nobody looks after them any more, and to whoever comes later they are not ours.
    nobody_cares(&s, &credential, &namespaces, &kept).await;
}

/// An edit is not repaired by the applier that let go, nor by a fresh one that would have the Secret there.
async fn nobody_cares(s: &Scenario, credential: &str, namespaces: &[String], kept: &[Secret]) {
    let log = s.plane.audit_log().from_now();
    s.cluster.merge::<Secret>(&namespaces[1], LINK, json!({"metadata": {"labels": {"mine": "now"}}})).await;
    register(s).await;
    s.pullpass.kill9(Service::ClusterApplier);
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;
    link(s, credential).await;
    let status = s.becomes(&format!("secretLinks/{LINK}"), SyncState::Failed, "NOT_OURS").await;
    assert!(has_reason(&status, "NOT_OURS"));
    let all = i64::try_from(NAMESPACES).unwrap();
    s.status_becomes(&format!("secretLinks/{LINK}"), |status| status.failed == all).await;
    s.pullpass.cli(&["link", "delete", LINK, "--wait"]).await.ok();
    let requests = log.requests_of(&s.applier_user());
    let changed: Vec<_> = requests.iter().filter(|r| r.is_write() && r.code < 300).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    let (now, _) = objects(s, namespaces).await;
    assert!(now.iter().zip(kept).all(|(now, kept)| now.data == kept.data));
}

/// Restarts the applier so that it works slowly enough to be caught at it.
async fn one_at_a_time(s: &Scenario) {
    let file = s.pullpass.state().config_file(Service::ClusterApplier);
    let config = fs::read_to_string(&file).expect("the applier's configuration");
    fs::write(&file, format!("in_flight = 1\n{config}")).expect("it can be written");
    s.pullpass.kill9(Service::ClusterApplier);
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;
}

async fn namespace(s: &Scenario, number: usize) -> String {
    let name = s.name(&format!("left-{number}"));
    s.cluster.create_namespace(&name, &[("left", "yes")]).await;
    name
}

async fn link(s: &Scenario, credential: &str) {
    let create = ["link", "create", LINK, "--credential", credential, "--namespace-selector", "left=yes"];
    s.pullpass
        .cli(&[&create[..], &["--service-account", "default", "--for", "pull,mount"]].concat())
        .await
        .ok();
}

async fn declare(s: &Scenario, credential: &str, project: &str) {
    link(s, credential).await;
    let grant = ["grant", "create", "share", "--project", project, "--to-user", "erin"];
    s.pullpass.cli(&grant).await.ok();
    s.pullpass.cli(&["status", "--wait"]).await.ok();
}

async fn lists(s: &Scenario, namespaces: &[String]) -> Vec<Lists> {
    join_all(namespaces.iter().map(|namespace| s.cluster.lists(namespace, "default"))).await
}

/// The Secrets of the link, and the binding of the grant.
async fn objects(s: &Scenario, namespaces: &[String]) -> (Vec<Secret>, RoleBinding) {
    let secrets = namespaces.iter().map(async |ns| s.cluster.secret(ns, LINK).await.expect("the Secret"));
    let bindings = s.cluster.list::<RoleBinding>(&namespaces[0]).await;
    let ours = |binding: &RoleBinding| binding.metadata.name.as_deref() == Some("pullpass-share");
    (join_all(secrets).await, bindings.into_iter().find(ours).expect("the binding"))
}

fn is_the_same_without_marks(before: &ObjectMeta, after: &ObjectMeta) {
    assert_eq!((&before.uid, &before.name), (&after.uid, &after.name));
    for map in [&after.labels, &after.annotations] {
        assert!(map.as_ref().is_none_or(BTreeMap::is_empty), "{after:?}");
    }
}

/// The applier is killed in the middle, and a new one ends it.
async fn leave_over_a_kill(s: &Scenario, flags: &[&str]) {
    let (log, user) = (s.plane.audit_log().from_now(), s.applier_user());
    let written = || log.requests_of(&user).iter().filter(|request| request.is_write()).count();
    let cluster = s.pullpass.state().cluster().id().to_owned();
    s.pullpass.cli(&[&["cluster", "leave", &cluster], flags].concat()).await.ok();
    let writing = async {
        while written() < WRITES {
            tokio::time::sleep(STEP).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), writing).await.expect("the applier writes");
    s.pullpass.kill9(Service::ClusterApplier);
    let status = s.status(&format!("secretLinks/{LINK}")).await.expect("it has not left yet");
    assert_eq!(status.state(), SyncState::Deleting, "{status:#?}");
    let listed = s.pullpass.cli(&["cluster", "list"]).await.ok().stdout;
    assert!(listed.contains("leaving"), "{listed}");
    s.pullpass.launch(Service::ClusterApplier).expect("it starts");
    eventually("the cluster has left", async || {
        let answer = s.pullpass.cli(&["cluster", "get", &cluster]).await;
        seen(answer.code == 1 && answer.stderr.contains("NOT_FOUND"), answer)
    })
    .await;
}

async fn register(s: &Scenario) {
    let identity = s.pullpass.state().identity(Service::ClusterApplier).expect("an identity").to_string();
    let cluster = s.pullpass.state().cluster().id();
    s.pullpass.cli(&["cluster", "create", cluster, "--applier-identity", &identity]).await.ok();
    s.pullpass.wait_until_followed().await.expect("the applier follows");
}
