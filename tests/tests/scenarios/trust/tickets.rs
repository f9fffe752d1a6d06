//! Tickets: the only way to the material, for one applier, over one certificate, for a minute.

use e2e::Scenario;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use pullpass::pki::Authority;
use pullpass_api::{
    credential::v1::{FetchPullSecretRequest, FetchPullSecretResponse},
    grant::v1::{Cluster, CreateClusterRequest, IssueTicketRequest},
    ticket::{AUDIENCE, Claims},
};
use pullpass_runtime::config::TlsConfig;
use rcgen::{KeyPair, PKCS_ED25519};
use tonic::{Code, Status};

use super::reason;

/// A synced link, and a valid ticket for it with what it says.
async fn a_ticket(s: &Scenario) -> (String, Claims) {
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespace = s.namespace("tickets").await;
    let link = s.link(&credential, &credential, &namespace, "pull").await;
    let ticket = issue(s, &s.pullpass.applier(), &link).await.expect("a ticket");
    let key = DecodingKey::from_ed_pem(&key_file(s, "ticket-signing.pub")).expect("an Ed25519 key");
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[AUDIENCE]);
    let claims = jsonwebtoken::decode(&ticket, &key, &validation).expect("a JWT").claims;
    (ticket, claims)
}

async fn issue(s: &Scenario, caller: &TlsConfig, link: &str) -> Result<String, Status> {
    let request = IssueTicketRequest { secret_link: link.to_owned() };
    Ok(s.pullpass.grant_manager(caller).issue_ticket(request).await?.into_inner().ticket)
}

async fn fetch(s: &Scenario, caller: &TlsConfig, ticket: &str) -> Result<FetchPullSecretResponse, Status> {
    let request = FetchPullSecretRequest { ticket: ticket.to_owned() };
    Ok(s.pullpass.credential_store(caller).fetch_pull_secret(request).await?.into_inner())
}

async fn refused(s: &Scenario, caller: &TlsConfig, ticket: &str, code: Code, why: &str) {
    let status = fetch(s, caller, ticket).await.expect_err(why);
    assert_eq!((status.code(), reason(&status).as_str()), (code, why), "{status:?}");
}

/// Signs claims with the real key of this state folder.
fn sign(s: &Scenario, claims: &Claims) -> String {
    let key = EncodingKey::from_ed_pem(&key_file(s, "ticket-signing.key")).expect("an Ed25519 key");
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &key).expect("a JWT")
}

fn key_file(s: &Scenario, name: &str) -> Vec<u8> {
    std::fs::read(s.pullpass.state().dir().join("keys").join(name)).expect("a key file")
}

#[tokio::test]
async fn the_applier_with_its_ticket_gets_the_secret() {
    let s = Scenario::shared().await;
    let (ticket, claims) = a_ticket(&s).await;
    let answer = fetch(&s, &s.pullpass.applier(), &ticket).await.expect("the control of all the tests below");
    assert!(String::from_utf8_lossy(&answer.data).contains("quay.io"));
    let minted = fetch(&s, &s.pullpass.applier(), &sign(&s, &claims)).await;
    assert_eq!(minted.expect("signed anew, it holds as well").data, answer.data);
}

#[tokio::test]
async fn without_a_ticket_it_gets_nothing() {
    let s = Scenario::shared().await;
    refused(&s, &s.pullpass.applier(), "", Code::Unauthenticated, "TICKET_MISSING").await;
}

#[tokio::test]
async fn an_expired_ticket_is_refused() {
    let s = Scenario::shared().await;
    let (_, mut claims) = a_ticket(&s).await;
    claims.iat -= 61;
    claims.exp -= 61;
    refused(&s, &s.pullpass.applier(), &sign(&s, &claims), Code::Unauthenticated, "TICKET_EXPIRED").await;
}

#[tokio::test]
async fn a_ticket_that_lives_too_long_is_refused() {
    let s = Scenario::shared().await;
    let (_, mut claims) = a_ticket(&s).await;
    claims.exp += 3600;
    refused(&s, &s.pullpass.applier(), &sign(&s, &claims), Code::Unauthenticated, "TICKET_INVALID").await;
}

#[tokio::test]
async fn a_ticket_by_a_foreign_key_or_another_algorithm_is_refused() {
    let s = Scenario::shared().await;
    let (ticket, claims) = a_ticket(&s).await;
    let foreign = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    let foreign = EncodingKey::from_ed_pem(foreign.as_bytes()).unwrap();
    let forged = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &foreign).unwrap();
    let confused = EncodingKey::from_secret(&key_file(&s, "ticket-signing.pub"));
    let confused = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &confused).unwrap();
    let body = ticket.split('.').nth(1).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
    let damaged = format!("{}AAAA", &ticket[..ticket.len() - 4]);
    for bad in [forged, confused, unsigned, damaged, "nonsense".to_owned()] {
        refused(&s, &s.pullpass.applier(), &bad, Code::Unauthenticated, "TICKET_INVALID").await;
    }
}

#[tokio::test]
async fn the_ticket_of_another_clusters_applier_is_refused() {
    let s = Scenario::shared().await;
    let (ticket, _) = a_ticket(&s).await;
    let other = s.pullpass.state().issue("/applier/other").unwrap();
    refused(&s, &other, &ticket, Code::PermissionDenied, "TICKET_NOT_YOURS").await;
}

#[tokio::test]
async fn a_ticket_is_of_no_use_with_another_certificate_of_the_same_applier() {
    let s = Scenario::shared().await;
    let (ticket, claims) = a_ticket(&s).await;
    let authority = Authority::open(&s.pullpass.state().dir().join("pki")).unwrap();
    let id = authority.identity(&claims.sub).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let renewed = authority.issue(&id, &folder.path().join("renewed")).unwrap();
    refused(&s, &renewed, &ticket, Code::PermissionDenied, "TICKET_OTHER_CERTIFICATE").await;
    let own = issue(&s, &renewed, &claims.link).await.expect("a ticket of its own");
    fetch(&s, &renewed, &own).await.expect("with which it gets the secret");
}

#[tokio::test]
async fn an_applier_gets_no_ticket_for_a_link_of_another_cluster() {
    let s = Scenario::shared().await;
    let (_, claims) = a_ticket(&s).await;
    let id = s.name("elsewhere");
    let elsewhere = s.pullpass.state().issue(&format!("/applier/{id}")).unwrap();
    let identity = s.pullpass.state().identity(e2e::pullpass::Service::ClusterApplier).unwrap().to_string();
    let cluster =
        Cluster { applier_identity: identity.replace("/dev", &format!("/{id}")), ..Default::default() };
    let request = CreateClusterRequest { cluster_id: id, cluster: Some(cluster), ..Default::default() };
    s.pullpass.grant_manager(&s.pullpass.admin()).create_cluster(request).await.expect("a second cluster");
    let status = issue(&s, &elsewhere, &claims.link).await.expect_err("not its link");
    assert!(matches!(status.code(), Code::NotFound | Code::PermissionDenied), "{status:?}");
}
