use pullpass_api::grant::v1::{
    CreateSecretLinkRequest, DeleteImageGrantRequest, DeleteSecretLinkRequest, GetClusterRequest,
    GetImageGrantRequest, ImageGrant, ListAuditEventsRequest, ListAuditEventsResponse,
    ListSecretLinksRequest, Role, SecretLink, SecretType, UpdateImageGrantRequest, UpdateSecretLinkRequest,
    grant_manager_server::GrantManager as _, image_grant::Subject,
};
use tonic::{Code, Response, Status};

use crate::scene::{EPOCH, PORTAL, Scene, a_grant, a_link, called_by, mask, portal, refusal};

type Spoil = fn(&mut SecretLink);

const ATTEMPT: &str = "0195f7a1-0000-7000-8000-000000000001";

fn creation(id: &str, link: SecretLink) -> CreateSecretLinkRequest {
    CreateSecretLinkRequest { secret_link_id: id.into(), secret_link: Some(link), ..Default::default() }
}

async fn create(scene: &Scene, request: CreateSecretLinkRequest) -> Result<SecretLink, Status> {
    let created = scene.service.create_secret_link(portal(request)).await?;
    Ok(created.into_inner().secret_link.unwrap())
}

#[tokio::test]
async fn a_link_is_kept_with_its_defaults_and_its_stamp() {
    let scene = Scene::with_clusters(&["east"]).await;
    let sent = SecretLink { uid: "mine".into(), revision: 99, etag: "mine".into(), ..a_link(&["east"]) };
    let created = create(&scene, creation("web", sent)).await.unwrap();
    assert_eq!(created.name, "secretLinks/web");
    assert_eq!((created.secret_name.as_str(), created.secret_type()), ("web", SecretType::Dockerconfigjson));
    assert_eq!(created.revision, 2);
    assert!(created.uid.len() == 36 && created.etag != "mine" && created.delete_time.is_none());
    assert_eq!(created.create_time.unwrap().seconds, 1_800_000_000);
    assert_eq!(scene.get_link("web").await.unwrap(), created);
}

#[tokio::test]
async fn a_link_that_cannot_be_is_refused_by_its_field_and_not_kept() {
    let scene = Scene::with_clusters(&["east"]).await;
    let bad: [(&str, &str, Spoil); 5] = [
        ("WEB", "secret_link_id", |_| ()),
        ("", "secret_link_id", |_| ()),
        ("web", "secret_link.credentials", |link| link.credentials.clear()),
        ("web", "secret_link.namespaces", |link| link.namespaces = None),
        ("web", "secret_link.clusters[1]", |link| link.clusters.push("clusters/west".into())),
    ];
    for (id, field, spoil) in bad {
        let mut link = a_link(&["east"]);
        spoil(&mut link);
        let answer = create(&scene, creation(id, link)).await;
        assert_eq!(refusal(answer), (Code::InvalidArgument, field.into()));
    }
    let missing = CreateSecretLinkRequest { secret_link: None, ..creation("web", SecretLink::default()) };
    assert_eq!(refusal(create(&scene, missing).await), (Code::InvalidArgument, "secret_link".into()));
    assert_eq!(scene.revision().await, 1);
}

#[tokio::test]
async fn an_unknown_cluster_comes_with_the_remedy() {
    let scene = Scene::new().await;
    let status = scene.create_link("web", &["east"]).await.unwrap_err();
    assert!(status.message().contains("pullpass cluster create east"), "{}", status.message());
}

#[tokio::test]
async fn a_name_is_given_once() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    scene.create_grant("web", &["east"]).await.unwrap();
    let exists = (Code::AlreadyExists, "ALREADY_EXISTS".to_owned());
    assert_eq!(refusal(scene.create_link("web", &["east"]).await), exists);
    assert_eq!(refusal(scene.create_grant("web", &["east"]).await), exists);
    assert_eq!(refusal(scene.create_cluster("east").await), exists);
}

