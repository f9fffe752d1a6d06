//! What appears is served, what is disturbed is repaired, and what no longer matches is taken back, unasked.

use e2e::{
    Scenario,
    cluster::{Ability, Subject},
    eventually,
    wait::seen,
};
use k8s_openapi::api::{
    core::v1::{Secret, ServiceAccount},
    rbac::v1::RoleBinding,
};
use serde_json::json;

/// A link for the namespaces with the label `served={name}`, and its name.
async fn link_by_label(s: &Scenario, accounts: &[&str]) -> String {
    let name = s.credential("served", "quay.io", "robot", "first").await;
    let selector = format!("served={name}");
    let create =
        ["link", "create", &name, "--credential", &name, "--namespace-selector", &selector, "--for", "pull"];
    s.pullpass.cli(&[&create, accounts].concat()).await.ok();
    name
}

#[tokio::test]
async fn a_new_namespace_that_matches_is_served_and_one_that_no_longer_matches_is_left() {
    let s = Scenario::shared().await;
    let name = link_by_label(&s, &["--service-account", "default"]).await;
    let namespace = s.name("new");
    s.cluster.create_namespace(&namespace, &[("served", &name)]).await;
    s.cluster.lists_become(&namespace, "default", |lists| lists.pull == [name.clone()]).await;
    assert!(s.cluster.secret(&namespace, &name).await.is_some());

    s.cluster.label_namespace(&namespace, "served", None).await;
    s.cluster.lists_become(&namespace, "default", |lists| lists.pull.is_empty()).await;
    eventually("the Secret is gone", async || {
        seen(s.cluster.secret(&namespace, &name).await.is_none(), "there")
    })
    .await;

    s.cluster.label_namespace(&namespace, "served", Some(&name)).await;
    s.cluster.lists_become(&namespace, "default", |lists| lists.pull == [name.clone()]).await;
}

#[tokio::test]
async fn a_namespace_that_is_deleted_and_made_again_is_served_again() {
    let s = Scenario::shared().await;
    let name = link_by_label(&s, &["--service-account", "default"]).await;
    let namespace = s.name("again");
    for _ in 0..2 {
        s.cluster.create_namespace(&namespace, &[("served", &name)]).await;
        s.cluster.lists_become(&namespace, "default", |lists| lists.pull == [name.clone()]).await;
        s.becomes_synced(&format!("secretLinks/{name}")).await;
        s.cluster.delete_namespace(&namespace).await;
    }
    s.status_becomes(&format!("secretLinks/{name}"), |status| status.wanted == 0).await;
}

#[tokio::test]
async fn new_service_accounts_that_match_are_served_and_relabelled_ones_left() {
    let s = Scenario::shared().await;
    let name = link_by_label(&s, &["--service-account-selector", "pulls=yes"]).await;
    let namespace = s.name("accounts");
    s.cluster.create_namespace(&namespace, &[("served", &name)]).await;
    s.cluster.create_service_account(&namespace, "robot", &[("pulls", "yes")]).await;
    s.cluster.create_service_account(&namespace, "other", &[("pulls", "no")]).await;
    s.cluster.lists_become(&namespace, "robot", |lists| lists.pull == [name.clone()]).await;
    s.becomes_synced(&format!("secretLinks/{name}")).await;
    assert_eq!(s.cluster.lists(&namespace, "other").await.pull, [""; 0]);

    for (account, value) in [("robot", "no"), ("other", "yes")] {
        let label = json!({"metadata": {"labels": {"pulls": value}}});
        s.cluster.merge::<ServiceAccount>(&namespace, account, label).await;
    }
    s.cluster.lists_become(&namespace, "other", |lists| lists.pull == [name.clone()]).await;
    s.cluster.lists_become(&namespace, "robot", |lists| lists.pull.is_empty()).await;
}

#[tokio::test]
async fn a_secret_or_an_entry_that_somebody_edits_or_deletes_is_repaired() {
    let s = Scenario::shared().await;
    let name = s.credential("repaired", "quay.io", "robot", "first").await;
    let namespace = s.namespace("repaired").await;
    let link = s.link(&name, &name, &namespace, "pull").await;
    s.becomes_synced(&link).await;
    let right = s.cluster.pull_secret(&namespace, &name).await.expect("the Secret");
    let repaired = async |what: &str| {
        eventually(format!("the Secret is repaired after it was {what}"), async || {
            let now =
                s.cluster.secret(&namespace, &name).await.and_then(|secret| secret.data).unwrap_or_default();
            let now = now.get(".dockerconfigjson").map(|bytes| bytes.0.clone());
            seen(now.as_ref() == Some(&right), now)
        })
        .await;
    };
    s.cluster.merge::<Secret>(&namespace, &name, json!({"stringData": {".dockerconfigjson": "{}"}})).await;
    repaired("edited").await;
    s.cluster.delete::<Secret>(&namespace, &name).await;
    repaired("deleted").await;
    s.cluster.merge::<ServiceAccount>(&namespace, "default", json!({"imagePullSecrets": []})).await;
    s.cluster.lists_become(&namespace, "default", |lists| lists.pull == [name.clone()]).await;
}

#[tokio::test]
async fn a_binding_that_somebody_edits_or_deletes_is_repaired() {
    let s = Scenario::shared().await;
    let (grant, project) = (s.name("repaired"), s.namespace("project").await);
    let create = ["grant", "create", &grant, "--project", &project, "--to-user", "frank", "--wait"];
    s.pullpass.cli(&create).await.ok();
    let binding = s.cluster.our_bindings(&project).await.remove(0).metadata.name.expect("a name");
    let (frank, mallory) = (Subject::User("frank".into()), Subject::User("mallory".into()));
    let repaired = async |what: &str| {
        eventually(format!("the binding is repaired after it was {what}"), async || {
            let now =
                (s.cluster.ability(&frank, &project).await, s.cluster.ability(&mallory, &project).await);
            seen(now == (Ability::PULL, Ability::NONE), now)
        })
        .await;
    };
    let subject = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"});
    s.cluster.merge::<RoleBinding>(&project, &binding, json!({"subjects": [subject]})).await;
    repaired("edited").await;
    s.cluster.delete::<RoleBinding>(&project, &binding).await;
    repaired("deleted").await;
}
