//! Real pods: what containerd and the kubelet make of what we write.

use e2e::Scenario;

const REFUSED: &[&str] = &["ErrImagePull", "ImagePullBackOff"];

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
    let rotate = [
        "credential",
        "rotate",
        &credential,
        "--server",
        registry.host(),
        "--username",
        registry.user(),
        "--password-stdin",
    ];
    s.pullpass.cli_with("second", &rotate).await.ok();
    // Not `status --wait`: that waits for the links of all tests.
    s.status_becomes(&link, |status| status.versions.iter().all(|v| v.version == 2)).await;
    create("rotated").await;
    s.cluster.pod_becomes(&namespace, "rotated", &["Running"]).await;

    s.unlink(&credential).await;
    create("unlinked-again").await;
    s.cluster.pod_becomes(&namespace, "unlinked-again", REFUSED).await;
}
