//! Delegated authentication: one secret for the authentication server, one for the registry, in the three ways to have them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{Registry, Scenario};
use serde_json::json;

/// What is read by whom: the registry's entry by kubelet and skopeo, that of the server which hands out tokens by
/// OpenShift's image import of old.
fn registry_and_server(registry: &Registry) -> (String, String) {
    (registry.host().to_owned(), registry.realm().expect("it delegates"))
}

async fn link(s: &Scenario, name: &str, credentials: &[&str], namespace: &str) -> Vec<u8> {
    let credentials = credentials.iter().flat_map(|name| ["--credential", name]);
    let rest = ["--namespace", namespace, "--service-account", "default", "--wait", "--for", "pull"];
    let arguments: Vec<&str> = ["link", "create", name].into_iter().chain(credentials).chain(rest).collect();
    s.pullpass.cli(&arguments).await.ok();
    s.cluster.pull_secret(namespace, name).await.expect("the Secret")
}

fn keys(secret: &[u8]) -> Vec<String> {
    let secret: serde_json::Value = serde_json::from_slice(secret).unwrap();
    let mut keys: Vec<String> = secret["auths"].as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

fn sorted(one: &str, other: &str) -> Vec<String> {
    let mut both = vec![one.to_owned(), other.to_owned()];
    both.sort();
    both
}

#[tokio::test]
async fn delegated_authentication_by_one_credential_with_both_entries() {
    let s = Scenario::shared().await;
    let registry = s.delegated_registry().await;
    let (host, server) = registry_and_server(registry);
    let auth = BASE64_STANDARD.encode("robot:first");
    let file = json!({"auths": {&host: {"auth": auth}, &server: {"auth": auth}}}).to_string();
    let name = s.name("both");
    s.pullpass.cli_with(file, &["credential", "import", &name, "--from-file", "-"]).await.ok();
    let secret = link(&s, &name, &[&name], &s.namespace("web").await).await;
    assert_eq!(keys(&secret), sorted(&host, &server));
    assert!(registry.can_pull(Some(&secret)).await && !registry.can_pull(None).await);
}

#[tokio::test]
async fn delegated_authentication_by_two_credentials_in_one_link() {
    let s = Scenario::shared().await;
    let registry = s.delegated_registry().await;
    let (host, server) = registry_and_server(registry);
    let for_registry = s.credential("for-registry", &host, "robot", "first").await;
    let for_server = s.credential("for-server", &server, "robot", "first").await;
    let secret = link(&s, &s.name("merged"), &[&for_server, &for_registry], &s.namespace("web").await).await;
    assert_eq!(keys(&secret), sorted(&host, &server));
    assert!(registry.can_pull(Some(&secret)).await);
}

#[tokio::test]
async fn delegated_authentication_by_one_secret_each() {
    let s = Scenario::shared().await;
    let registry = s.delegated_registry().await;
    let (host, server) = registry_and_server(registry);
    let for_registry = s.credential("for-registry", &host, "robot", "first").await;
    let for_server = s.credential("for-server", &server, "robot", "first").await;
    let namespace = s.namespace("web").await;
    let first = link(&s, &for_server, &[&for_server], &namespace).await;
    let second = link(&s, &for_registry, &[&for_registry], &namespace).await;
    assert_eq!((keys(&first), keys(&second)), (vec![server], vec![host]));
    assert!(registry.can_pull(Some(&second)).await);
    assert!(!registry.can_pull(Some(&first)).await, "pulls use the registry's entry");
    assert_eq!(s.cluster.lists(&namespace, "default").await.pull, [for_server, for_registry]);
}
