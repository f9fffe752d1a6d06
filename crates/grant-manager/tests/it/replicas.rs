//! Two replicas on one database: whichever is asked answers the same. Always over `PostgreSQL`: a file is one replica's.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pullpass_api::grant::v1::{
    ClusterStatus, SyncState, SyncStatus, WatchSyncStatusRequest, grant_manager_server::GrantManager as _,
};
use pullpass_test_database::TestDatabase;

use crate::scene::{Scene, portal, soon, status_of};

async fn two() -> (Scene, Scene) {
    let one = Scene::on(TestDatabase::postgres()).await;
    one.create_cluster("east").await.unwrap();
    let two = one.beside().await;
    (one, two)
}

/// The status of the only cluster, once it is so.
async fn once(scene: &Scene, what: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
    let began = Instant::now();
    loop {
        let cluster = scene.status().await.clusters.remove(0);
        if what(&cluster) {
            return cluster;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "the last seen: {cluster:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn streams_on_both_see_what_is_written_to_either_once_and_in_order() {
    let (one, two) = two().await;
    let mut streams = [one.watch("east", 0).await.unwrap(), two.watch("east", 0).await.unwrap()];
    for stream in &mut streams {
        assert_eq!(stream.snapshot().await, (vec![], 1));
    }
    let mut expected = Vec::new();
    for n in 0..20 {
        let scene = if n % 3 == 0 { &one } else { &two };
        let link = scene.create_link(&format!("web-{n}"), &["east"]).await.unwrap();
        expected.push((link.revision, link.name));
    }
    assert_eq!(
        expected.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(),
        (2..22).collect::<Vec<_>>()
    );
    for mut stream in streams {
        for told in &expected {
            assert_eq!(stream.tell().await, *told);
        }
    }
}

#[tokio::test]
async fn the_status_is_the_same_whichever_is_asked() {
    let (one, two) = two().await;
    let link = one.create_link("web", &["east"]).await.unwrap();
    let stream = one.watch("east", 0).await.unwrap();
    once(&two, |cluster| cluster.connected).await;
    let mut watch =
        two.service.watch_sync_status(portal(WatchSyncStatusRequest::default())).await.unwrap().into_inner();
    one.clock.advance(time::Duration::SECOND);
    one.report("east", link.revision, &[status_of(&link.name, link.revision)]).await.unwrap();
    // Nobody wrote a change: the other replica has to hear of the report.
    while soon(watch.next()).await.unwrap().unwrap().statuses[0].state() != SyncState::Synced {}
    let reported = one.status().await.clusters.remove(0).report_time;
    // Until two talks have told nothing new.
    while tokio::time::timeout(Duration::from_secs(2), watch.next()).await.is_ok() {}
    // The next one comes at the same time by the clock: nothing but the report itself is new.
    let failed = SyncStatus { failed: 1, ..status_of(&link.name, link.revision) };
    one.report("east", link.revision, &[failed]).await.unwrap();
    while soon(watch.next()).await.unwrap().unwrap().statuses[0].state() != SyncState::Failed {}

    one.clock.advance(time::Duration::SECOND);
    one.report("east", link.revision, &[status_of(&link.name, link.revision)]).await.unwrap();
    let again = one.status().await.clusters.remove(0).report_time;
    assert_ne!(again, reported);
    once(&two, |cluster| cluster.report_time == again).await;
    drop(stream);
    once(&two, |cluster| !cluster.connected).await;
}

#[tokio::test]
async fn a_replica_that_is_gone_has_no_streams_any_more() {
    let (one, two) = two().await;
    let _stream = one.watch("east", 0).await.unwrap();
    once(&two, |cluster| cluster.connected).await;
    one.end().await;
    two.clock.advance(time::Duration::seconds(21));
    once(&two, |cluster| !cluster.connected).await;
}
