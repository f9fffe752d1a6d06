use pullpass_api::grant::v1::{SecretLink, SyncState, SyncStatus};
use tonic::Code;

use crate::scene::{Scene, refusal, status_of};

fn leaving(revision: i64) -> SyncStatus {
    SyncStatus { leaving: 1, ..status_of("secretLinks/web", revision) }
}

async fn is_gone(scene: &Scene) -> bool {
    scene.get_link("web").await.is_err_and(|status| status.code() == Code::NotFound)
}

#[tokio::test]
async fn a_deleted_link_stays_until_its_cluster_has_nothing_left_of_it() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    scene.report("east", link.revision, &[status_of(&link.name, link.revision)]).await.unwrap();
    let deleted = scene.delete_link("web").await.unwrap();
    assert!(deleted.delete_time.is_some());
    assert_eq!(scene.get_link("web").await.unwrap(), deleted);

    scene.report("east", link.revision, &[]).await.unwrap();
    assert!(!is_gone(&scene).await, "the report was made before the deletion was seen");
    scene.report("east", deleted.revision, &[leaving(deleted.revision)]).await.unwrap();
    assert!(!is_gone(&scene).await, "the cluster still holds traces");
    let status = scene.status().await.statuses.remove(0);
    assert_eq!((status.state(), status.leaving), (SyncState::Deleting, 1));

    scene.report("east", deleted.revision, &[]).await.unwrap();
    assert!(is_gone(&scene).await);
    assert_eq!(scene.status().await.statuses, []);
    assert_eq!(scene.revision().await, deleted.revision + 1);
}

#[tokio::test]
async fn a_status_without_leaving_confirms_like_no_status() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let deleted = scene.delete_link("web").await.unwrap();
    let nothing = SyncStatus { name: deleted.name.clone(), revision: deleted.revision, ..Default::default() };
    scene.report("east", deleted.revision, &[nothing]).await.unwrap();
    assert!(is_gone(&scene).await);
}

#[tokio::test]
async fn every_cluster_has_to_confirm() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("web", &["east", "west"]).await.unwrap();
    let deleted = scene.delete_link("web").await.unwrap();
    scene.report("east", deleted.revision, &[]).await.unwrap();
    assert!(!is_gone(&scene).await);
    let statuses = scene.status().await.statuses;
    assert_eq!(statuses.iter().map(|s| s.cluster.as_str()).collect::<Vec<_>>(), ["clusters/west"]);
    scene.report("west", deleted.revision, &[]).await.unwrap();
    assert!(is_gone(&scene).await);
}

#[tokio::test]
async fn deleting_again_changes_nothing() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let deleted = scene.delete_link("web").await.unwrap();
    scene.clock.advance(time::Duration::HOUR);
    assert_eq!(scene.delete_link("web").await.unwrap(), deleted);
    assert_eq!(scene.revision().await, deleted.revision);
}

#[tokio::test]
async fn what_is_being_taken_back_cannot_be_changed_and_keeps_its_name() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let deleted = scene.delete_link("web").await.unwrap();
    let changed = SecretLink { secret_name: "x".into(), ..deleted.clone() };
    let answer = scene.update_link(changed, &["secret_name"]).await;
    assert_eq!(refusal(answer), (Code::FailedPrecondition, "BEING_TAKEN_BACK".into()));
    let status = scene.create_link("web", &["east"]).await.unwrap_err();
    assert!(status.message().contains("being taken back from clusters/east"), "{}", status.message());
    assert_eq!(refusal(Err::<(), _>(status)), (Code::AlreadyExists, "BEING_TAKEN_BACK".into()));
    scene.report("east", deleted.revision, &[]).await.unwrap();
    let again = scene.create_link("web", &["east"]).await.unwrap();
    assert_ne!(again.uid, deleted.uid);
}

#[tokio::test]
async fn a_cluster_that_is_taken_out_is_shown_until_it_confirms() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("web", &["east", "west"]).await.unwrap();
    let moved = scene.move_link("web", &["east"]).await;
    let states = |statuses: &[SyncStatus]| -> Vec<_> {
        statuses.iter().map(|s| (s.cluster.clone(), s.state())).collect()
    };
    let (east, west) = ("clusters/east".to_owned(), "clusters/west".to_owned());
    assert_eq!(
        states(&scene.status().await.statuses),
        [(east.clone(), SyncState::Pending), (west.clone(), SyncState::Deleting)]
    );
    scene.report("west", moved.revision, &[leaving(moved.revision)]).await.unwrap();
    assert_eq!(scene.status().await.statuses.len(), 2);
    scene.report("west", moved.revision, &[]).await.unwrap();
    assert_eq!(states(&scene.status().await.statuses), [(east, SyncState::Pending)]);
    assert!(!is_gone(&scene).await);
}

#[tokio::test]
async fn a_cluster_that_comes_back_before_it_has_confirmed_stays() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("web", &["east", "west"]).await.unwrap();
    let moved = scene.move_link("web", &["east"]).await;
    scene.move_link("web", &["east", "west"]).await;
    scene.report("west", moved.revision, &[]).await.unwrap();
    let status = scene.status().await;
    assert_eq!(status.statuses.len(), 2, "an old confirmation does not take it out: {status:?}");
}

#[tokio::test]
async fn a_deletion_also_waits_for_a_cluster_that_was_taken_out_before() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("web", &["east", "west"]).await.unwrap();
    scene.move_link("web", &["east"]).await;
    let deleted = scene.delete_link("web").await.unwrap();
    scene.report("east", deleted.revision, &[]).await.unwrap();
    assert!(!is_gone(&scene).await);
    scene.report("west", deleted.revision, &[]).await.unwrap();
    assert!(is_gone(&scene).await);
}

#[tokio::test]
async fn a_report_from_ahead_of_us_confirms_nothing() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let deleted = scene.delete_link("web").await.unwrap();
    let answer = scene.report("east", deleted.revision + 1, &[]).await;
    assert_eq!(refusal(answer), (Code::OutOfRange, "REVISION_AHEAD".into()));
    assert!(!is_gone(&scene).await);
}
