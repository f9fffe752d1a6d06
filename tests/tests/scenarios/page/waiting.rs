//! What does not exist yet is waited for, with the reason shown, and heals by itself.

use e2e::{
    Scenario,
    cluster::{Ability, Subject},
};
use pullpass_api::grant::v1::SyncState;

#[tokio::test]
async fn a_role_that_does_not_exist_is_waited_for() {
    let s = Scenario::shared().await;
    let project = s.namespace("project").await;
    let name = s.name("build");
    let create = ["grant", "create", &name, "--project", &project, "--to-user", "carol", "--role", "build"];
    s.pullpass.cli(&create).await.ok();
    s.becomes(&format!("imageGrants/{name}"), SyncState::Pending, "ROLE_NOT_FOUND").await;
    let carol = Subject::User("carol".into());
    assert_eq!(s.cluster.ability(&carol, &project).await, Ability::NONE);

    s.cluster.create_image_role("system:image-builder").await;
    s.becomes_synced(&format!("imageGrants/{name}")).await;
    assert_eq!(s.cluster.ability(&carol, &project).await, Ability::BUILD);
}

#[tokio::test]
async fn a_project_that_does_not_exist_is_waited_for() {
    let s = Scenario::shared().await;
    let (name, project) = (s.name("early"), s.name("later"));
    s.pullpass.cli(&["grant", "create", &name, "--project", &project, "--to-user", "dave"]).await.ok();
    s.becomes(&format!("imageGrants/{name}"), SyncState::Pending, "NAMESPACE_NOT_FOUND").await;

    s.cluster.create_namespace(&project, &[]).await;
    s.becomes_synced(&format!("imageGrants/{name}")).await;
    assert_eq!(s.cluster.ability(&Subject::User("dave".into()), &project).await, Ability::PULL);
}

#[tokio::test]
async fn a_namespace_and_a_service_account_that_do_not_exist_are_waited_for() {
    let s = Scenario::shared().await;
    let (credential, namespace) = (s.credential("quay", "quay.io", "robot", "first").await, s.name("later"));
    let create = [
        "link",
        "create",
        &credential,
        "--credential",
        &credential,
        "--namespace",
        &namespace,
        "--service-account",
        "deployer",
    ];
    s.pullpass.cli(&create).await.ok();
    let link = format!("secretLinks/{credential}");
    s.becomes(&link, SyncState::Pending, "NAMESPACE_NOT_FOUND").await;
    s.cluster.create_namespace(&namespace, &[]).await;
    s.becomes(&link, SyncState::Pending, "SERVICE_ACCOUNT_NOT_FOUND").await;
    s.cluster.create_service_account(&namespace, "deployer", &[]).await;
    s.becomes_synced(&link).await;
    assert_eq!(s.cluster.lists(&namespace, "deployer").await.pull, [credential]);
}

#[tokio::test]
async fn a_credential_that_does_not_exist_is_waited_for() {
    let s = Scenario::shared().await;
    let (name, namespace) = (s.name("quay"), s.namespace("web").await);
    let create = [
        "link",
        "create",
        &name,
        "--credential",
        &name,
        "--namespace",
        &namespace,
        "--service-account",
        "default",
    ];
    s.pullpass.cli(&create).await.ok();
    let link = format!("secretLinks/{name}");
    let status =
        s.status_becomes(&link, |status| e2e::scenario::has_reason(status, "CREDENTIAL_NOT_FOUND")).await;
    assert_ne!(status.state(), SyncState::Synced);
    assert_eq!(s.cluster.secret(&namespace, &name).await, None);

    let create =
        ["credential", "create", &name, "--server", "quay.io", "--username", "robot", "--password-stdin"];
    s.pullpass.cli_with("first", &create).await.ok();
    s.becomes_synced(&link).await;
    assert!(s.cluster.secret(&namespace, &name).await.is_some());
}
