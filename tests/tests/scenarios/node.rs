//! Real pods: what containerd and the kubelet make of what we write, and who has to be recreated.

use std::time::Duration;

use e2e::{Node, Registry, Scenario, eventually, wait::seen};
use futures::future::join_all;

const REFUSED: &[&str] = &["ErrImagePull", "ImagePullBackOff"];
/// So many namespaces are made with a pod in them.
const AT_ONCE: usize = 6;

#[tokio::test]
async fn a_pod_runs_while_its_service_account_is_linked_with_the_password_of_today() {
    let s = Scenario::shared().await;
    let Some((node, registry, image)) = s.node("pods").await else { return };
    let credential = s.credential("pods", registry.host(), registry.user(), "first").await;
    let namespace = s.namespace("pods").await;
    let create = async |pod: &str| s.cluster.create_pod(&namespace, pod, node.name(), &image).await;

    create("unlinked").await;
    s.cluster.pod_becomes(&namespace, "unlinked", &["ImagePullBackOff"]).await;

    let link = s.link(&credential, &credential, &namespace, "pull").await;
    s.becomes_synced(&link).await;
    create("linked").await;
    s.cluster.pod_becomes(&namespace, "linked", &["Running"]).await;

    registry.change_password("second").await.unwrap();
    create("stale").await;
    s.cluster.pod_becomes(&namespace, "stale", REFUSED).await;
    rotate(&s, &registry, &credential, "second").await;
    // Not `status --wait`: that waits for the links of all tests.
    s.status_becomes(&link, |status| status.versions.iter().all(|v| v.version == 2)).await;
    create("rotated").await;
    s.cluster.pod_becomes(&namespace, "rotated", &["Running"]).await;

    s.unlink(&credential).await;
    create("unlinked-again").await;
    s.cluster.pod_becomes(&namespace, "unlinked-again", REFUSED).await;
}

async fn rotate(s: &Scenario, registry: &Registry, credential: &str, password: &str) {
    let (server, user) = (registry.host(), registry.user());
    let rotate = ["credential", "rotate", credential, "--server", server, "--username", user];
    s.pullpass.cli_with(password, &[&rotate[..], &["--password-stdin"]].concat()).await.ok();
}

#[tokio::test]
async fn a_pod_that_was_there_before_the_link_is_named_until_it_is_recreated() {
    let s = Scenario::shared().await;
    let Some((node, registry, image)) = s.node("before").await else { return };
    let credential = s.credential("before", registry.host(), registry.user(), "first").await;
    let namespace = s.namespace("before").await;
    s.cluster.create_pod(&namespace, "early", node.name(), &image).await;
    let link = s.link(&credential, &credential, &namespace, "pull").await;

    eventually("the table tells of the pod", async || {
        let table = s.pullpass.cli(&["status"]).await.ok().stdout;
        let row = table.lines().find(|row| row.split_whitespace().next() == Some(&link)).unwrap_or_default();
        let remedy = format!("kubectl delete pod early -n {namespace}");
        let words =
            ["SYNCED", "POD_BEFORE_LINK", "pod early cannot pull", &image, "was created before", &remedy];
        seen(words.iter().all(|word| row.contains(word)), row)
    })
    .await;

    recreate(&s, &namespace, "early", node, &image).await;
    s.status_becomes(&link, |status| status.reasons.is_empty()).await;
}

#[tokio::test]
async fn a_pod_made_in_the_same_instant_as_its_namespace_runs_or_is_named() {
    let s = Scenario::shared().await;
    let Some((node, registry, image)) = s.node("instant").await else { return };
    let credential = s.credential("instant", registry.host(), registry.user(), "first").await;
    let selector = format!("for={credential}");
    let create =
        ["link", "create", &credential, "--credential", &credential, "--namespace-selector", &selector];
    s.pullpass.cli(&[&create[..], &["--service-account", "default"]].concat()).await.ok();
    let link = format!("secretLinks/{credential}");
    s.becomes_synced(&link).await;

    let namespaces: Vec<_> = (0..AT_ONCE).map(|n| s.name(&format!("instant-{n}"))).collect();
    let fates = join_all(namespaces.iter().map(async |namespace| {
        let labels = [("for", credential.as_str())];
        tokio::join!(
            s.cluster.create_namespace(namespace, &labels),
            create_as_soon_as_possible(&s, namespace, node, &image)
        );
        eventually(format!("the pod in {namespace} runs or is named"), async || {
            fate(&s, &link, namespace).await
        })
        .await
    }))
    .await;
    println!("of {AT_ONCE} pods made with their namespaces: {fates:?}");

    let told = s.pullpass.cli(&["status", "-o", "json"]).await.ok().stdout;
    for (namespace, fate) in namespaces.iter().zip(fates) {
        if fate == Fate::Named {
            assert!(told.contains(&remedy(namespace)), "{namespace}: {told}");
            recreate(&s, namespace, "instant", node, &image).await;
        }
    }
    s.status_becomes(&link, |status| status.reasons.is_empty()).await;
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Runs,
    Named,
}

async fn fate(s: &Scenario, link: &str, namespace: &str) -> Result<Fate, String> {
    let state = s.cluster.pod_state(namespace, "instant").await;
    let reasons = s.status(link).await.map(|status| status.reasons).unwrap_or_default();
    let mut ours = reasons.iter().filter(|r| r.code == "POD_BEFORE_LINK" && r.namespace == namespace);
    match state.as_str() {
        "Running" => Ok(Fate::Runs),
        _ if ours.any(|reason| reason.message.contains(&remedy(namespace))) => Ok(Fate::Named),
        other => Err(format!("{other} {reasons:#?}")),
    }
}

fn remedy(namespace: &str) -> String {
    format!("kubectl delete pod instant -n {namespace}")
}

/// Asks again at once until the namespace and its service account are there.
async fn create_as_soon_as_possible(s: &Scenario, namespace: &str, node: &Node, image: &str) {
    let create = async {
        while s.cluster.try_create_pod(namespace, "instant", node.name(), image).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), create).await.expect("the pod can be created");
}

/// The remedy that `pullpass status` gives.
async fn recreate(s: &Scenario, namespace: &str, pod: &str, node: &Node, image: &str) {
    s.cluster.delete_pod(namespace, pod).await;
    s.cluster.create_pod(namespace, pod, node.name(), image).await;
    s.cluster.pod_becomes(namespace, pod, &["Running"]).await;
}