#[tokio::test]
async fn an_update_changes_the_fields_it_names_and_no_others() {
    let scene = Scene::with_clusters(&["east"]).await;
    let created = scene.create_link("web", &["east"]).await.unwrap();
    scene.clock.advance(time::Duration::HOUR);
    let mut sent = SecretLink { name: created.name.clone(), ..a_link(&["east"]) };
    sent.secret_name = "pull-secret".into();
    sent.set_secret_type(SecretType::Dockercfg);
    sent.credentials = vec!["credentials/other".into()];
    let updated = scene.update_link(sent, &["secret_name", "secret_type"]).await.unwrap();
    let mut expected = SecretLink { secret_name: "pull-secret".into(), ..created.clone() };
    expected.set_secret_type(SecretType::Dockercfg);
    expected.update_time = updated.update_time;
    (expected.revision, expected.etag) = (updated.revision, updated.etag.clone());
    assert_eq!(updated, expected);
    assert_eq!(updated.revision, created.revision + 1);
    assert_ne!((updated.update_time, &updated.etag), (created.update_time, &created.etag));
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_no_change() {
    let scene = Scene::with_clusters(&["east"]).await;
    let created = scene.create_link("web", &["east"]).await.unwrap();
    let again =
        scene.update_link(created.clone(), &["credentials", "clusters", "secret_name"]).await.unwrap();
    assert_eq!(again, created);
    assert_eq!((scene.revision().await, scene.audit().await.len()), (2, 2));
}

#[tokio::test]
async fn a_mask_names_fields_that_can_be_changed() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    for (fields, named) in [
        (&["uid"][..], "update_mask.paths[0]"),
        (&["usages", "namespaces.all"][..], "update_mask.paths[1]"),
        (&[][..], "update_mask"),
    ] {
        let answer = scene.update_link(link.clone(), fields).await;
        assert_eq!(refusal(answer), (Code::InvalidArgument, named.into()));
    }
    let request = UpdateSecretLinkRequest { secret_link: Some(link), ..Default::default() };
    let answer = scene.service.update_secret_link(portal(request)).await;
    assert_eq!(refusal(answer), (Code::InvalidArgument, "update_mask".into()));
}

#[tokio::test]
async fn an_update_is_checked_like_a_creation() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    let nowhere = SecretLink { clusters: vec!["clusters/west".into()], ..link.clone() };
    let answer = scene.update_link(nowhere, &["clusters"]).await;
    assert_eq!(refusal(answer), (Code::InvalidArgument, "secret_link.clusters[0]".into()));
    let useless = SecretLink { usages: vec![], ..link };
    let answer = scene.update_link(useless, &["usages"]).await;
    assert_eq!(refusal(answer), (Code::InvalidArgument, "secret_link.usages".into()));
}

#[tokio::test]
async fn whoever_has_seen_an_older_state_is_told() {
    let scene = Scene::with_clusters(&["east"]).await;
    let first = scene.create_link("web", &["east"]).await.unwrap();
    let second = SecretLink { secret_name: "a".into(), ..first.clone() };
    let second = scene.update_link(second, &["secret_name"]).await.unwrap();
    let stale = (Code::Aborted, "STALE_ETAG".to_owned());
    let late = SecretLink { secret_name: "b".into(), ..first.clone() };
    assert_eq!(refusal(scene.update_link(late, &["secret_name"]).await), stale);
    let delete = |etag: &str| {
        let name = first.name.clone();
        scene.service.delete_secret_link(portal(DeleteSecretLinkRequest {
            name,
            etag: etag.into(),
            validate_only: false,
        }))
    };
    assert_eq!(refusal(delete(&first.etag).await), stale);
    delete(&second.etag).await.unwrap();
}

#[tokio::test]
async fn an_attempt_that_comes_again_does_nothing_and_answers_the_same() {
    let scene = Scene::with_clusters(&["east"]).await;
    let request =
        || CreateSecretLinkRequest { request_id: ATTEMPT.into(), ..creation("web", a_link(&["east"])) };
    let first = create(&scene, request()).await.unwrap();
    assert_eq!(create(&scene, request()).await.unwrap(), first);
    assert_eq!((scene.revision().await, scene.audit().await.len()), (2, 2));
    let stranger = called_by("spiffe://d/platform/other", request());
    let answer = scene.service.create_secret_link(stranger).await;
    assert_eq!(refusal(answer), (Code::AlreadyExists, "ALREADY_EXISTS".into()));
    let other = CreateSecretLinkRequest { secret_link_id: "other".into(), ..request() };
    assert_eq!(refusal(create(&scene, other).await), (Code::InvalidArgument, "request_id".into()));
    let nonsense = CreateSecretLinkRequest { request_id: "again".into(), ..request() };
    assert_eq!(refusal(create(&scene, nonsense).await), (Code::InvalidArgument, "request_id".into()));
}

#[tokio::test]
async fn a_failed_attempt_can_be_made_again_under_its_id() {
    let scene = Scene::new().await;
    let request =
        || CreateSecretLinkRequest { request_id: ATTEMPT.into(), ..creation("web", a_link(&["east"])) };
    assert_eq!(refusal(create(&scene, request()).await).0, Code::InvalidArgument);
    scene.create_cluster("east").await.unwrap();
    create(&scene, request()).await.unwrap();
}

