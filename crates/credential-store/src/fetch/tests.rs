use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use pullpass_api::credential::v1::{self as wire, credential_store_server::CredentialStore};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;
use crate::testing::{APPLIER, Fixture, applier, creation, docker_config, reason, request};

mod properties;

fn parsed(data: &[u8]) -> Vec<(String, String, String)> {
    let config = DockerConfig::parse(data).unwrap();
    let entries = config.entries().iter();
    entries.map(|e| (e.registry().into(), e.username().into(), e.password().expose().into())).collect()
}

fn entry(registry: &str, username: &str, password: &str) -> (String, String, String) {
    (registry.into(), username.into(), password.into())
}

async fn two_registries(fixture: &Fixture) {
    let text = r#"{"auths":{"ghcr.io":{"auth":"YTpi"},"quay.io":{"auth":"YzpzZWNvbmQ="}}}"#;
    let message =
        wire::CreateCredentialRequest { material: Some(docker_config(text)), ..creation("both", "") };
    fixture.try_create(message).await.unwrap();
}

#[tokio::test]
async fn a_fetch_gives_the_newest_versions_merged_in_order_of_the_link() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "old").await;
    fixture.rotate("quay", "first").await;
    two_registries(&fixture).await;
    let answer = fixture.fetch(fixture.sign(&fixture.claims(&["quay", "both"]))).await.unwrap();
    assert_eq!(parsed(&answer.data), [entry("ghcr.io", "a", "b"), entry("quay.io", "robot", "first")]);
    assert!(answer.data.starts_with(br#"{"auths":{"#));
    let versions: Vec<_> = answer.versions.iter().map(|v| (v.credential.as_str(), v.version)).collect();
    assert_eq!(versions, [("credentials/quay", 2), ("credentials/both", 1)]);

    let answer = fixture.fetch(fixture.sign(&fixture.claims(&["both", "quay"]))).await.unwrap();
    assert_eq!(parsed(&answer.data), [entry("ghcr.io", "a", "b"), entry("quay.io", "c", "second")]);
}

#[tokio::test]
async fn the_ticket_says_which_type_is_rendered() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    let claims = Claims { secret_type: "kubernetes.io/dockercfg".into(), ..fixture.claims(&["quay"]) };
    let answer = fixture.fetch(fixture.sign(&claims)).await.unwrap();
    assert!(answer.data.starts_with(br#"{"quay.io":{"#));
}

#[tokio::test]
async fn every_fetch_is_told_in_the_audit_trail() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    fixture.fetch(fixture.sign(&fixture.claims(&["quay"]))).await.unwrap();
    let event = fixture.audit().await.pop().unwrap();
    assert_eq!((event.sequence, event.revision), (2, 0));
    assert_eq!(event.entry.principal, APPLIER);
    assert_eq!(
        (event.entry.action.as_str(), event.entry.resource.as_str()),
        ("FetchPullSecret", "secretLinks/web")
    );
    assert_eq!(event.entry.time, fixture.clock.clock().now());
    let details = event.entry.details.iter().map(|(key, value)| format!("{key}={value}"));
    assert_eq!(
        details.collect::<Vec<_>>(),
        ["cluster=clusters/dev", "jti=a-ticket", "link_revision=3", "versions=credentials/quay@1"]
    );
}

#[tokio::test]
async fn without_an_audit_event_there_is_no_secret() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    let ticket = fixture.sign(&fixture.claims(&["quay"]));
    fixture.refuse_audit().await;
    let refused = fixture.fetch(ticket).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Internal, "DATABASE_FAILED"));
}

#[tokio::test]
async fn refused_tickets_get_their_codes_and_an_audit_event_each() {
    type Spoil = fn(&mut Claims);
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    let cases: [(Code, &str, Spoil); 4] = [
        (Code::Unauthenticated, "TICKET_EXPIRED", |c| (c.iat, c.exp) = (c.iat - 60, c.exp - 60)),
        (Code::Unauthenticated, "TICKET_INVALID", |c| c.aud = "elsewhere".into()),
        (Code::PermissionDenied, "TICKET_NOT_YOURS", |c| c.sub = "spiffe://d/applier/other".into()),
        (Code::PermissionDenied, "TICKET_OTHER_CERTIFICATE", |c| c.cnf.certificate_sha256 = "x".into()),
    ];
    let refused = async |code, expected: &str, ticket: String| {
        let status = fixture.fetch(ticket).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
        let event = fixture.audit().await.pop().unwrap();
        assert_eq!(event.entry.details["refused"], expected);
        assert_eq!((event.entry.principal.as_str(), event.revision), (APPLIER, 0));
        event
    };
    refused(Code::Unauthenticated, "TICKET_MISSING", String::new()).await;
    for (code, expected, spoil) in cases {
        let mut claims = fixture.claims(&["quay"]);
        spoil(&mut claims);
        let event = refused(code, expected, fixture.sign(&claims)).await;
        // Only a ticket that grant-manager meant for us is believed.
        let resource = if expected == "TICKET_INVALID" { "" } else { "secretLinks/web" };
        assert_eq!(event.entry.resource, resource, "{expected}");
    }
    assert_eq!(fixture.audit().await.len(), 6);
}

