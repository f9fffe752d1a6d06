//! The harness itself: the control plane and the registry work, without any of our services.

use e2e::{
    ControlPlane, Registry, WorkFolder,
    cluster::{Ability, Subject},
};
use serde_json::json;

fn login(registry: &Registry, password: &str) -> Vec<u8> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let auth = BASE64_STANDARD.encode(format!("{}:{password}", registry.user()));
    json!({"auths": {registry.host(): {"auth": auth}}}).to_string().into_bytes()
}

#[tokio::test]
async fn a_control_plane_starts_and_survives_a_restart_of_its_api_server() {
    let folder = WorkFolder::new("control-plane").unwrap();
    let plane = ControlPlane::start(folder.path()).await.unwrap();
    let cluster = plane.cluster().await.unwrap();
    cluster.create_namespace("project-a", &[("team", "web")]).await;
    cluster.create_image_role("system:image-puller").await;
    let somebody = Subject::ServiceAccount("project-a".into(), "default".into());
    assert_eq!(cluster.ability(&somebody, "project-b").await, Ability::NONE);

    let log = plane.audit_log().from_now();
    plane.kill_api_server();
    assert!(cluster.is_ready().await.is_err());
    plane.start_api_server().await.unwrap();
    cluster.create_service_account("project-a", "builder", &[]).await;
    assert!(cluster.find_service_account("project-a", "builder").await.is_some());
    assert!(log.requests_of("admin").iter().any(|r| r.is_write() && r.uri.contains("serviceaccounts")));
    assert!(plane.kubeconfig_for("nobody", "no-token").is_ok());
}

#[tokio::test]
async fn a_registry_is_pulled_from_with_the_right_password_only() {
    let folder = WorkFolder::new("registry").unwrap();
    let registry = Registry::start(folder.path(), "robot", "first").await.unwrap();
    check(&registry).await;
}

#[tokio::test]
async fn a_registry_can_delegate_its_authentication() {
    let folder = WorkFolder::new("delegated").unwrap();
    let registry = Registry::start_delegated(folder.path(), "robot", "first").await.unwrap();
    check(&registry).await;
}

async fn check(registry: &Registry) {
    let right = registry.pull(Some(&login(registry, "first"))).await.unwrap();
    assert_eq!(right.code, 0, "{right:?}");
    for refused in [None, Some(login(registry, "wrong"))] {
        let output = registry.pull(refused.as_deref()).await.unwrap();
        assert!(output.code != 0 && output.stderr.contains("unauthorized"), "{output:?}");
    }
    registry.change_password("second").await.unwrap();
    assert!(!registry.can_pull(Some(&login(registry, "first"))).await);
    assert!(registry.can_pull(Some(&login(registry, "second"))).await);
}
