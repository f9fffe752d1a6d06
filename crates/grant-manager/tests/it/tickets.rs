use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use pullpass_api::{
    grant::v1::{IssueTicketRequest, IssueTicketResponse, grant_manager_server::GrantManager as _},
    ticket::{Claims, LIFETIME_SECONDS},
};
use pullpass_runtime::PeerIdentity;
use tonic::{Code, Status};

use crate::scene::{Scene, applier, as_applier, refusal};

async fn ask(scene: &Scene, cluster: &str, link: &str) -> Result<IssueTicketResponse, Status> {
    let request = IssueTicketRequest { secret_link: link.into() };
    Ok(scene.service.issue_ticket(as_applier(cluster, request)).await?.into_inner())
}

/// As credential-store reads it, but for the time, which is not the machine's here.
fn read(scene: &Scene, ticket: &str) -> Claims {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["credential-store"]);
    validation.set_issuer(&["grant-manager"]);
    validation.validate_exp = false;
    let key = DecodingKey::from_ed_der(&scene.public_key);
    jsonwebtoken::decode(ticket, &key, &validation).unwrap().claims
}

#[tokio::test]
async fn a_ticket_says_who_may_fetch_what_and_for_how_long() {
    let scene = Scene::with_clusters(&["east"]).await;
    let link = scene.create_link("web", &["east"]).await.unwrap();
    let answer = ask(&scene, "east", "secretLinks/web").await.unwrap();
    let claims = read(&scene, &answer.ticket);
    assert_eq!((claims.sub.as_str(), claims.aud.as_str()), (applier("east").as_str(), "credential-store"));
    assert_eq!((claims.cluster.as_str(), claims.link.as_str()), ("clusters/east", "secretLinks/web"));
    assert_eq!((claims.revision, claims.credentials), (link.revision, link.credentials));
    assert_eq!(claims.secret_type, "kubernetes.io/dockerconfigjson");
    assert_eq!(claims.iat, 1_800_000_000);
    assert_eq!(claims.exp - claims.iat, LIFETIME_SECONDS);
    assert_eq!(answer.expire_time.unwrap().seconds, claims.exp);
    assert_eq!(claims.cnf.certificate_sha256, BASE64_URL_SAFE_NO_PAD.encode([7; 32]));
    let header = jsonwebtoken::decode_header(&answer.ticket).unwrap();
    assert_eq!(header.alg, Algorithm::EdDSA);
}

#[tokio::test]
async fn every_ticket_is_its_own_and_in_the_audit_trail_but_not_itself() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let first = ask(&scene, "east", "secretLinks/web").await.unwrap().ticket;
    let second = ask(&scene, "east", "secretLinks/web").await.unwrap().ticket;
    let ids = [&first, &second].map(|ticket| read(&scene, ticket).jti);
    assert_ne!(ids[0], ids[1]);
    let events = scene.audit().await;
    let issued: Vec<_> = events.iter().filter(|event| event.action == "IssueTicket").collect();
    assert_eq!(issued.iter().map(|event| event.details["jti"].as_str()).collect::<Vec<_>>(), ids);
    assert!(issued.iter().all(|e| e.principal == applier("east") && e.revision == 0));
    let text = format!("{events:?}");
    assert!(!text.contains(first.rsplit('.').next().unwrap()));
}

#[tokio::test]
async fn a_link_of_another_cluster_is_refused_and_that_is_audited() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("web", &["west"]).await.unwrap();
    let answer = ask(&scene, "east", "secretLinks/web").await;
    assert_eq!(refusal(answer), (Code::PermissionDenied, "LINK_NOT_OF_CLUSTER".into()));
    let event = scene.audit().await.pop().unwrap();
    assert_eq!((event.action.as_str(), event.details["cluster"].as_str()), ("IssueTicket", "clusters/east"));
    assert!(event.details.contains_key("refused"));
}

#[tokio::test]
async fn an_applier_without_a_certificate_is_refused_and_that_is_audited() {
    let scene = Scene::with_clusters(&["east"]).await;
    scene.create_link("web", &["east"]).await.unwrap();
    let mut request = as_applier("east", IssueTicketRequest { secret_link: "secretLinks/web".into() });
    request.extensions_mut().get_mut::<PeerIdentity>().unwrap().certificate_sha256 = None;
    let answer = scene.service.issue_ticket(request).await;
    assert_eq!(refusal(answer), (Code::PermissionDenied, "CERTIFICATE_REQUIRED".into()));
    let event = scene.audit().await.pop().unwrap();
    assert!(event.details["refused"].contains("certificate"), "{event:?}");
}

#[tokio::test]
async fn without_a_standing_link_there_is_no_ticket() {
    let scene = Scene::with_clusters(&["east"]).await;
    assert_eq!(refusal(ask(&scene, "east", "secretLinks/web").await), (Code::NotFound, "NOT_FOUND".into()));
    let no_link = (Code::InvalidArgument, "secret_link".to_owned());
    assert_eq!(refusal(ask(&scene, "east", "imageGrants/web").await), no_link);
    scene.create_link("web", &["east"]).await.unwrap();
    assert_eq!(refusal(ask(&scene, "north", "secretLinks/web").await).1, "CLUSTER_NOT_REGISTERED");
    scene.delete_link("web").await.unwrap();
    let taken_back = (Code::PermissionDenied, "LINK_BEING_TAKEN_BACK".to_owned());
    assert_eq!(refusal(ask(&scene, "east", "secretLinks/web").await), taken_back);
}

#[tokio::test]
async fn a_cluster_that_was_taken_out_gets_no_more_tickets() {
    let scene = Scene::with_clusters(&["east", "west"]).await;
    scene.create_link("web", &["east", "west"]).await.unwrap();
    ask(&scene, "west", "secretLinks/web").await.unwrap();
    scene.move_link("web", &["east"]).await;
    assert_eq!(refusal(ask(&scene, "west", "secretLinks/web").await).1, "LINK_NOT_OF_CLUSTER");
}
