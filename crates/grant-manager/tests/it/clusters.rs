use pullpass_api::grant::v1::{
    Cluster, CreateClusterRequest, DeleteClusterRequest, UpdateClusterRequest, UpdateSecretLinkRequest,
    grant_manager_server::GrantManager as _,
};
use tonic::{Code, Status};

use crate::scene::{Scene, a_link, applier, mask, portal, refusal, status_of};

async fn delete(scene: &Scene, id: &str, force: bool) -> Result<(), Status> {
    let request = DeleteClusterRequest { name: format!("clusters/{id}"), force, ..Default::default() };
    scene.service.delete_cluster(portal(request)).await.map(drop)
}

async fn appoint(scene: &Scene, id: &str, identity: &str) -> Result<Cluster, Status> {
    let cluster =
        Cluster { name: format!("clusters/{id}"), applier_identity: identity.into(), ..Cluster::default() };
    let request = UpdateClusterRequest {
        cluster: Some(cluster),
        update_mask: Some(mask(&["applier_identity"])),
        validate_only: false,
    };
    Ok(scene.service.update_cluster(portal(request)).await?.into_inner().cluster.unwrap())
}

#[tokio::test]
async fn an_applier_identity_is_a_spiffe_id_and_serves_one_cluster() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    let create = |identity: &str, name: &str| {
        let cluster = Cluster { applier_identity: identity.into(), name: name.into(), ..Cluster::default() };
        let request =
            CreateClusterRequest { cluster_id: "north".into(), cluster: Some(cluster), ..Default::default() };
        scene.service.create_cluster(portal(request))
    };
    let invalid = (Code::InvalidArgument, "cluster.applier_identity".to_owned());
    assert_eq!(refusal(create("east", "").await), invalid);
    assert_eq!(refusal(create("", "").await), invalid);
    let taken = (Code::AlreadyExists, "APPLIER_IDENTITY_TAKEN".to_owned());
    assert_eq!(refusal(create(&applier("east"), "").await), taken);
    assert_eq!(
        refusal(create(&applier("east"), "clusters/east").await),
        taken,
        "whatever name is in the message"
    );
    assert_eq!(refusal(appoint(&scene, "west", &applier("east")).await), taken);
    let same = appoint(&scene, "west", &applier("west")).await.unwrap();
    assert_eq!(same.revision, 2, "nothing changed");
    assert_eq!(appoint(&scene, "west", &applier("w2")).await.unwrap().revision, 3);
    scene.watch("w2", 0).await.unwrap();
    assert_eq!(refusal(scene.watch("west", 0).await).1, "CLUSTER_NOT_REGISTERED");
}

#[tokio::test]
async fn a_cluster_in_use_is_deleted_by_force_only() {
    let scene = Scene::with_clusters(&["east"]).await;
    for id in ["a", "b", "c", "d"] {
        scene.create_link(id, &["east"]).await.unwrap();
    }
    let status = delete(&scene, "east", false).await.unwrap_err();
    assert!(
        status.message().contains("secretLinks/a, secretLinks/b, secretLinks/c, 1 more"),
        "{}",
        status.message()
    );
    assert_eq!(refusal(Err::<(), _>(status)), (Code::FailedPrecondition, "CLUSTER_IN_USE".into()));
    delete(&scene, "east", true).await.unwrap();
    assert_eq!(refusal(delete(&scene, "east", true).await).0, Code::NotFound);
}

#[tokio::test]
async fn force_takes_the_cluster_out_of_links_and_purges_those_left_with_none() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("both", &["east", "west"]).await.unwrap();
    scene.create_link("only", &["east"]).await.unwrap();
    scene.create_grant("only", &["east"]).await.unwrap();
    scene.create_link("other", &["west"]).await.unwrap();
    let mut west = scene.watch("west", 0).await.unwrap();
    let (_, seen) = west.snapshot().await;
    delete(&scene, "east", true).await.unwrap();
    let both = scene.get_link("both").await.unwrap();
    assert_eq!((both.clusters.as_slice(), both.delete_time), (&["clusters/west".to_owned()][..], None));
    assert_eq!(refusal(scene.get_link("only").await).0, Code::NotFound);
    let status = scene.status().await;
    let names: Vec<_> = status.statuses.iter().map(|s| (s.name.as_str(), s.cluster.as_str())).collect();
    assert_eq!(names, [("secretLinks/both", "clusters/west"), ("secretLinks/other", "clusters/west")]);
    assert_eq!(west.tell().await, (seen + 1, "secretLinks/both".into()));
    assert_eq!(west.tell().await, (seen + 4, String::new()));
}

