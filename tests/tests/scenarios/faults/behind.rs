//! grant-manager goes back to an older revision, or loses everything: of what that does not name nothing is deleted. Its state
//! file goes back with the database here, so that it does not notice by itself; `rollback` shows what it does if it notices.

use std::{fs, time::Duration};

use e2e::{Scenario, audit_log::Request, eventually, pullpass::Service, scenario::has_reason, wait::seen};
use prost_types::FieldMask;
use pullpass_api::{
    applier::v1::{GetSyncStatusRequest, SyncRequest},
    grant::v1::{NamespaceSelection, SecretLink, UpdateSecretLinkRequest},
};

const PATIENCE: Duration = Duration::from_secs(10);
const HELD: &str = "DELETIONS_HELD";
/// The database, and what `SQLite` keeps beside it.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

#[tokio::test]
async fn of_what_an_older_or_an_empty_grant_manager_does_not_name_nothing_is_deleted() {
    let s = Scenario::own("behind", |_| {}).await;
    s.cluster.create_image_role("system:image-puller").await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespaces = [s.namespace("a").await, s.namespace("b").await];
    let [a, b] = &namespaces;
    s.link("early", &credential, a, "pull").await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    stopped(&s, async || keep(&s, "older")).await;

    s.link("late", &credential, a, "pull,mount").await;
    s.pullpass.cli(&["grant", "create", "late", "--project", b, "--to-user", "alice"]).await.ok();
    widen(&s, "early", &namespaces).await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    let before = s.cluster.versions(&namespaces).await;
    let log = s.plane.audit_log().from_now();

    stopped(&s, async || {
        keep(&s, "newest");
        bring_back(&s, "older");
    })
    .await;
    are_held(&s, &["imageGrants/late", "secretLinks/early", "secretLinks/late"]).await;
    s.becomes("secretLinks/early", pullpass_api::grant::v1::SyncState::Pending, HELD).await;

    stopped(&s, async || forget(&s)).await;
    s.pullpass.register_cluster().await.expect("the cluster can be registered anew");
    are_held(&s, &["imageGrants/late", "secretLinks/early", "secretLinks/late"]).await;

    // Asked to look at everything again it still deletes nothing.
    let mut applier = s.pullpass.cluster_applier(&s.pullpass.admin());
    applier.sync(SyncRequest::default()).await.expect("it looks again");
    s.link("new", &credential, b, "pull").await;
    s.becomes_synced("secretLinks/new").await;
    s.unlink("new").await;
    let writes = log.requests_of(&s.applier_user()).into_iter().filter(Request::is_write);
    let others: Vec<_> = writes.filter(|write| !write.uri.contains(&format!("/{b}/"))).collect();
    assert!(others.is_empty(), "only the new link is written: {others:#?}");
    let now = s.cluster.versions(&namespaces).await;
    let account = format!("ServiceAccount/{b}/default");
    let apart = |all: &[(String, String)]| {
        all.iter().filter(|(name, _)| *name != account).cloned().collect::<Vec<_>>()
    };
    assert_eq!(apart(&now), apart(&before), "nothing is deleted");
    assert_eq!(s.cluster.lists(b, "default").await.pull, ["early"]);

    // Somebody decides anew: then it counts.
    s.link("late", &credential, a, "pull,mount").await;
    s.becomes_synced("secretLinks/late").await;
    s.unlink("late").await;
    assert_eq!(s.cluster.secret(a, "late").await, None);

    // The right database comes back: everything is as it was.
    stopped(&s, async || bring_back(&s, "newest")).await;
    are_held(&s, &[]).await;
    s.cluster.lists_become(a, "default", |lists| lists.pull == ["early", "late"]).await;

    // Or the older one is meant, and an operator says so.
    stopped(&s, async || bring_back(&s, "older")).await;
    are_held(&s, &["imageGrants/late", "secretLinks/early", "secretLinks/late"]).await;
    s.pullpass.cli(&["sync", "--confirm-deletions"]).await.ok();
    s.cluster.lists_become(a, "default", |lists| lists.pull == ["early"]).await;
    are_held(&s, &[]).await;
}

/// Stops grant-manager, does something, and starts it again.
async fn stopped(s: &Scenario, act: impl AsyncFnOnce()) {
    let ended = s.pullpass.terminate(Service::GrantManager, PATIENCE).await;
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    act().await;
    s.pullpass.launch_and_wait(Service::GrantManager).await;
}

/// A copy of its database.
fn keep(s: &Scenario, name: &str) {
    each_part(s, name, |database, copy| drop(fs::copy(database, copy)));
}

fn bring_back(s: &Scenario, name: &str) {
    forget(s);
    each_part(s, name, |database, copy| drop(fs::copy(copy, database)));
}

fn forget(s: &Scenario) {
    each_part(s, "", |database, _| drop(fs::remove_file(database)));
}

/// Which of the parts are there depends on how it ended.
fn each_part(s: &Scenario, copy: &str, act: impl Fn(&str, &str)) {
    let database = s.pullpass.state().database(Service::GrantManager).display().to_string();
    for part in PARTS {
        act(&format!("{database}{part}"), &format!("{database}.{copy}{part}"));
    }
    let state = s.pullpass.state().state_file(Service::GrantManager).display().to_string();
    act(&state, &format!("{state}.{copy}"));
}

/// Waits until the applier says of these, and of nothing else, that it holds deletions back.
async fn are_held(s: &Scenario, names: &[&str]) {
    let applier = s.pullpass.cluster_applier(&s.pullpass.admin());
    eventually(format!("deletions of {names:?} are held"), async || {
        let status = applier.clone().get_sync_status(GetSyncStatusRequest::default()).await;
        let statuses = status.map_err(|status| status.message().to_owned())?.into_inner().statuses;
        let held = statuses.iter().filter(|status| has_reason(status, HELD));
        let held: Vec<_> = held.map(|status| status.name.as_str()).collect();
        seen(held == names, &held)
    })
    .await;
}

async fn widen(s: &Scenario, link: &str, namespaces: &[String]) {
    let names = NamespaceSelection { names: namespaces.to_vec(), ..NamespaceSelection::default() };
    let request = UpdateSecretLinkRequest {
        secret_link: Some(SecretLink {
            name: format!("secretLinks/{link}"),
            namespaces: Some(names),
            ..SecretLink::default()
        }),
        update_mask: Some(FieldMask { paths: vec!["namespaces".to_owned()] }),
        validate_only: false,
    };
    let mut grants = s.pullpass.grant_manager(&s.pullpass.admin());
    grants.update_secret_link(request).await.expect("the link can be changed");
}
