//! Linking never disturbs what is not ours, whoever else writes at the same time.

mod second_writer;

use e2e::{Scenario, cluster::Lists};
use futures::future::join_all;
use k8s_openapi::api::{
    core::v1::{Secret, ServiceAccount},
    rbac::v1::RoleBinding,
};
use pullpass_api::grant::v1::SyncState;
use second_writer::SecondWriter;
use serde_json::json;

const LINKS_AT_ONCE: usize = 8;
const ROUNDS: usize = 14;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_writer_is_never_disturbed_by_hundreds_of_links_and_unlinks() {
    let s = Scenario::shared().await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespace = s.namespace("busy").await;
    let writer = SecondWriter::start(&s.cluster, &namespace).await;
    let rounds = (0..LINKS_AT_ONCE).map(async |n| {
        let name = s.name(&format!("busy-{n}"));
        let usage = ["pull", "mount", "pull,mount"][n % 3];
        for _ in 0..ROUNDS {
            let link = s.link(&name, &credential, &namespace, usage).await;
            s.becomes_synced(&link).await;
            assert!(s.cluster.secret(&namespace, &name).await.is_some(), "synced without its Secret");
            s.unlink(&name).await;
            assert_eq!(s.cluster.secret(&namespace, &name).await, None);
        }
    });
    join_all(rounds).await;
    let (theirs, count) = writer.stop().await;
    assert!(count > ROUNDS, "the second writer wrote only {count} times");
    assert_eq!(s.cluster.lists(&namespace, "default").await, theirs, "after {count} writes by somebody else");
}

#[tokio::test]
async fn entries_that_were_there_keep_their_order_and_ours_come_last() {
    let s = Scenario::shared().await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespace = s.namespace("ordered").await;
    // Duplicates and dangling names are valid, and not ours to tidy up.
    let theirs = ["zebra", "apple", "zebra", "gone"].map(str::to_owned);
    let token = s.cluster.lists(&namespace, "default").await.mount;
    let entries = |names: &[String]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let change =
        json!({"imagePullSecrets": entries(&theirs), "secrets": entries(&[&theirs[..], &token].concat())});
    s.cluster.merge::<ServiceAccount>(&namespace, "default", change).await;
    let before = s.cluster.lists(&namespace, "default").await;
    for name in [s.name("b"), s.name("a")] {
        let link = s.link(&name, &credential, &namespace, "pull,mount").await;
        s.becomes_synced(&link).await;
    }
    let added = |list: &[String]| [list, &[s.name("b"), s.name("a")]].concat();
    let expected = Lists { pull: added(&before.pull), mount: added(&before.mount) };
    assert_eq!(s.cluster.lists(&namespace, "default").await, expected);
    s.unlink(&s.name("b")).await;
    s.unlink(&s.name("a")).await;
    assert_eq!(s.cluster.lists(&namespace, "default").await, before);
}

#[tokio::test]
async fn a_secret_of_our_name_that_is_not_ours_is_left_alone_and_reported() {
    let s = Scenario::shared().await;
    let name = s.credential("taken", "quay.io", "robot", "first").await;
    let (taken, free) = (s.namespace("taken").await, s.namespace("free").await);
    let foreign = json!({"metadata": {"name": name}, "stringData": {"mine": "not yours"}});
    let foreign = s.cluster.create::<Secret>(&taken, foreign).await;
    let change = json!({"imagePullSecrets": [{"name": name}]});
    s.cluster.merge::<ServiceAccount>(&taken, "default", change).await;
    let before = s.cluster.find_service_account(&taken, "default").await;

    let create = [
        "link",
        "create",
        &name,
        "--credential",
        &name,
        "--namespace",
        &taken,
        "--namespace",
        &free,
        "--service-account",
        "default",
        "--for",
        "pull",
    ];
    s.pullpass.cli(&create).await.ok();
    let link = format!("secretLinks/{name}");
    let status = s.becomes(&link, SyncState::Failed, "NOT_OURS").await;
    assert_eq!(status.reasons.iter().map(|reason| &reason.namespace).collect::<Vec<_>>(), [&taken]);
    s.status_becomes(&link, |status| (status.synced, status.failed) == (1, 1)).await;
    assert_eq!(s.cluster.lists(&free, "default").await.pull, std::slice::from_ref(&name), "the others go on");
    s.unlink(&name).await;
    assert_eq!(s.cluster.secret(&taken, &name).await, Some(foreign));
    assert_eq!(s.cluster.find_service_account(&taken, "default").await, before, "nor is its entry ours");
}

#[tokio::test]
async fn a_binding_of_our_name_that_is_not_ours_is_left_alone_and_reported() {
    let s = Scenario::shared().await;
    let (name, project) = (s.name("taken"), s.namespace("project").await);
    let create = ["grant", "create", &name, "--project", &project, "--to-user", "erin"];
    s.pullpass.cli(&[&create[..], &["--wait"]].concat()).await.ok();
    let binding = s.cluster.our_bindings(&project).await.remove(0).metadata.name.expect("a name");
    s.pullpass.cli(&["grant", "delete", &name, "--wait"]).await.ok();

    let foreign = json!({
        "metadata": {"name": binding},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [],
    });
    let foreign = s.cluster.create::<RoleBinding>(&project, foreign).await;
    s.pullpass.cli(&create).await.ok();
    s.becomes(&format!("imageGrants/{name}"), SyncState::Failed, "NOT_OURS").await;
    s.pullpass.cli(&["grant", "delete", &name, "--wait"]).await.ok();
    assert_eq!(s.cluster.list::<RoleBinding>(&project).await, [foreign]);
}