#[tokio::test]
async fn force_releases_deletions_that_wait_for_the_cluster() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("both", &["east", "west"]).await.unwrap();
    scene.create_link("only", &["east"]).await.unwrap();
    let deleted = scene.delete_link("both").await.unwrap();
    scene.delete_link("only").await.unwrap();
    delete(&scene, "east", true).await.unwrap();
    assert_eq!(refusal(scene.get_link("only").await).0, Code::NotFound);
    assert_eq!(scene.get_link("both").await.unwrap().clusters, ["clusters/west"]);
    scene.report("west", deleted.revision, &[]).await.unwrap();
    assert_eq!(refusal(scene.get_link("both").await).0, Code::NotFound);
}

#[tokio::test]
async fn a_link_that_only_has_clusters_to_leave_is_deleted_until_they_have_confirmed() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("web", &["east", "west"]).await.unwrap();
    let moved = scene.move_link("web", &["east"]).await;
    delete(&scene, "east", true).await.unwrap();
    assert!(scene.get_link("web").await.unwrap().delete_time.is_some());
    scene.report("west", moved.revision, &[]).await.unwrap();
    assert_eq!(refusal(scene.get_link("web").await).0, Code::NotFound);
}

#[tokio::test]
async fn the_applier_of_a_forgotten_cluster_hears_no_removals_and_then_nothing() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("web", &["east", "west"]).await.unwrap();
    let mut east = scene.watch("east", 0).await.unwrap();
    east.snapshot().await;
    delete(&scene, "east", true).await.unwrap();
    assert_eq!(refusal(east.next().await), (Code::PermissionDenied, "CLUSTER_NOT_REGISTERED".into()));
    assert!(east.ended().await);
    assert_eq!(refusal(scene.report("east", 1, &[]).await).0, Code::PermissionDenied);
}

#[tokio::test]
async fn a_cluster_that_is_registered_again_begins_anew() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    scene.report("east", link.revision, &[status_of("secretLinks/web", link.revision)]).await.unwrap();
    delete(&scene, "east", true).await.unwrap();
    scene.create_cluster("east").await.unwrap();
    let answer = scene.watch("east", link.revision).await;
    assert_eq!(refusal(answer), (Code::OutOfRange, "REGISTERED_SINCE".into()));
    let status = scene.status().await.clusters.remove(0);
    assert_eq!((status.observed_revision, status.report_time), (0, None));
}

#[tokio::test]
async fn an_identity_that_loses_its_cluster_is_cut_off() {
    let scene = Scene::with_clusters(&["east"]).await;
    let mut east = scene.watch("east", 0).await.unwrap();
    east.snapshot().await;
    appoint(&scene, "east", &applier("new")).await.unwrap();
    assert_eq!(refusal(east.next().await), (Code::PermissionDenied, "CLUSTER_NOT_REGISTERED".into()));
}

#[tokio::test]
async fn a_checked_deletion_by_force_leaves_everything() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let request = DeleteClusterRequest {
        name: "clusters/east".into(),
        force: true,
        validate_only: true,
        ..Default::default()
    };
    scene.service.delete_cluster(portal(request)).await.unwrap();
    assert_eq!(scene.get_link("web").await.unwrap().clusters, ["clusters/east"]);
    let stale = DeleteClusterRequest { name: "clusters/east".into(), etag: "x".into(), ..Default::default() };
    assert_eq!(refusal(scene.service.delete_cluster(portal(stale)).await).0, Code::Aborted);
    let link = pullpass_api::grant::v1::SecretLink { name: "secretLinks/web".into(), ..a_link(&["east"]) };
    let touch = UpdateSecretLinkRequest {
        secret_link: Some(link),
        update_mask: Some(mask(&["clusters"])),
        validate_only: false,
    };
    scene.service.update_secret_link(portal(touch)).await.unwrap();
}
