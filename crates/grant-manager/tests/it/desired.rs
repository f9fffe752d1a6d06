use pullpass_api::grant::v1::{WatchDesiredStateRequest, watch_desired_state_response::Event};
use tonic::Code;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::scene::{EPOCH, Scene, refusal};

#[tokio::test]
async fn an_applier_without_a_cluster_is_told_what_to_do() {
    let scene = Scene::new().await;
    let status = scene.watch("east", 0).await.err().unwrap();
    assert!(status.message().contains("pullpass cluster create"), "{}", status.message());
    assert_eq!(refusal(Err::<(), _>(status)), (Code::PermissionDenied, "CLUSTER_NOT_REGISTERED".into()));
    assert_eq!(refusal(scene.report("east", 0, &[]).await).1, "CLUSTER_NOT_REGISTERED");
}

#[tokio::test]
async fn a_snapshot_has_what_applies_to_the_cluster_and_ends() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("b", &["east", "west"]).await.unwrap();
    scene.create_link("a", &["east"]).await.unwrap();
    scene.create_link("deleted", &["east"]).await.unwrap();
    scene.delete_link("deleted").await.unwrap();
    scene.create_grant("g", &["east"]).await.unwrap();
    scene.create_link("other", &["west"]).await.unwrap();
    let mut watch = scene.watch("east", 0).await.unwrap();
    for name in ["secretLinks/a", "secretLinks/b", "imageGrants/g"] {
        assert_eq!(watch.tell().await, (0, name.into()));
    }
    assert_eq!(watch.tell().await, (8, "end clusters/east".into()));
}

#[tokio::test]
async fn an_empty_cluster_has_an_empty_snapshot() {
    let scene = Scene::with_clusters(&["east"]).await;
    assert_eq!(scene.watch("east", 0).await.unwrap().snapshot().await, (vec![], 1));
}

#[tokio::test]
async fn changes_follow_the_snapshot_and_others_only_move_the_revision() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    let mut watch = scene.watch("east", 0).await.unwrap();
    watch.snapshot().await;
    scene.create_link("web", &["east"]).await.unwrap();
    assert_eq!(watch.tell().await, (3, "secretLinks/web".into()));
    scene.create_link("other", &["west"]).await.unwrap();
    assert_eq!(watch.tell().await, (4, String::new()));
    scene.create_grant("g", &["west", "east"]).await.unwrap();
    assert_eq!(watch.tell().await, (5, "imageGrants/g".into()));
    scene.create_cluster("north").await.unwrap();
    assert_eq!(watch.tell().await, (6, String::new()));
    scene.move_link("web", &["west"]).await;
    assert_eq!(watch.tell().await, (7, "removed secretLinks/web".into()));
    scene.move_link("web", &["west", "north"]).await;
    assert_eq!(watch.tell().await, (8, String::new()), "no longer of our concern");
    scene.move_link("web", &["east"]).await;
    assert_eq!(watch.tell().await, (9, "secretLinks/web".into()));
    scene.delete_link("web").await.unwrap();
    assert_eq!(watch.tell().await, (10, "removed secretLinks/web".into()));
}

#[tokio::test]
async fn a_name_that_another_cluster_uses_is_never_told() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("secret-project", &["west"]).await.unwrap();
    let deleted = scene.delete_link("secret-project").await.unwrap();
    scene.report("west", deleted.revision, &[]).await.unwrap();
    let mut watch = scene.watch("east", 2).await.unwrap();
    assert_eq!(watch.tell().await, (5, String::new()));
}

#[tokio::test]
async fn a_watch_resumes_after_any_revision() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("a", &["east"]).await.unwrap();
    scene.create_link("b", &["east"]).await.unwrap();
    scene.create_link("other", &["west"]).await.unwrap();
    let deleted = scene.delete_link("a").await.unwrap();
    scene.report("east", deleted.revision, &[]).await.unwrap();
    let whole = [(3, "removed secretLinks/a"), (4, "secretLinks/b"), (6, "removed secretLinks/a"), (7, "")];
    for after in 2..7 {
        let mut watch = scene.watch("east", after).await.unwrap();
        for (revision, what) in whole.iter().filter(|(revision, _)| *revision > after) {
            assert_eq!(watch.tell().await, (*revision, (*what).to_owned()), "after {after}");
        }
    }
    let mut watch = scene.watch("east", 7).await.unwrap();
    scene.create_link("c", &["east"]).await.unwrap();
    assert_eq!(watch.tell().await, (8, "secretLinks/c".into()));
}

#[tokio::test]
async fn what_we_do_not_have_yet_cannot_be_resumed_from() {
    let scene = Scene::with_clusters(&["east"]).await;
    assert_eq!(refusal(scene.watch("east", 2).await), (Code::OutOfRange, "REVISION_AHEAD".into()));
    assert_eq!(refusal(scene.watch("east", -1).await), (Code::InvalidArgument, "after_revision".into()));
}

#[tokio::test]
async fn what_another_database_told_cannot_be_resumed_from() {
    let scene = Scene::with_clusters(&["east"]).await;
    let told = scene.watch("east", 0).await.unwrap().next().await.unwrap();
    let Some(Event::SnapshotEnd(end)) = told.event else { panic!("no end: {told:?}") };
    assert!(scene.watch_of("east", told.revision, &end.cluster_uid).await.is_ok());
    let another = scene.watch_of("east", told.revision, "of-another-database").await;
    assert_eq!(refusal(another), (Code::OutOfRange, "REGISTERED_SINCE".into()));
}

#[tokio::test]
async fn what_another_history_told_cannot_be_resumed_from_however_far_this_one_is() {
    let scene = Scene::with_clusters(&["east"]).await;
    let told = scene.watch("east", 0).await.unwrap().next().await.unwrap();
    let Some(Event::SnapshotEnd(end)) = told.event else { panic!("no end: {told:?}") };
    assert_eq!(end.epoch, EPOCH);
    let resume = async |epoch: &str| {
        let request = WatchDesiredStateRequest {
            after_revision: told.revision,
            cluster_uid: end.cluster_uid.clone(),
            epoch: epoch.into(),
        };
        scene.watch_as("east", request).await
    };
    assert!(resume(EPOCH).await.is_ok() && resume("").await.is_ok());
    assert_eq!(refusal(resume("another-epoch").await), (Code::OutOfRange, "EPOCH_CHANGED".into()));
}

#[tokio::test]
async fn streams_end_when_the_service_stops() {
    let scene = Scene::with_clusters(&["east"]).await;
    let mut watch = scene.watch("east", 0).await.unwrap();
    watch.snapshot().await;
    scene.shutdown.begin();
    assert_eq!(refusal(watch.next().await), (Code::Unavailable, "SHUTTING_DOWN".into()));
    assert!(watch.ended().await);
}

#[tokio::test]
async fn a_change_carries_the_trace_of_the_call_that_made_it() {
    use opentelemetry::trace::TracerProvider as _;
    use tracing::Instrument as _;
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _traced = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let scene = Scene::with_clusters(&["east"]).await;
    let mut watch = scene.watch("east", 0).await.unwrap();
    watch.snapshot().await;
    let span = tracing::info_span!("call");
    let id = span.in_scope(|| pullpass_runtime::telemetry::trace_context().unwrap());
    scene.create_link("web", &["east"]).instrument(span).await.unwrap();
    let message = watch.next().await.unwrap();
    assert!(matches!(message.event, Some(Event::SecretLink(_))));
    assert_eq!(message.trace_context, id);
}
