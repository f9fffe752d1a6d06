//! Pods that cannot pull, as the applier sees them. There is no node here: what a kubelet would say of them, the test says.

use e2e::{Scenario, eventually, pullpass::Service, wait::seen};
use futures::future::join_all;
use k8s_openapi::api::{core::v1::Pod, rbac::v1::ClusterRole};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

/// So many pods in each of two namespaces.
const BURST: usize = 20;

const NOBODY: &str = "no-such-node";
const IMAGE: &str = "quay.io/acme/app:1";

#[tokio::test]
async fn a_burst_of_pods_that_cannot_pull_is_told_of_and_costs_no_request() {
    let s = Scenario::shared().await;
    let credential = s.credential("burst", "quay.io", "robot", "first").await;
    let (linked, other) = (s.namespace("burst").await, s.namespace("unlinked").await);
    let pods: Vec<_> = (0..BURST).map(|n| format!("web-{n:02}")).collect();
    let all =
        || [&linked, &other].into_iter().flat_map(|namespace| pods.iter().map(move |pod| (namespace, pod)));
    join_all(all().map(|(namespace, pod)| s.cluster.create_pod(namespace, pod, NOBODY, IMAGE))).await;
    let link = s.link(&credential, &credential, &linked, "pull").await;
    s.becomes_synced(&link).await;

    let since = s.plane.audit_log().from_now();
    for reason in ["ContainerCreating", "ErrImagePull", "ImagePullBackOff"] {
        join_all(all().map(|(namespace, pod)| waits_for(&s, namespace, pod, reason))).await;
    }
    let more = format!("; {} more pods here lack it", BURST - 3);
    let status =
        s.status_becomes(&link, |s| s.reasons.len() == 3 && s.reasons[2].message.ends_with(&more)).await;
    assert!(
        status.reasons.iter().all(|reason| reason.code == "POD_BEFORE_LINK" && reason.namespace == linked)
    );
    join_all(all().map(|(namespace, pod)| s.cluster.delete_pod(namespace, pod))).await;
    s.status_becomes(&link, |status| status.reasons.is_empty()).await;

    let asked = since.requests_of(&s.applier_user());
    let ours = |uri: &str| [&linked, &other].iter().any(|namespace| uri.contains(namespace.as_str()));
    let asked: Vec<_> = asked
        .iter()
        .filter(|request| ours(&request.uri) || request.uri.starts_with("/api/v1/pods"))
        .collect();
    assert!(asked.iter().all(|request| request.verb == "watch"), "{asked:#?}");
}

#[tokio::test]
async fn without_the_right_to_watch_pods_all_else_works_and_the_log_says_what_is_missing() {
    let s = Scenario::own("no-pods", |_| {}).await;
    let roles: Api<ClusterRole> = Api::all(s.cluster.client());
    let whole = roles.get("pullpass-cluster-applier").await.unwrap();
    let mut old = whole.clone();
    let about_pods = |resources: &Option<Vec<String>>| resources.iter().flatten().any(|r| r == "pods");
    old.rules.as_mut().unwrap().retain(|rule| !about_pods(&rule.resources));
    let role = async |rules| {
        let change = Patch::Merge(json!({"rules": rules}));
        roles.patch("pullpass-cluster-applier", &PatchParams::default(), &change).await.unwrap();
    };
    role(&old.rules).await;
    s.pullpass.kill9(Service::ClusterApplier);
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;

    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespace = s.namespace("web").await;
    s.cluster.create_pod(&namespace, "early", NOBODY, IMAGE).await;
    let link = s.link(&credential, &credential, &namespace, "pull").await;
    s.becomes_synced(&link).await;
    waits_for(&s, &namespace, "early", "ErrImagePull").await;
    eventually("the log names the missing right and the remedy", async || {
        let log = s.pullpass.log(Service::ClusterApplier);
        let words = ["403 Forbidden", "not told of before deploy/cluster-applier/rbac.yaml is applied"];
        seen(log.lines().any(|line| words.iter().all(|word| line.contains(word))), log)
    })
    .await;

    role(&whole.rules).await;
    let status = s.status_becomes(&link, |status| !status.reasons.is_empty()).await;
    assert_eq!(status.reasons[0].code, "POD_BEFORE_LINK");
}

/// Says of a pod's container what a kubelet would.
async fn waits_for(s: &Scenario, namespace: &str, pod: &str, reason: &str) {
    let waiting = json!({"waiting": {"reason": reason}});
    let container = json!({"name": "main", "image": IMAGE, "imageID": "", "ready": false, "restartCount": 0, "state": waiting});
    let status = Patch::Merge(json!({"status": {"containerStatuses": [container]}}));
    s.cluster.api::<Pod>(namespace).patch_status(pod, &PatchParams::default(), &status).await.unwrap();
}
