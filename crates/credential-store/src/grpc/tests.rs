//! The service as its callers see it, without the network.

mod keys;
mod material;
mod retries;
mod watch;

use std::collections::BTreeSet;

use prost_types::FieldMask;
use pullpass_runtime::PeerIdentity;
use tonic::Code;

use super::*;
use crate::testing::{Fixture, PLATFORM, creation, platform, reason, rotation};

fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, expected: &str) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{}", status.message());
}

fn name_of(id: &str) -> String {
    format!("credentials/{id}")
}

async fn update(
    fixture: &Fixture,
    credential: wire::Credential,
    paths: &[&str],
) -> Result<wire::Credential, Status> {
    let message = wire::UpdateCredentialRequest {
        credential: Some(credential),
        update_mask: Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() }),
        validate_only: false,
    };
    Ok(fixture.grpc.update_credential(platform(message)).await?.into_inner().credential.unwrap())
}

async fn delete(fixture: &Fixture, id: &str, etag: &str) -> Result<(), Status> {
    let message =
        wire::DeleteCredentialRequest { name: name_of(id), etag: etag.into(), validate_only: false };
    fixture.grpc.delete_credential(platform(message)).await.map(drop)
}

async fn destroy(fixture: &Fixture, id: &str, version: i64) -> Result<wire::Credential, Status> {
    let message = wire::DestroyCredentialVersionRequest { name: name_of(id), version };
    Ok(fixture.grpc.destroy_credential_version(platform(message)).await?.into_inner().credential.unwrap())
}

#[tokio::test]
async fn a_created_credential_is_read_back_without_its_password() {
    let fixture = Fixture::new().await;
    let message = wire::CreateCredentialRequest { description: "for CI".into(), ..creation("quay", "pw") };
    let created = fixture.try_create(message).await.unwrap();
    let now = Some(pullpass_api::convert::timestamp(fixture.clock.clock().now()));
    let version = wire::CredentialVersion {
        version: 1,
        entries: vec![wire::RegistryEntry { registry: "quay.io".into(), username: "robot".into() }],
        create_time: now,
        creator: PLATFORM.into(),
        destroy_time: None,
    };
    let expected = wire::Credential {
        name: "credentials/quay".into(),
        description: "for CI".into(),
        version: 1,
        versions: vec![version],
        create_time: now,
        update_time: now,
        revision: 1,
        uid: created.uid.clone(),
        etag: created.etag.clone(),
    };
    assert_eq!(created, expected);
    assert_eq!(fixture.get("quay").await.unwrap(), created);
    assert_refused(
        fixture.try_create(creation("quay", "other")).await,
        Code::AlreadyExists,
        "CREDENTIAL_EXISTS",
    );
    assert_refused(fixture.get("absent").await, Code::NotFound, "CREDENTIAL_NOT_FOUND");
}

#[tokio::test]
async fn a_rotation_adds_a_version_and_keeps_the_old_ones() {
    let fixture = Fixture::new().await;
    let created = fixture.create("quay", "one").await;
    fixture.clock.advance(time::Duration::HOUR);
    let rotated = fixture.rotate("quay", "two").await;
    assert_eq!((rotated.version, rotated.revision, &rotated.uid), (2, 2, &created.uid));
    assert_eq!(rotated.versions.iter().map(|v| v.version).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(rotated.create_time, created.create_time);
    assert_eq!(rotated.update_time, rotated.versions[0].create_time);
    assert_ne!(rotated.update_time, created.update_time);
    assert_refused(fixture.try_rotate(rotation("absent", "x")).await, Code::NotFound, "CREDENTIAL_NOT_FOUND");
}

#[tokio::test]
async fn a_stale_etag_is_aborted_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let created = fixture.create("quay", "one").await;
    let at = |etag: &str| wire::AddCredentialVersionRequest { etag: etag.into(), ..rotation("quay", "two") };
    let rotated = fixture.try_rotate(at(&created.etag)).await.unwrap();
    assert_refused(fixture.try_rotate(at(&created.etag)).await, Code::Aborted, "ETAG_STALE");
    let stale = wire::Credential { description: "new".into(), ..created.clone() };
    assert_refused(update(&fixture, stale, &["description"]).await, Code::Aborted, "ETAG_STALE");
    assert_refused(delete(&fixture, "quay", &created.etag).await, Code::Aborted, "ETAG_STALE");
    assert_eq!(fixture.get("quay").await.unwrap(), rotated);
    delete(&fixture, "quay", &rotated.etag).await.unwrap();
}

