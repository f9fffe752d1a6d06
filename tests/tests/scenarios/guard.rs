//! More than half of what is managed is not deleted before somebody confirms it.

use e2e::{
    Scenario, audit_log::AuditLog, cluster::Lists, eventually, pullpass::Service, scenario::has_reason,
    wait::seen,
};
use futures::future::join_all;
use serde_json::Value;

const NAMESPACES: usize = 55;
/// In so many of them there is another link, which stays.
const KEPT: usize = 5;
const LINK: &str = "everywhere";
const STAYS: &str = "kept";
const REMEDY: &str = "pullpass sync --confirm-deletions";

#[tokio::test]
async fn a_deletion_of_more_than_half_is_held_until_it_is_confirmed() {
    let s = Scenario::own("guard", |_| {}).await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespaces = join_all((0..NAMESPACES).map(|number| namespace(&s, number))).await;
    link(&s, STAYS, &credential, "kept=yes").await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    let without = lists(&s, &namespaces).await;
    link(&s, LINK, &credential, "guarded=yes").await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    let with = lists(&s, &namespaces).await;

    let log = s.plane.audit_log().from_now();
    s.pullpass.cli(&["link", "delete", LINK]).await.ok();
    is_held(&s).await;
    is_shown(&s).await;
    s.pullpass.kill9(Service::ClusterApplier);
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;
    let synced = sync(&s, &[]).await;
    assert_eq!((&synced["heldDeletions"], &synced["confirmedDeletions"]), (&NAMESPACES.into(), &0.into()));
    rotate(&s, &credential, &namespaces[..KEPT]).await;
    is_held(&s).await;
    only_rotated(&s, &log);
    assert_eq!(lists(&s, &namespaces).await, with);
    assert_eq!(secrets(&s, &namespaces, LINK).await, NAMESPACES);

    let synced = sync(&s, &["--confirm-deletions"]).await;
    assert_eq!((&synced["heldDeletions"], &synced["confirmedDeletions"]), (&0.into(), &NAMESPACES.into()));
    eventually("the link is gone", async || {
        let answer = s.pullpass.cli(&["link", "get", LINK]).await;
        seen(answer.code == 1 && answer.stderr.contains("NOT_FOUND"), answer)
    })
    .await;
    assert_eq!(lists(&s, &namespaces).await, without);
    assert_eq!(secrets(&s, &namespaces, LINK).await, 0);
    assert_eq!(secrets(&s, &namespaces, STAYS).await, KEPT);
}

async fn namespace(s: &Scenario, number: usize) -> String {
    let name = s.name(&format!("guarded-{number}"));
    let labels: &[_] =
        if number < KEPT { &[("guarded", "yes"), ("kept", "yes")] } else { &[("guarded", "yes")] };
    s.cluster.create_namespace(&name, labels).await;
    name
}

async fn link(s: &Scenario, name: &str, credential: &str, selector: &str) {
    let create = ["link", "create", name, "--credential", credential, "--namespace-selector", selector];
    s.pullpass
        .cli(&[&create[..], &["--service-account", "default", "--for", "pull,mount"]].concat())
        .await
        .ok();
}

async fn lists(s: &Scenario, namespaces: &[String]) -> Vec<Lists> {
    join_all(namespaces.iter().map(|namespace| s.cluster.lists(namespace, "default"))).await
}

async fn secrets(s: &Scenario, namespaces: &[String], name: &str) -> usize {
    let there = namespaces.iter().map(async |namespace| s.cluster.secret(namespace, name).await.is_some());
    join_all(there).await.into_iter().filter(|there| *there).count()
}

async fn is_held(s: &Scenario) {
    let held = |status: &pullpass_api::grant::v1::SyncStatus| {
        has_reason(status, "DELETIONS_HELD") && status.leaving == i64::try_from(NAMESPACES).unwrap()
    };
    s.status_becomes(&format!("secretLinks/{LINK}"), held).await;
}

/// Status, plan and whoever waits say how many deletions are held and what to do.
async fn is_shown(s: &Scenario) {
    let numbers = format!("{NAMESPACES} of {}", NAMESPACES + KEPT);
    // The applier knows before its report is there.
    eventually("the status shows it", async || {
        let status = s.pullpass.cli(&["status"]).await.ok().stdout;
        let line = status.lines().find(|line| line.contains(LINK)).expect("a line of the link").to_owned();
        seen(["DELETING", "DELETIONS_HELD", &numbers, REMEDY].iter().all(|part| line.contains(part)), line)
    })
    .await;
    let plan = s.pullpass.cli(&["plan", "-o", "json"]).await.ok().json();
    let changes = plan.as_array().expect("a list of changes");
    let held = |change: &&Value| {
        change["action"] == "ACTION_BLOCKED"
            && change["kind"] == "Secret"
            && change["change"] == "DELETIONS_HELD"
    };
    assert_eq!(changes.iter().filter(held).count(), NAMESPACES, "{plan:#}");
    assert_eq!(changes.len(), NAMESPACES, "{plan:#}");
    assert!(changes.iter().all(|change| change["reason"].as_str().is_some_and(|r| r.contains(&numbers))));
    let waited = s.pullpass.cli(&["link", "delete", LINK, "--wait", "--timeout", "1s"]).await;
    assert_eq!(waited.code, 1);
    assert!(waited.stderr.contains(&numbers) && waited.stderr.contains(REMEDY), "{}", waited.stderr);
}

async fn sync(s: &Scenario, flags: &[&str]) -> Value {
    let answer = s.pullpass.cli(&[&["sync", "-o", "json"], flags].concat()).await.ok().json();
    answer[0].clone()
}

async fn rotate(s: &Scenario, credential: &str, kept: &[String]) {
    let before = s.cluster.pull_secret(&kept[0], STAYS).await;
    let rotate = ["credential", "rotate", credential, "--password-stdin"];
    s.pullpass.cli_with("second", &rotate).await.ok();
    for namespace in kept {
        eventually("the new password is there", async || {
            let now = s.cluster.pull_secret(namespace, STAYS).await;
            seen(now.is_some() && now != before, "it is not")
        })
        .await;
    }
}

fn only_rotated(s: &Scenario, log: &AuditLog) {
    let requests = log.requests_of(&s.applier_user());
    let writes: Vec<_> = requests.iter().filter(|request| request.is_write()).collect();
    assert_eq!(writes.len(), KEPT, "{writes:#?}");
    assert!(writes.iter().all(|write| write.uri.contains(&format!("/secrets/{STAYS}"))), "{writes:#?}");
}
