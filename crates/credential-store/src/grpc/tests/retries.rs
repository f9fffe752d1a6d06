//! The same attempt again.

use tonic::Code;

use super::*;

const ID: &str = "0191d0c4-0000-7000-8000-000000000001";

#[tokio::test]
async fn an_attempt_sent_again_answers_as_before_and_does_nothing() {
    let fixture = Fixture::new().await;
    let create = || wire::CreateCredentialRequest { request_id: ID.into(), ..creation("quay", "pw") };
    let created = fixture.try_create(create()).await.unwrap();
    assert_eq!(fixture.try_create(create()).await.unwrap(), created);
    let rotate = || wire::AddCredentialVersionRequest {
        request_id: ID.to_uppercase().replace("0001", "0002"),
        etag: created.etag.clone(),
        ..rotation("quay", "two")
    };
    let rotated = fixture.try_rotate(rotate()).await.unwrap();
    assert_eq!(fixture.try_rotate(rotate()).await.unwrap(), rotated, "though its etag is stale by now");
    assert_eq!(fixture.audit().await.len(), 2);
    let fixture = fixture.restarted().await;
    assert_eq!(fixture.try_rotate(rotate()).await.unwrap(), rotated);
    fixture.clock.advance(time::Duration::hours(25));
    assert_refused(fixture.try_rotate(rotate()).await, Code::Aborted, "ETAG_STALE");
}

#[tokio::test]
async fn an_id_cannot_be_used_for_anything_else() {
    let fixture = Fixture::new().await;
    let create = |id| wire::CreateCredentialRequest { request_id: ID.into(), ..creation(id, "pw") };
    fixture.try_create(create("quay")).await.unwrap();
    assert_refused(fixture.try_create(create("ghcr")).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let rotate = wire::AddCredentialVersionRequest { request_id: ID.into(), ..rotation("quay", "two") };
    assert_refused(fixture.try_rotate(rotate).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let nonsense = wire::CreateCredentialRequest { request_id: "1".into(), ..creation("x", "pw") };
    assert_refused(fixture.try_create(nonsense).await, Code::InvalidArgument, "request_id");
}

#[tokio::test]
async fn an_attempt_that_failed_or_was_only_a_check_can_be_made_again() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    let create = |id| wire::CreateCredentialRequest { request_id: ID.into(), ..creation(id, "pw") };
    assert_refused(fixture.try_create(create("quay")).await, Code::AlreadyExists, "CREDENTIAL_EXISTS");
    let check = wire::CreateCredentialRequest { validate_only: true, ..create("ghcr") };
    fixture.try_create(check).await.unwrap();
    assert_eq!(fixture.try_create(create("ghcr")).await.unwrap().revision, 2);
}

#[tokio::test]
async fn the_answer_to_a_retry_of_what_is_gone_is_that_it_is_gone() {
    let fixture = Fixture::new().await;
    let create = || wire::CreateCredentialRequest { request_id: ID.into(), ..creation("quay", "pw") };
    fixture.try_create(create()).await.unwrap();
    delete(&fixture, "quay", "").await.unwrap();
    assert_refused(fixture.try_create(create()).await, Code::NotFound, "CREDENTIAL_NOT_FOUND");
}