#[tokio::test]
async fn only_the_description_can_be_changed_and_only_where_the_mask_says_so() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    let new = wire::Credential {
        name: name_of("quay"),
        description: "new".into(),
        version: 9,
        ..Default::default()
    };
    let updated = update(&fixture, new.clone(), &["description"]).await.unwrap();
    assert_eq!((updated.description.as_str(), updated.version, updated.revision), ("new", 1, 2));
    for paths in [&[][..], &["version"], &["description", "uid"], &["*"]] {
        assert_refused(update(&fixture, new.clone(), paths).await, Code::InvalidArgument, "update_mask");
    }
    let long = |length| wire::Credential { description: "ä".repeat(length), ..new.clone() };
    assert!(update(&fixture, long(1024), &["description"]).await.is_ok());
    let too_long = update(&fixture, long(1025), &["description"]).await;
    assert_refused(too_long, Code::InvalidArgument, "credential.description");
    let nameless = wire::Credential { name: "quay".into(), ..new };
    assert_refused(
        update(&fixture, nameless, &["description"]).await,
        Code::InvalidArgument,
        "credential.name",
    );
}

#[tokio::test]
async fn a_deleted_credential_is_gone_and_one_made_anew_is_another() {
    let fixture = Fixture::new().await;
    let first = fixture.create("quay", "one").await;
    fixture.rotate("quay", "two").await;
    delete(&fixture, "quay", "").await.unwrap();
    assert_refused(fixture.get("quay").await, Code::NotFound, "CREDENTIAL_NOT_FOUND");
    assert_refused(delete(&fixture, "quay", "").await, Code::NotFound, "CREDENTIAL_NOT_FOUND");
    let second = fixture.create("quay", "three").await;
    assert_ne!((&first.uid, &first.etag), (&second.uid, &second.etag));
    assert_eq!((second.version, second.versions.len(), second.revision), (1, 1, 4));
}

#[tokio::test]
async fn an_old_version_can_be_destroyed_and_the_current_one_cannot() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "one").await;
    fixture.rotate("quay", "two").await;
    assert_refused(destroy(&fixture, "quay", 2).await, Code::FailedPrecondition, "VERSION_IS_CURRENT");
    assert_refused(destroy(&fixture, "quay", 3).await, Code::NotFound, "VERSION_NOT_FOUND");
    assert_refused(destroy(&fixture, "absent", 1).await, Code::NotFound, "CREDENTIAL_NOT_FOUND");
    let destroyed = destroy(&fixture, "quay", 1).await.unwrap();
    assert_eq!(destroyed.versions[1].destroy_time, destroyed.update_time);
    assert_eq!((destroyed.versions[0].destroy_time, destroyed.revision), (None, 3));
    assert_eq!(destroy(&fixture, "quay", 1).await.unwrap(), destroyed, "again: nothing changes");
    fixture.fetch(fixture.sign(&fixture.claims(&["quay"]))).await.unwrap();
}

#[tokio::test]
async fn lists_come_by_page_in_order_of_name() {
    let fixture = Fixture::new().await;
    for id in ["c", "a", "e", "b", "d"] {
        fixture.create(id, "pw").await;
    }
    let list = async |page_size, page_token: &str| {
        let message = wire::ListCredentialsRequest { page_size, page_token: page_token.into() };
        fixture.grpc.list_credentials(platform(message)).await.map(Response::into_inner)
    };
    let (mut names, mut token) = (Vec::new(), String::new());
    for expected in [2, 2, 1] {
        let page = list(2, &token).await.unwrap();
        assert_eq!(page.credentials.len(), expected);
        names.extend(page.credentials.into_iter().map(|credential| credential.name));
        token = page.next_page_token;
    }
    assert_eq!(token, "");
    assert_eq!(names, ["a", "b", "c", "d", "e"].map(name_of));
    let all = list(0, "").await.unwrap();
    assert_eq!((all.credentials.len(), all.next_page_token.as_str()), (5, ""));
    assert_eq!(all.credentials[0], fixture.get("a").await.unwrap());
    assert_refused(list(-1, "").await, Code::InvalidArgument, "page_size");
    assert_refused(list(2, "nonsense!").await, Code::InvalidArgument, "page_token");
}

