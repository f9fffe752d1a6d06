//! When nothing changes the applier writes nothing, and a watch that is cut resumes.

use std::time::Duration;

use e2e::{
    Scenario,
    audit_log::{AuditLog, Request},
    eventually,
    pullpass::Service,
    scenario::has_reason,
    wait::seen,
};
use k8s_openapi::api::{
    core::v1::{Secret, ServiceAccount},
    rbac::v1::RoleBinding,
};
use serde_json::json;

/// So long is the applier watched.
const MINUTE: Duration = Duration::from_mins(1);
/// So long is the API server away.
const OUTAGE: Duration = Duration::from_secs(3);

async fn link_by_label(s: &Scenario, name: &str, credential: &str) {
    let create = [
        "link",
        "create",
        name,
        "--credential",
        credential,
        "--namespace-selector",
        "served=yes",
        "--service-account",
        "default",
        "--for",
        "pull,mount",
    ];
    s.pullpass.cli(&create).await.ok();
}

async fn served_namespace(s: &Scenario, name: &str) -> String {
    let name = s.name(name);
    s.cluster.create_namespace(&name, &[("served", "yes")]).await;
    name
}

async fn rotate(s: &Scenario, credential: &str, password: &str) {
    let rotate = [
        "credential",
        "rotate",
        credential,
        "--server",
        "quay.io",
        "--username",
        "robot",
        "--password-stdin",
    ];
    s.pullpass.cli_with(password, &rotate).await.ok();
}

#[tokio::test]
async fn watches_resume_after_the_api_server_was_killed_and_nothing_is_lost() {
    let s = Scenario::own("idle-restart", |_| {}).await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let (early, left) = (served_namespace(&s, "early").await, served_namespace(&s, "left").await);
    link_by_label(&s, "before", &credential).await;
    link_by_label(&s, "taken-back", &credential).await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    let first = s.cluster.pull_secret(&early, "before").await.expect("the Secret");

    s.plane.kill_api_server();
    rotate(&s, &credential, "second").await;
    link_by_label(&s, "meanwhile", &credential).await;
    s.pullpass.cli(&["link", "delete", "taken-back"]).await.ok();
    let status = s.pullpass.cli(&["status", "--wait", "--timeout", &format!("{}s", OUTAGE.as_secs())]).await;
    assert_eq!(status.code, 1, "nothing can be synced without an API server: {status:?}");
    s.plane.start_api_server().await.expect("it starts");

    s.pullpass.cli(&["status", "--wait"]).await.ok();
    let linked = |names: &[String]| {
        let mut ours: Vec<_> = names.iter().filter(|name| !name.contains("-token-")).cloned().collect();
        ours.sort_unstable();
        ours == ["before", "meanwhile"]
    };
    for namespace in [&early, &left] {
        s.cluster
            .lists_become(namespace, "default", |lists| linked(&lists.pull) && linked(&lists.mount))
            .await;
        assert_eq!(s.cluster.our_secrets(namespace).await.len(), 2, "{namespace}");
    }
    let right = s.cluster.pull_secret(&early, "before").await.expect("the Secret");
    assert_ne!(right, first, "it was rotated");
    assert_eq!(s.cluster.pull_secret(&early, "meanwhile").await.as_ref(), Some(&right));

    // Each of the watches that matter: a new namespace, an edited Secret, a service account and a label.
    let late = served_namespace(&s, "late").await;
    s.cluster.lists_become(&late, "default", |lists| linked(&lists.pull) && linked(&lists.mount)).await;
    s.cluster.merge::<Secret>(&early, "before", json!({"stringData": {".dockerconfigjson": "{}"}})).await;
    eventually("the Secret is repaired", async || {
        let now = s.cluster.pull_secret(&early, "before").await;
        seen(now.as_ref() == Some(&right), now.map(|bytes| bytes.len()))
    })
    .await;
    s.cluster.merge::<ServiceAccount>(&late, "default", json!({"imagePullSecrets": []})).await;
    s.cluster.lists_become(&late, "default", |lists| linked(&lists.pull)).await;
    s.cluster.label_namespace(&left, "served", None).await;
    s.cluster.lists_become(&left, "default", |lists| lists.pull.is_empty()).await;
    eventually("the Secrets are gone", async || {
        let there = s.cluster.our_secrets(&left).await.len();
        seen(there == 0, there)
    })
    .await;
    let log = s.pullpass.log(Service::ClusterApplier);
    let bad: Vec<_> =
        log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
    assert!(bad.is_empty(), "an API server that is away for a while is no error of the applier: {bad:#?}");
}

#[tokio::test]
async fn when_nothing_changes_the_applier_writes_nothing_and_lists_nothing_for_a_minute() {
    let s = Scenario::own("idle", |_| {}).await;
    s.cluster.create_image_role("system:image-puller").await;
    let whole = s.plane.audit_log();
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let mut namespaces = Vec::new();
    for number in 0..5 {
        namespaces.push(served_namespace(&s, &format!("served-{number}")).await);
    }
    link_by_label(&s, "everywhere", &credential).await;
    grants(&s, &namespaces[0], &namespaces[1]).await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    let status = s.becomes_synced("imageGrants/own").await;
    assert!(has_reason(&status, "ALREADY_PERMITTED"), "{status:#?}");
    let kinds = ["secrets", "serviceaccounts", "rolebindings", "subjectaccessreviews"];
    for kind in kinds {
        assert!(
            count(&s, &whole, |r| r.is_write() && r.uri.contains(kind)) > 0,
            "no write of {kind} was counted"
        );
    }
    assert!(count(&s, &whole, |request| request.verb == "list") > 0, "no LIST was counted");

    let minute = whole.from_now();
    tokio::time::sleep(MINUTE).await;
    let requests = minute.requests_of(&s.applier_user());
    println!("in {MINUTE:?} the applier asked for {requests:#?}");
    let others: Vec<_> = requests.iter().filter(|request| request.verb != "watch").collect();
    assert!(others.is_empty(), "nothing changed, but the applier asked for {others:#?}");

    rotate(&s, &credential, "second").await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    let written = minute.requests_of(&s.applier_user());
    assert!(written.iter().all(Request::is_write), "{written:#?}");
    assert_eq!(written.len(), namespaces.len(), "a rotation is one write for each namespace: {written:#?}");
    assert!(written.iter().all(|request| request.uri.contains("/secrets/")), "{written:#?}");
}

/// A grant that needs a binding, and one within a project that has what OpenShift gives every project.
async fn grants(s: &Scenario, to: &str, own: &str) {
    let builtin = json!({
        "metadata": {"name": "system:image-pullers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:image-puller"},
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("system:serviceaccounts:{own}"),
        }],
    });
    s.cluster.create::<RoleBinding>(own, builtin).await;
    let within = format!("{own}/default");
    for (name, project, account) in [("other", to, &within), ("own", own, &within)] {
        let create = ["grant", "create", name, "--project", project, "--to-service-account", account];
        s.pullpass.cli(&create).await.ok();
    }
}

fn count(s: &Scenario, log: &AuditLog, which: impl Fn(&Request) -> bool) -> usize {
    log.requests_of(&s.applier_user()).iter().filter(|request| which(request)).count()
}
