//! `pullpass plan` and `--dry-run` print what would change and why, and change nothing.

use e2e::{Scenario, eventually};
use serde_json::Value;

#[tokio::test]
async fn a_dry_run_prints_what_a_link_would_change_and_changes_nothing() {
    let scenario = Scenario::shared().await;
    let namespace = scenario.namespace("planned").await;
    let credential = scenario.credential("planned", "quay.io", "robot", "fake-password").await;
    let lists = scenario.cluster.lists(&namespace, "default").await;
    let before = scenario.plane.audit_log().from_now();
    let link = scenario.name("planned");
    let create = ["link", "create", &link, "--credential", &credential, "--namespace", &namespace];
    let create = [&create[..], &["--service-account", "default"]].concat();

    let planned =
        scenario.pullpass.cli(&[&create[..], &["--dry-run", "-o", "json"]].concat()).await.ok().json();
    let told = changes(&planned, &namespace);
    assert!(told.contains(&change("ACTION_CREATE", "Secret", &link)), "{planned:#}");
    assert!(told.contains(&change("ACTION_UPDATE", "ServiceAccount", "default")), "{planned:#}");
    let cause = format!("secretLinks/{link}");
    let ours: Vec<_> = items(&planned).iter().filter(|c| c["namespace"] == *namespace).collect();
    assert!(
        ours.iter().all(|c| c["cause"] == *cause && c["reason"].as_str().is_some_and(|r| !r.is_empty())),
        "{planned:#}"
    );

    assert_eq!(scenario.pullpass.cli(&["link", "get", &link]).await.code, 1, "the link was stored");
    assert_eq!(scenario.cluster.secret(&namespace, &link).await, None);
    assert_eq!(scenario.cluster.lists(&namespace, "default").await, lists);
    let writes = before.requests_of(&scenario.applier_user());
    let writes: Vec<_> = writes.iter().filter(|r| r.is_write() && r.uri.contains(&namespace)).collect();
    assert!(writes.is_empty(), "{writes:?}");

    // The same link, made: what was planned is what happens, and then there is nothing left to plan.
    scenario.pullpass.cli(&[&create[..], &["--wait"]].concat()).await.ok();
    assert!(scenario.cluster.secret(&namespace, &link).await.is_some());
    let plan = scenario.pullpass.cli(&["plan", "-o", "json"]).await.ok().json();
    assert_eq!(changes(&plan, &namespace), Vec::<[String; 3]>::new());

    let delete = ["link", "delete", &link, "--dry-run", "-o", "json"];
    let planned = scenario.pullpass.cli(&delete).await.ok().json();
    let told = changes(&planned, &namespace);
    assert!(told.contains(&change("ACTION_DELETE", "Secret", &link)), "{planned:#}");
    assert!(told.contains(&change("ACTION_UPDATE", "ServiceAccount", "default")), "{planned:#}");
    assert!(scenario.cluster.secret(&namespace, &link).await.is_some());
}

#[tokio::test]
async fn the_plan_says_what_waits_and_for_what() {
    let scenario = Scenario::shared().await;
    let credential = scenario.credential("waits", "quay.io", "robot", "fake-password").await;
    let (link, namespace) = (scenario.name("waits"), scenario.name("not-yet"));
    let create = ["link", "create", &link, "--credential", &credential, "--namespace", &namespace];
    scenario.pullpass.cli(&[&create[..], &["--service-account", "default"]].concat()).await.ok();
    eventually(format!("the plan names {namespace}"), async || {
        let plan = scenario.pullpass.cli(&["plan", "-o", "json"]).await.ok().json();
        let blocked = items(&plan).iter().find(|c| c["namespace"] == *namespace).cloned();
        match blocked {
            Some(change) if change["action"] == "ACTION_BLOCKED" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    scenario.pullpass.cli(&["link", "delete", &link, "--wait"]).await.ok();
}

fn items(plan: &Value) -> &[Value] {
    plan.as_array().expect("a list of changes")
}

fn change(action: &str, kind: &str, object: &str) -> [String; 3] {
    [action, kind, object].map(str::to_owned)
}

fn changes(plan: &Value, namespace: &str) -> Vec<[String; 3]> {
    let of_namespace = items(plan).iter().filter(|change| change["namespace"] == *namespace);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    of_namespace.map(|c| [text(&c["action"]), text(&c["kind"]), text(&c["object"])]).collect()
}