#[tokio::test]
async fn a_page_ends_before_it_is_too_large_for_a_client() {
    let fixture = Fixture::new().await;
    let path = "p".repeat(200);
    let entries = (0..3_500).map(|n| format!(r#""r{n}.example.org/{path}":{{"auth":"YTpi"}}"#));
    let text = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    for id in ["a", "b", "c", "d", "e", "f"] {
        let material = Some(crate::testing::docker_config(&text));
        fixture.try_create(wire::CreateCredentialRequest { material, ..creation(id, "") }).await.unwrap();
    }
    let (mut names, mut token, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let message = wire::ListCredentialsRequest { page_size: 0, page_token: token };
        let page = fixture.grpc.list_credentials(platform(message)).await.unwrap().into_inner();
        assert!(prost::Message::encoded_len(&page) < 4 * 1024 * 1024);
        names.extend(page.credentials.into_iter().map(|credential| credential.name));
        (token, pages) = (page.next_page_token, pages + 1);
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((names.len(), pages), (6, 3));
}

#[tokio::test]
async fn what_validate_only_checks_is_not_stored() {
    let fixture = Fixture::new().await;
    let create = wire::CreateCredentialRequest { validate_only: true, ..creation("quay", "pw") };
    assert_eq!(fixture.try_create(create.clone()).await.unwrap().version, 1);
    assert_refused(fixture.get("quay").await, Code::NotFound, "CREDENTIAL_NOT_FOUND");

    let created = fixture.create("quay", "pw").await;
    assert_eq!(created.revision, 1, "no revision was used up");
    assert_refused(fixture.try_create(create).await, Code::AlreadyExists, "CREDENTIAL_EXISTS");
    let rotate = wire::AddCredentialVersionRequest { validate_only: true, ..rotation("quay", "pw") };
    assert_eq!(fixture.try_rotate(rotate).await.unwrap().version, 2);
    let update = wire::UpdateCredentialRequest {
        credential: Some(wire::Credential { description: "new".into(), ..created.clone() }),
        update_mask: Some(FieldMask { paths: vec!["description".into()] }),
        validate_only: true,
    };
    fixture.grpc.update_credential(platform(update)).await.unwrap();
    let delete =
        wire::DeleteCredentialRequest { name: name_of("quay"), validate_only: true, ..Default::default() };
    fixture.grpc.delete_credential(platform(delete)).await.unwrap();
    assert_eq!(fixture.get("quay").await.unwrap(), created);
    assert_eq!(fixture.audit().await.len(), 1);
}

#[tokio::test]
async fn every_change_is_told_in_the_audit_trail() {
    let fixture = Fixture::new().await;
    let created = fixture.create("quay", "one").await;
    fixture.rotate("quay", "two").await;
    update(&fixture, created.clone(), &["description"]).await.unwrap_err();
    update(&fixture, wire::Credential { etag: String::new(), ..created }, &["description"]).await.unwrap();
    destroy(&fixture, "quay", 1).await.unwrap();
    delete(&fixture, "quay", "").await.unwrap();
    let list = async |page_size, page_token: String| {
        let message = wire::ListAuditEventsRequest { page_size, page_token, ..Default::default() };
        fixture.grpc.list_audit_events(platform(message)).await.unwrap().into_inner()
    };
    let first = list(3, String::new()).await;
    let second = list(3, first.next_page_token).await;
    assert_eq!(second.next_page_token, "");
    let told: Vec<_> = first
        .events
        .iter()
        .chain(&second.events)
        .map(|e| {
            (e.sequence, e.revision, e.action.as_str(), e.details.get("version").map_or("", String::as_str))
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, 1, "CreateCredential", "1"),
            (2, 2, "AddCredentialVersion", "2"),
            (3, 3, "UpdateCredential", ""),
            (4, 4, "DestroyCredentialVersion", "1"),
            (5, 5, "DeleteCredential", "2"),
        ]
    );
    let event = &first.events[0];
    assert_eq!((event.service.as_str(), event.principal.as_str()), ("credential-store", PLATFORM));
    assert_eq!(event.resource, "credentials/quay");
}

#[tokio::test]
async fn without_an_audit_event_there_is_no_change() {
    let fixture = Fixture::new().await;
    fixture.refuse_audit().await;
    assert_refused(fixture.try_create(creation("quay", "pw")).await, Code::Internal, "DATABASE_FAILED");
    assert_refused(fixture.get("quay").await, Code::NotFound, "CREDENTIAL_NOT_FOUND");
    assert_eq!(fixture.grpc.credentials.database.revision().await.unwrap(), 0);
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "one").await;
    let before = fixture.rotate("quay", "two").await;
    let fixture = fixture.restarted().await;
    assert_eq!(fixture.get("quay").await.unwrap(), before);
    let answer = fixture.fetch(fixture.sign(&fixture.claims(&["quay"]))).await.unwrap();
    assert!(String::from_utf8(answer.data).unwrap().contains(r#""password":"two""#));
    assert_eq!(fixture.rotate("quay", "three").await.revision, 3);
}

#[tokio::test]
async fn a_key_that_does_not_fit_the_database_is_refused_at_the_start() {
    let fixture = Fixture::new().await;
    let start = async |fixture: &Fixture| {
        crate::app::compose(&fixture.config, fixture.clock.clock(), &fixture.shutdown).await
    };
    crate::testing::write_key(&fixture.folder.path().join("kek"), &[8; 32]);
    assert!(start(&fixture).await.is_ok(), "nothing is sealed yet");
    crate::testing::write_key(&fixture.folder.path().join("kek"), &[7; 32]);
    let fixture = fixture.restarted().await;
    fixture.create("quay", "pw").await;
    crate::testing::write_key(&fixture.folder.path().join("kek"), &[8; 32]);
    let error = start(&fixture).await.unwrap_err().to_string();
    assert!(error.contains("does not fit the database"), "{error}");
    let id = &fixture.key_status().await.keys[0].id;
    assert!(error.contains(&format!("the file key {id}")), "{error}");
}

#[tokio::test]
async fn a_request_that_did_not_come_through_the_server_is_unauthenticated() {
    let fixture = Fixture::new().await;
    let anonymous = fixture.grpc.create_credential(Request::new(creation("quay", "pw"))).await;
    assert_refused(anonymous, Code::Unauthenticated, "NO_IDENTITY");
    let anonymous =
        fixture.grpc.fetch_pull_secret(Request::new(wire::FetchPullSecretRequest::default())).await;
    assert_refused(anonymous, Code::Unauthenticated, "NO_IDENTITY");
}

#[tokio::test]
async fn names_of_another_form_are_refused_by_their_field() {
    let fixture = Fixture::new().await;
    for id in ["", "Quay", "credentials/quay", "a/b", &"a".repeat(64)] {
        assert_refused(fixture.try_create(creation(id, "pw")).await, Code::InvalidArgument, "credential_id");
    }
    let get = wire::GetCredentialRequest { name: "quay".into() };
    assert_refused(fixture.grpc.get_credential(platform(get)).await, Code::InvalidArgument, "name");
}

/// Whoever else is authenticated is decided before the handlers; what they note down is the caller's own identity.
#[tokio::test]
async fn the_creator_is_who_called() {
    let fixture = Fixture::new().await;
    let other = PeerIdentity {
        spiffe_id: "spiffe://d/platform/portal".parse().unwrap(),
        certificate_sha256: Some([3; 32]),
    };
    let request = crate::testing::request(&other, creation("quay", "pw"));
    let created = fixture.grpc.create_credential(request).await.unwrap().into_inner().credential.unwrap();
    assert_eq!(created.versions[0].creator, "spiffe://d/platform/portal");
    assert_eq!(fixture.audit().await[0].entry.principal, "spiffe://d/platform/portal");
}
