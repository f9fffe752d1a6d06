use std::time::Duration;

use futures::StreamExt as _;
use pullpass_api::grant::v1::{
    GetSyncStatusRequest, SyncState, SyncStatus, WatchSyncStatusRequest, WatchSyncStatusResponse,
    grant_manager_server::GrantManager as _,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::scene::{Scene, portal, soon, status_of};

type Stream = futures::stream::BoxStream<'static, Result<WatchSyncStatusResponse, Status>>;

async fn watch(scene: &Scene) -> Stream {
    let request = portal(WatchSyncStatusRequest::default());
    scene.service.watch_sync_status(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Stream) -> WatchSyncStatusResponse {
    soon(stream.next()).await.unwrap().unwrap()
}

/// Follows the stream until it shows what is waited for.
async fn until(stream: &mut Stream, what: impl Fn(&WatchSyncStatusResponse) -> bool) {
    while !what(&next(stream).await) {}
}

/// Nothing comes, and the stream waits to be woken.
async fn quiet(stream: &mut Stream) {
    let news = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(news.is_err(), "{news:?}");
}

fn states(statuses: &[SyncStatus]) -> Vec<(&str, &str, SyncState)> {
    statuses.iter().map(|s| (s.name.as_str(), s.cluster.as_str(), s.state())).collect()
}

#[tokio::test]
async fn there_is_one_status_for_each_link_and_grant_in_each_cluster() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    let link = scene.create_link("web", &["east", "west"]).await.unwrap();
    let grant = scene.create_grant("devs", &["west"]).await.unwrap();
    let failed = SyncStatus { failed: 1, ..status_of(&grant.name, grant.revision) };
    scene.report("west", grant.revision, &[failed, status_of(&link.name, link.revision)]).await.unwrap();
    let status = scene.status().await;
    assert_eq!(
        states(&status.statuses),
        [
            ("imageGrants/devs", "clusters/west", SyncState::Failed),
            ("secretLinks/web", "clusters/east", SyncState::Pending),
            ("secretLinks/web", "clusters/west", SyncState::Synced),
        ]
    );
    assert_eq!(status.statuses[1].reasons[0].code, "WAITING_FOR_APPLIER");
    assert_eq!(status.revision, 4);
    let clusters: Vec<_> =
        status.clusters.iter().map(|c| (c.cluster.as_str(), c.observed_revision)).collect();
    assert_eq!(clusters, [("clusters/east", 0), ("clusters/west", 4)]);
    assert!(status.clusters[0].report_time.is_none() && status.clusters[1].report_time.is_some());
}

#[tokio::test]
async fn a_report_replaces_the_one_before() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    scene.report("east", 2, &[status_of(&link.name, 2)]).await.unwrap();
    assert_eq!(scene.status().await.statuses[0].state(), SyncState::Synced);
    scene.report("east", 2, &[]).await.unwrap();
    assert_eq!(scene.status().await.statuses[0].state(), SyncState::Pending);
    let unknown = status_of("secretLinks/unknown", 2);
    scene.report("east", 2, &[unknown, status_of(&link.name, 2)]).await.unwrap();
    assert_eq!(states(&scene.status().await.statuses).len(), 1);
}

#[tokio::test]
async fn an_applier_that_was_active_before_another_one_tells_nothing_any_more() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    let synced = [status_of(&link.name, 2)];
    let report = async |since, statuses: &[SyncStatus]| scene.report_by("east", since, 2, statuses).await;
    report(Some(100), &[]).await.unwrap();
    report(Some(200), &synced).await.unwrap();
    let refused = report(Some(100), &[]).await.unwrap_err();
    let reason = refused.get_details_error_info().map(|info| info.reason);
    assert_eq!((refused.code(), reason.as_deref()), (Code::FailedPrecondition, Some("APPLIER_SUPERSEDED")));
    assert!(refused.message().contains("restart it"), "{refused:?}");
    assert_eq!(scene.status().await.statuses[0].state(), SyncState::Synced, "nothing of it is kept");
    report(Some(200), &[]).await.unwrap();
    report(Some(300), &[]).await.unwrap();
    assert!(report(Some(200), &[]).await.is_err(), "news or none: whoever is active is known");
    report(None, &synced).await.unwrap();
    assert_eq!(
        scene.status().await.statuses[0].state(),
        SyncState::Synced,
        "one without a Lease is the only one"
    );
}

#[tokio::test]
async fn an_update_waits_for_the_next_report() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    let failed = SyncStatus { failed: 1, ..status_of(&link.name, link.revision) };
    scene.report("east", 2, &[failed]).await.unwrap();
    let link = pullpass_api::grant::v1::SecretLink { secret_name: "other".into(), ..link };
    let updated = scene.update_link(link, &["secret_name"]).await.unwrap();
    let status = scene.status().await.statuses.remove(0);
    assert_eq!(
        (status.state(), status.revision),
        (SyncState::Pending, 2),
        "the failure was of the revision before"
    );
    scene.report("east", 3, &[status_of(&updated.name, updated.revision)]).await.unwrap();
    assert_eq!(scene.status().await.statuses[0].state(), SyncState::Synced);
}

