//! Secrets for registries elsewhere, and the service accounts that use them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{Registry, Scenario, cluster::Lists};
use serde_json::{Value, json};

/// Links a credential to `default` in a new namespace, and returns the namespace and the Secret's bytes.
async fn link_for_pull(s: &Scenario, credential: &str, options: &[&str]) -> (String, Vec<u8>) {
    let namespace = s.namespace("web").await;
    let create = [
        "link",
        "create",
        credential,
        "--credential",
        credential,
        "--namespace",
        &namespace,
        "--service-account",
        "default",
        "--for",
        "pull",
        "--wait",
    ];
    s.pullpass.cli(&[&create, options].concat()).await.ok();
    let bytes = s.cluster.pull_secret(&namespace, credential).await.expect("the Secret");
    (namespace, bytes)
}

fn entries(registry: &Registry) -> Value {
    let auth = BASE64_STANDARD.encode(format!("{}:first", registry.user()));
    json!({registry.host(): {"auth": auth, "email": "robot@example.org"}})
}

#[tokio::test]
async fn oc_create_secret_generic_from_file_dockercfg_type_dockercfg() {
    let s = Scenario::shared().await;
    let (registry, name) = (s.registry().await, s.name("old"));
    let file = entries(registry).to_string();
    s.pullpass.cli_with(file, &["credential", "import", &name, "--from-file", "-"]).await.ok();
    let (namespace, bytes) = link_for_pull(&s, &name, &["--secret-type", "dockercfg"]).await;
    let secret = s.cluster.secret(&namespace, &name).await.expect("the Secret");
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/dockercfg"));
    assert!(secret.data.is_some_and(|data| data.contains_key(".dockercfg")));
    assert!(registry.can_pull(Some(&bytes)).await && !registry.can_pull(None).await);
}

#[tokio::test]
async fn oc_create_secret_generic_from_file_dockerconfigjson_type_dockerconfigjson() {
    let s = Scenario::shared().await;
    let (registry, name) = (s.registry().await, s.name("new"));
    let file = json!({"auths": entries(registry), "detachKeys": "ctrl-e,e"}).to_string();
    s.pullpass.cli_with(file, &["credential", "import", &name, "--from-file", "-"]).await.ok();
    let (namespace, bytes) = link_for_pull(&s, &name, &[]).await;
    let secret = s.cluster.secret(&namespace, &name).await.expect("the Secret");
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    assert!(secret.data.is_some_and(|data| data.contains_key(".dockerconfigjson")));
    assert!(registry.can_pull(Some(&bytes)).await && !registry.can_pull(None).await);
}

#[tokio::test]
async fn oc_create_secret_docker_registry_docker_server() {
    let s = Scenario::shared().await;
    let (registry, name) = (s.registry().await, s.name("login"));
    let create = [
        "credential",
        "create",
        &name,
        "--server",
        registry.host(),
        "--username",
        "robot",
        "--password-stdin",
        "--email",
        "robot@example.org",
    ];
    s.pullpass.cli_with("first", &create).await.ok();
    let (_, bytes) = link_for_pull(&s, &name, &[]).await;
    assert!(registry.can_pull(Some(&bytes)).await);

    let flags = [
        "create",
        "secret",
        "docker-registry",
        "x",
        "--dry-run=client",
        "-o",
        "json",
        "--docker-username=robot",
        "--docker-password=first",
        "--docker-email=robot@example.org",
        &format!("--docker-server={}", registry.host()),
    ];
    let theirs = s.cluster.kubectl(&flags).await.ok().json();
    let theirs = BASE64_STANDARD.decode(theirs["data"][".dockerconfigjson"].as_str().unwrap()).unwrap();
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(parse(&bytes), parse(&theirs), "the content is kubectl's");
}

#[tokio::test]
async fn oc_secrets_link_default_for_pull() {
    let s = Scenario::shared().await;
    let name = s.credential("pull", "quay.io", "robot", "first").await;
    let (namespace, _) = link_for_pull(&s, &name, &[]).await;
    let before = Lists { pull: vec![], ..s.cluster.lists(&namespace, "default").await };
    let linked = s.cluster.lists(&namespace, "default").await;
    assert_eq!(linked, Lists { pull: vec![name.clone()], ..before.clone() }, "for pull, and not for mount");
    s.pullpass.cli(&["link", "delete", &name, "--wait"]).await.ok();
    assert_eq!(s.cluster.lists(&namespace, "default").await, before);
    assert_eq!(s.cluster.secret(&namespace, &name).await, None);
}

#[tokio::test]
async fn oc_secrets_link_builder_for_mount_and_for_both() {
    let s = Scenario::shared().await;
    let name = s.credential("build", "quay.io", "robot", "first").await;
    for (usage, pull) in [("mount", false), ("pull,mount", true)] {
        let namespace = s.namespace(if pull { "both" } else { "mount" }).await;
        s.cluster.create_service_account(&namespace, "builder", &[]).await;
        let create = [
            "link",
            "create",
            &name,
            "--credential",
            &name,
            "--namespace",
            &namespace,
            "--service-account",
            "builder",
            "--for",
            usage,
            "--wait",
        ];
        s.pullpass.cli(&create).await.ok();
        let linked = s.cluster.lists(&namespace, "builder").await;
        assert!(linked.mount.contains(&name), "{usage}: {linked:?}");
        assert_eq!(linked.pull.contains(&name), pull, "{usage}: {linked:?}");
        assert!(!s.cluster.lists(&namespace, "default").await.mount.contains(&name), "only whom we named");
        s.pullpass.cli(&["link", "delete", &name, "--wait"]).await.ok();
        let left = s.cluster.lists(&namespace, "builder").await;
        assert!(!left.pull.contains(&name) && !left.mount.contains(&name), "{left:?}");
    }
}

#[tokio::test]
async fn a_rotated_password_pulls_again() {
    let s = Scenario::shared().await;
    let registry = s.own_registry("rotation").await;
    let name = s.credential("rotated", registry.host(), "robot", "first").await;
    let (namespace, first) = link_for_pull(&s, &name, &[]).await;
    assert!(registry.can_pull(Some(&first)).await);
    registry.change_password("second").await.unwrap();
    assert!(!registry.can_pull(Some(&first)).await);

    let rotate = [
        "credential",
        "rotate",
        &name,
        "--server",
        registry.host(),
        "--username",
        "robot",
        "--password-stdin",
    ];
    s.pullpass.cli_with("second", &rotate).await.ok();
    // Not `status --wait`: that waits for the links of all tests.
    s.status_becomes(&format!("secretLinks/{name}"), |status| status.versions.iter().all(|v| v.version == 2))
        .await;
    let second = s.cluster.pull_secret(&namespace, &name).await.expect("the Secret");
    assert!(registry.can_pull(Some(&second)).await);
}
