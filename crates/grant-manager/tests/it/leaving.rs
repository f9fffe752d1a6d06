use pullpass_api::grant::v1::{
    Cluster, ClusterLeave, GetClusterRequest, LeaveClusterRequest, LeaveClusterResponse, SyncStatus,
    grant_manager_server::GrantManager as _, watch_desired_state_response::Event,
};
use tonic::{Code, Status};

use crate::scene::{Scene, portal, refusal, status_of};

async fn leave(scene: &Scene, id: &str, leave: ClusterLeave) -> Result<LeaveClusterResponse, Status> {
    let request =
        LeaveClusterRequest { name: format!("clusters/{id}"), leave: leave.into(), ..Default::default() };
    Ok(scene.service.leave_cluster(portal(request)).await?.into_inner())
}

async fn cluster(scene: &Scene, id: &str) -> Result<Cluster, Status> {
    let request = GetClusterRequest { name: format!("clusters/{id}") };
    Ok(scene.service.get_cluster(portal(request)).await?.into_inner().cluster.unwrap())
}

async fn is_gone(scene: &Scene, id: &str) -> bool {
    cluster(scene, id).await.is_err_and(|status| status.code() == Code::NotFound)
}

#[tokio::test]
async fn a_cluster_that_leaves_is_taken_out_of_everything_and_forgotten_when_nothing_is_left() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("both", &["east", "west"]).await.unwrap();
    scene.create_link("only", &["east"]).await.unwrap();
    scene.create_grant("only", &["east"]).await.unwrap();
    let left = leave(&scene, "east", ClusterLeave::TakeBack).await.unwrap();
    assert_eq!(left.deleted, ["secretLinks/only", "imageGrants/only"]);
    let east = left.cluster.unwrap();
    assert!(east.delete_time.is_some() && east.leave() == ClusterLeave::TakeBack, "{east:?}");
    assert_eq!(cluster(&scene, "east").await.unwrap(), east);
    assert_eq!(scene.get_link("both").await.unwrap().clusters, ["clusters/west"]);
    assert!(
        scene.get_link("only").await.unwrap().delete_time.is_some(),
        "it is there until it is taken back"
    );

    let seen = scene.revision().await;
    scene.report("east", east.revision - 1, &[]).await.unwrap();
    assert!(!is_gone(&scene, "east").await, "the report was made before");
    let unknown = SyncStatus { leaving: 1, ..status_of("secretLinks/unknown", 0) };
    scene.report("east", seen, std::slice::from_ref(&unknown)).await.unwrap();
    assert_eq!(refusal(scene.get_link("only").await).0, Code::NotFound);
    assert!(!is_gone(&scene, "east").await, "something is left, though nobody knows of it here");
    scene.report("east", seen, &[]).await.unwrap();
    assert!(is_gone(&scene, "east").await);
    assert_eq!(refusal(scene.watch("east", 0).await).1, "CLUSTER_NOT_REGISTERED");
    let last = scene.audit().await.pop().unwrap();
    assert_eq!((last.action.as_str(), last.resource.as_str()), ("ReportSync", "clusters/east"));
    scene.create_cluster("east").await.unwrap();
}

#[tokio::test]
async fn the_applier_learns_how_its_cluster_leaves_before_it_hears_that_anything_is_gone() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let mut east = scene.watch("east", 0).await.unwrap();
    let (_, seen) = east.snapshot().await;
    leave(&scene, "east", ClusterLeave::Keep).await.unwrap();
    assert_eq!(refusal(east.next().await), (Code::OutOfRange, "REGISTERED_SINCE".into()));
    assert_eq!(refusal(scene.watch("east", seen).await), (Code::OutOfRange, "REGISTERED_SINCE".into()));
    let first = scene.watch("east", 0).await.unwrap().next().await.unwrap();
    let Some(Event::SnapshotEnd(end)) = first.event else { panic!("nothing applies: {first:?}") };
    assert_eq!(end.leave(), ClusterLeave::Keep);
}

#[tokio::test]
async fn a_cluster_that_leaves_gets_nothing_new_and_keeps_its_name_and_its_way() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    scene.report("east", link.revision, &[status_of(&link.name, link.revision)]).await.unwrap();
    let left = leave(&scene, "east", ClusterLeave::Keep).await.unwrap().cluster.unwrap();
    let revision = scene.revision().await;
    let again = leave(&scene, "east", ClusterLeave::Keep).await.unwrap();
    assert_eq!((again.cluster.unwrap(), again.deleted), (left, vec![]));
    assert_eq!(scene.revision().await, revision, "once begun there is nothing more to do");
    let other = leave(&scene, "east", ClusterLeave::Unspecified).await;
    assert_eq!(refusal(other), (Code::FailedPrecondition, "BEING_TAKEN_BACK".into()));
    let refused = scene.create_link("late", &["west", "east"]).await.unwrap_err();
    assert!(refused.message().contains("is leaving"), "{refused:?}");
    assert_eq!(refusal(Err::<(), _>(refused)), (Code::InvalidArgument, "secret_link.clusters[1]".into()));
    let taken = (Code::AlreadyExists, "BEING_TAKEN_BACK".to_owned());
    assert_eq!(refusal(scene.create_cluster("east").await), taken);
}

#[tokio::test]
async fn a_checked_departure_changes_nothing_and_a_way_that_is_not_known_is_refused() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let revision = scene.revision().await;
    let request = |leave: i32, etag: &str| {
        let request = LeaveClusterRequest {
            name: "clusters/east".into(),
            validate_only: true,
            etag: etag.into(),
            leave,
        };
        scene.service.leave_cluster(portal(request))
    };
    assert_eq!(request(0, "").await.unwrap().into_inner().deleted, ["secretLinks/web"]);
    assert_eq!(refusal(request(7, "").await), (Code::InvalidArgument, "leave".into()));
    assert_eq!(refusal(request(0, "x").await).0, Code::Aborted);
    assert_eq!(scene.revision().await, revision);
    assert_eq!(cluster(&scene, "east").await.unwrap().delete_time, None);
    assert_eq!(refusal(leave(&scene, "north", ClusterLeave::Keep).await).0, Code::NotFound);
}

#[tokio::test]
async fn a_deletion_that_waits_for_the_cluster_ends_with_it() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    scene.delete_link("web").await.unwrap();
    assert_eq!(leave(&scene, "east", ClusterLeave::TakeBack).await.unwrap().deleted, [""; 0]);
    scene.report("east", scene.revision().await, &[]).await.unwrap();
    assert_eq!(refusal(scene.get_link("web").await).0, Code::NotFound);
    assert!(is_gone(&scene, "east").await);
}

#[tokio::test]
async fn a_cluster_for_which_nothing_is_declared_leaves_when_its_applier_has_looked() {
    let scene = Scene::with_clusters(&["east"]).await;
    let east = leave(&scene, "east", ClusterLeave::TakeBack).await.unwrap().cluster.unwrap();
    scene.report("east", east.revision - 1, &[]).await.unwrap();
    assert!(!is_gone(&scene, "east").await, "the report was made before");
    scene.report("east", east.revision, &[]).await.unwrap();
    assert!(is_gone(&scene, "east").await);
}