#[tokio::test]
async fn a_report_that_tells_nothing_new_writes_nothing_but_its_time_shows() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let report = [status_of("secretLinks/web", 2)];
    scene.report("east", 2, &report).await.unwrap();
    let before = scene.status().await;
    let written = scene.log();
    scene.clock.advance(time::Duration::MINUTE);
    scene.report("east", 2, &report).await.unwrap();
    assert_eq!(scene.log(), written);
    let after = scene.status().await;
    assert_eq!(after.statuses, before.statuses);
    let time =
        |status: &pullpass_api::grant::v1::GetSyncStatusResponse| status.clusters[0].report_time.unwrap();
    assert_eq!(time(&after).seconds - time(&before).seconds, 60);
    scene.report("east", 2, &[]).await.unwrap();
    assert_ne!(scene.log(), written, "the control: news is written");
    assert_eq!((scene.revision().await, scene.audit().await.len()), (2, 2));
}

#[tokio::test]
async fn a_status_can_be_asked_for_in_part() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    for id in ["a", "b"] {
        scene.create_link(id, &["east", "west"]).await.unwrap();
    }
    let ask = |names: &[&str], cluster: &str| {
        let names = names.iter().map(ToString::to_string).collect();
        scene.service.get_sync_status(portal(GetSyncStatusRequest { names, cluster: cluster.into() }))
    };
    let by_name = ask(&["secretLinks/b", "secretLinks/gone"], "").await.unwrap().into_inner();
    assert_eq!((by_name.statuses.len(), by_name.clusters.len()), (2, 2));
    let both = ask(&["secretLinks/b"], "clusters/west").await.unwrap().into_inner();
    assert_eq!(states(&both.statuses), [("secretLinks/b", "clusters/west", SyncState::Pending)]);
    assert_eq!(both.clusters.len(), 1);
    let none = ask(&[], "clusters/north").await.unwrap().into_inner();
    assert_eq!((none.statuses.len(), none.clusters.len()), (0, 0));
}

#[tokio::test]
async fn a_watch_tells_at_once_and_on_every_change_of_either_side() {
    let scene = Scene::with_clusters(&["east"]).await;
    let mut stream = watch(&scene).await;
    assert_eq!(next(&mut stream).await.statuses, []);
    scene.create_link("web", &["east"]).await.unwrap();
    assert_eq!(next(&mut stream).await.statuses[0].state(), SyncState::Pending);
    scene.report("east", 2, &[status_of("secretLinks/web", 2)]).await.unwrap();
    assert_eq!(next(&mut stream).await.statuses[0].state(), SyncState::Synced);
    scene.delete_link("web").await.unwrap();
    assert_eq!(next(&mut stream).await.statuses[0].state(), SyncState::Deleting);
    scene.report("east", 3, &[]).await.unwrap();
    until(&mut stream, |status| status.statuses.is_empty()).await;
}

#[tokio::test]
async fn a_watch_is_silent_while_nothing_changes_and_woken_by_every_kind_of_change() {
    let scene = Scene::with_clusters(&["east"]).await;
    let mut stream = watch(&scene).await;
    next(&mut stream).await;
    quiet(&mut stream).await;
    scene.create_link("web", &["east"]).await.unwrap();
    next(&mut stream).await;
    quiet(&mut stream).await;
    scene.report("east", 2, &[status_of("secretLinks/web", 2)]).await.unwrap();
    next(&mut stream).await;
    quiet(&mut stream).await;
    let _open = scene.watch("east", 0).await.unwrap();
    next(&mut stream).await;
}

#[tokio::test]
async fn a_slow_watcher_gets_the_newest_status_and_not_every_one() {
    let scene = Scene::with_clusters(&["east"]).await;
    let mut stream = watch(&scene).await;
    next(&mut stream).await;
    for id in ["a", "b", "c"] {
        scene.create_link(id, &["east"]).await.unwrap();
    }
    assert_eq!(next(&mut stream).await.statuses.len(), 3);
}

#[tokio::test]
async fn a_cluster_is_connected_while_its_stream_is_open() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let mut stream = watch(&scene).await;
    assert!(!next(&mut stream).await.clusters[0].connected);
    let first = scene.watch("east", 0).await.unwrap();
    let status = next(&mut stream).await;
    assert!(status.clusters[0].connected);
    assert!(status.statuses[0].reasons[0].message.contains("is connected"));
    let second = scene.watch("east", 0).await.unwrap();
    drop(first);
    assert!(scene.status().await.clusters[0].connected, "one of two is still open");
    drop(second);
    until(&mut stream, |status| !status.clusters[0].connected).await;
}

#[tokio::test]
async fn a_status_watch_ends_when_the_service_stops() {
    let scene = Scene::new().await;
    let mut stream = watch(&scene).await;
    next(&mut stream).await;
    scene.shutdown.begin();
    assert_eq!(soon(stream.next()).await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(soon(stream.next()).await.is_none());
}