#[tokio::test]
async fn what_is_only_checked_leaves_no_trace() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    let before = (scene.revision().await, scene.audit().await);
    let request_id = ATTEMPT.to_owned();
    let create_only =
        CreateSecretLinkRequest { validate_only: true, request_id, ..creation("api", a_link(&["east"])) };
    assert_eq!(create(&scene, create_only).await.unwrap().secret_name, "api");
    let changed = SecretLink { secret_name: "other".into(), ..link.clone() };
    let update = UpdateSecretLinkRequest {
        secret_link: Some(changed),
        update_mask: Some(mask(&["secret_name"])),
        validate_only: true,
    };
    let answer = scene.service.update_secret_link(portal(update)).await.unwrap().into_inner();
    assert_eq!(answer.secret_link.unwrap().secret_name, "other");
    let delete =
        DeleteSecretLinkRequest { name: link.name.clone(), validate_only: true, ..Default::default() };
    let answer = scene.service.delete_secret_link(portal(delete)).await.unwrap().into_inner();
    assert!(answer.secret_link.unwrap().delete_time.is_some());
    assert_eq!((scene.revision().await, scene.audit().await), before);
    assert_eq!(scene.get_link("web").await.unwrap(), link);
    let real = CreateSecretLinkRequest { request_id: ATTEMPT.into(), ..creation("api", a_link(&["east"])) };
    create(&scene, real).await.unwrap();
}