#[tokio::test]
async fn a_ticket_of_one_certificate_is_of_no_use_to_another_of_the_same_applier() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    let ticket = fixture.sign(&fixture.claims(&["quay"]));
    let renewed = PeerIdentity { certificate_sha256: Some([9; 32]), ..applier() };
    let message = wire::FetchPullSecretRequest { ticket };
    let status = fixture.grpc.fetch_pull_secret(request(&renewed, message)).await.unwrap_err();
    assert_eq!(reason(&status), "TICKET_OTHER_CERTIFICATE");
}

#[tokio::test]
async fn a_ticket_is_of_no_use_to_a_caller_without_a_certificate() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    let bare = PeerIdentity { certificate_sha256: None, ..applier() };
    for confirmation in
        [BASE64_URL_SAFE_NO_PAD.encode([1; 32]), BASE64_URL_SAFE_NO_PAD.encode([0; 32]), String::new()]
    {
        let mut claims = fixture.claims(&["quay"]);
        claims.cnf.certificate_sha256 = confirmation;
        let message = wire::FetchPullSecretRequest { ticket: fixture.sign(&claims) };
        let status = fixture.grpc.fetch_pull_secret(request(&bare, message)).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::PermissionDenied, "CERTIFICATE_REQUIRED")
        );
        assert_eq!(fixture.audit().await.pop().unwrap().entry.details["refused"], "CERTIFICATE_REQUIRED");
    }
}

#[tokio::test]
async fn a_missing_credential_is_named_and_nothing_leaves() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    let status = fixture.fetch(fixture.sign(&fixture.claims(&["quay", "gone"]))).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "CREDENTIAL_NOT_FOUND");
    assert_eq!(info.metadata["credential"], "credentials/gone");
    let event = fixture.audit().await.pop().unwrap();
    assert_eq!(event.entry.details["refused"], "CREDENTIAL_NOT_FOUND");
    assert_eq!(event.entry.details["jti"], "a-ticket");
}

#[tokio::test]
async fn credentials_that_do_not_fit_into_one_secret_are_told_so() {
    let fixture = Fixture::new().await;
    for id in ["a", "b"] {
        let text =
            format!(r#"{{"{id}.example.org":{{"username":"u","password":"{}"}}}}"#, "x".repeat(300_000));
        let message =
            wire::CreateCredentialRequest { material: Some(docker_config(&text)), ..creation(id, "") };
        fixture.try_create(message).await.unwrap();
    }
    fixture.fetch(fixture.sign(&fixture.claims(&["a"]))).await.unwrap();
    let status = fixture.fetch(fixture.sign(&fixture.claims(&["a", "b"]))).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "SECRET_TOO_LARGE"));
}

/// Runs SQL behind the service's back.
async fn tamper(fixture: &Fixture, sql: &'static str) {
    let mut write = fixture.grpc.credentials.database.write().await.unwrap();
    sqlx::query(sql).execute(write.connection()).await.unwrap();
    write.commit().await.unwrap();
}

async fn fetch_one(fixture: &Fixture, id: &str) -> Status {
    fixture.fetch(fixture.sign(&fixture.claims(&[id]))).await.unwrap_err()
}

#[tokio::test]
async fn rows_swapped_between_credentials_or_versions_do_not_open() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "quay-1").await;
    fixture.rotate("quay", "quay-2").await;
    fixture.create("ghcr", "ghcr-1").await;
    let swaps = [
        "UPDATE credential_versions SET (data_key, ciphertext) = (SELECT data_key, ciphertext FROM credential_versions o \
         WHERE o.uid = credential_versions.uid AND o.version = 1) WHERE version = 2",
        "UPDATE credential_versions SET (data_key, ciphertext) = (SELECT data_key, ciphertext FROM credential_versions o \
         WHERE o.version = 1 AND o.uid = (SELECT uid FROM credentials WHERE name = 'credentials/ghcr')) \
         WHERE version = 2",
    ];
    for swap in swaps {
        tamper(&fixture, swap).await;
        let status = fetch_one(&fixture, "quay").await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::DataLoss, "MATERIAL_UNREADABLE"));
    }
    tamper(&fixture, "UPDATE credentials SET name = 'credentials/x' WHERE name = 'credentials/ghcr'").await;
    assert_eq!(fetch_one(&fixture, "x").await.code(), Code::DataLoss);
}

#[tokio::test]
async fn a_rotation_between_reading_and_opening_is_no_failure() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    fixture.create("quay", "pw").await;
    let claims = fixture.claims(&["quay"]);
    let ticket = ticket::check(&claims, &applier(), fixture.clock.clock().now()).unwrap();
    let fetch = &fixture.grpc.fetch;
    let rows = fetch.rows(&ticket).await.unwrap();
    let former = rows[0].sealed.key_id.clone();
    plugin.change(|behaviour| behaviour.key_id = "k2".into());
    fixture.rewrap_all().await;
    assert!(!fetch.keys.held().contains(&former), "a key that was removed is not in memory any more");
    let newest = fetch.with_keys_or_again(rows, &ticket).await.unwrap();
    let (newest, kek) = &newest[0];
    assert!(newest.sealed.key_id != former && open(newest, kek).is_ok());
}
