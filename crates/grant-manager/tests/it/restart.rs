use pullpass_api::grant::v1::SyncState;

use crate::scene::{Scene, refusal, status_of};

#[tokio::test]
async fn a_restart_keeps_everything_that_was_acknowledged() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    let link = scene.create_link("web", &["east", "west"]).await.unwrap();
    scene.create_link("old", &["east", "west"]).await.unwrap();
    let deleted = scene.delete_link("old").await.unwrap();
    let statuses = [status_of("secretLinks/web", link.revision)];
    scene.report("east", deleted.revision, &statuses).await.unwrap();
    let watch = scene.watch("east", 0).await.unwrap();
    let (before, audit) = (scene.status().await, scene.audit().await);
    drop(watch);

    let scene = scene.restart().await;
    let mut after = scene.status().await;
    assert!(!after.clusters[0].connected);
    after.clusters[0].connected = true;
    assert_eq!(after.clusters, before.clusters);
    let states = |status: &pullpass_api::grant::v1::GetSyncStatusResponse| -> Vec<SyncState> {
        status.statuses.iter().map(pullpass_api::grant::v1::SyncStatus::state).collect()
    };
    assert_eq!(states(&after), states(&before));
    assert_eq!(states(&after), [SyncState::Deleting, SyncState::Synced, SyncState::Pending]);
    assert_eq!(scene.audit().await, audit);
    assert_eq!(scene.get_link("web").await.unwrap(), link);

    let mut resumed = scene.watch("east", link.revision).await.unwrap();
    assert_eq!(resumed.tell().await, (4, "removed secretLinks/old".into()));
    assert_eq!(resumed.tell().await, (5, "removed secretLinks/old".into()));
    scene.report("west", deleted.revision, &[]).await.unwrap();
    assert_eq!(refusal(scene.get_link("old").await).1, "NOT_FOUND");
    assert_eq!(resumed.tell().await, (6, String::new()));
}