#[tokio::test]
async fn what_is_only_checked_is_refused_for_the_same_reasons() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let taken = CreateSecretLinkRequest { validate_only: true, ..creation("web", a_link(&["east"])) };
    assert_eq!(refusal(create(&scene, taken).await).0, Code::AlreadyExists);
    let nowhere = CreateSecretLinkRequest { validate_only: true, ..creation("api", a_link(&["west"])) };
    assert_eq!(refusal(create(&scene, nowhere).await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn lists_go_page_by_page_in_order_of_name() {
    let scene = Scene::with_clusters(&["east"]).await;
    for id in ["c", "a", "e", "b", "d"] {
        scene.create_link(id, &["east"]).await.unwrap();
        scene.create_grant(id, &["east"]).await.unwrap();
    }
    let (mut names, mut sizes, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = portal(ListSecretLinksRequest { page_size: 2, page_token });
        let page = scene.service.list_secret_links(request).await.unwrap().into_inner();
        sizes.push(page.secret_links.len());
        names.extend(page.secret_links.into_iter().map(|link| link.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"].map(|id| format!("secretLinks/{id}")));
    assert_eq!(sizes, [2, 2, 1]);
    for (page_size, page_token, field) in [(-1, "", "page_size"), (0, "c2VjcmV0", "page_token")] {
        let request = portal(ListSecretLinksRequest { page_size, page_token: page_token.into() });
        let answer = scene.service.list_secret_links(request).await;
        assert_eq!(refusal(answer), (Code::InvalidArgument, field.into()));
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_what_is_no_name_is_invalid() {
    let scene = Scene::new().await;
    let missing = (Code::NotFound, "NOT_FOUND".to_owned());
    assert_eq!(refusal(scene.get_link("web").await), missing);
    assert_eq!(refusal(scene.delete_link("web").await), missing);
    let link = SecretLink { name: "secretLinks/web".into(), ..a_link(&[]) };
    assert_eq!(refusal(scene.update_link(link, &["usages"]).await), missing);
    let grant = |name: &str| portal(GetImageGrantRequest { name: name.into() });
    assert_eq!(refusal(scene.service.get_image_grant(grant("imageGrants/web")).await), missing);
    let cluster = |name: &str| portal(GetClusterRequest { name: name.into() });
    assert_eq!(refusal(scene.service.get_cluster(cluster("clusters/web")).await), missing);
    let invalid = (Code::InvalidArgument, "name".to_owned());
    assert_eq!(refusal(scene.service.get_image_grant(grant("secretLinks/web")).await), invalid);
    assert_eq!(refusal(scene.service.get_cluster(cluster("web")).await), invalid);
    let nameless = scene.update_link(a_link(&[]), &["usages"]).await;
    assert_eq!(refusal(nameless), (Code::InvalidArgument, "secret_link.name".into()));
}

#[tokio::test]
async fn a_grant_is_kept_changed_and_taken_back_like_a_link() {
    let scene = Scene::with_clusters(&["east"]).await;
    let created = scene.create_grant("devs", &["east"]).await.unwrap();
    assert_eq!((created.name.as_str(), created.role()), ("imageGrants/devs", Role::Pull));
    let changed = ImageGrant { subject: Some(Subject::User("alice".into())), ..created.clone() };
    let update = UpdateImageGrantRequest {
        image_grant: Some(changed),
        update_mask: Some(mask(&["subject"])),
        validate_only: false,
    };
    let updated =
        scene.service.update_image_grant(portal(update)).await.unwrap().into_inner().image_grant.unwrap();
    assert_eq!(updated.subject, Some(Subject::User("alice".into())));
    let delete = DeleteImageGrantRequest { name: created.name, ..Default::default() };
    let deleted =
        scene.service.delete_image_grant(portal(delete)).await.unwrap().into_inner().image_grant.unwrap();
    assert!(deleted.delete_time.is_some());
    assert_eq!(deleted.revision, updated.revision + 1);
    let bad = a_grant(&["west"]);
    let request = pullpass_api::grant::v1::CreateImageGrantRequest {
        image_grant_id: "x".into(),
        image_grant: Some(bad),
        ..Default::default()
    };
    let answer = scene.service.create_image_grant(portal(request)).await;
    assert_eq!(refusal(answer), (Code::InvalidArgument, "image_grant.clusters[0]".into()));
}

#[tokio::test]
async fn every_change_is_in_the_audit_trail_with_its_revision_and_its_caller() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    let link = SecretLink { secret_name: "other".into(), ..link };
    scene.update_link(link, &["secret_name"]).await.unwrap();
    scene.delete_link("web").await.unwrap();
    scene.report("east", 4, &[]).await.unwrap();
    let events = scene.audit().await;
    let told: Vec<_> = events.iter().map(|e| (e.action.as_str(), e.resource.as_str(), e.revision)).collect();
    assert_eq!(
        told,
        [
            ("CreateCluster", "clusters/east", 1),
            ("CreateSecretLink", "secretLinks/web", 2),
            ("UpdateSecretLink", "secretLinks/web", 3),
            ("DeleteSecretLink", "secretLinks/web", 4),
            ("ReportSync", "secretLinks/web", 5),
        ]
    );
    assert!(events[..4].iter().all(|event| event.principal == PORTAL));
    assert_eq!(events[4].principal, "spiffe://d/applier/east");
    assert!(events.iter().all(|event| event.service == "grant-manager" && event.time.is_some()));
    assert_eq!(events[2].details["fields"], "secret_name");
    assert_eq!(events[1].details["credentials"], "credentials/quay");
}

#[tokio::test]
async fn the_audit_trail_can_be_read_from_its_end_or_after_an_event_and_says_how_far_it_is() {
    let scene = Scene::with_clusters(&["a", "b", "c", "d"]).await;
    let list =
        async |request| scene.service.list_audit_events(portal(request)).await.map(Response::into_inner);
    let newest = |page_token| ListAuditEventsRequest {
        page_size: 3,
        page_token,
        order_by: "sequence desc".into(),
        ..Default::default()
    };
    let sequences =
        |page: &ListAuditEventsResponse| page.events.iter().map(|e| e.sequence).collect::<Vec<_>>();
    let first = list(newest(String::new())).await.unwrap();
    let second = list(newest(first.next_page_token.clone())).await.unwrap();
    assert_eq!((sequences(&first), sequences(&second)), (vec![4, 3, 2], vec![1]));
    assert_eq!(second.next_page_token, "");

    let after = ListAuditEventsRequest { after_sequence: 2, page_size: 1, ..Default::default() };
    let first = list(after.clone()).await.unwrap();
    let second =
        list(ListAuditEventsRequest { page_token: first.next_page_token.clone(), ..after }).await.unwrap();
    assert_eq!((sequences(&first), sequences(&second)), (vec![3], vec![4]));
    let (now, event) = (second.head.unwrap(), second.events[0].clone());
    assert_eq!((now.sequence, now.revision, now.mac.len()), (4, 4, 64));
    assert_eq!((now.mac, now.time, now.epoch), (event.mac, event.time, EPOCH.to_owned()));

    for (request, field) in [
        (ListAuditEventsRequest { order_by: "time".into(), ..Default::default() }, "order_by"),
        (ListAuditEventsRequest { after_sequence: -1, ..Default::default() }, "after_sequence"),
        (ListAuditEventsRequest { after_sequence: 1, ..newest(String::new()) }, "after_sequence"),
    ] {
        assert_eq!(refusal(list(request).await), (Code::InvalidArgument, field.into()));
    }
}
