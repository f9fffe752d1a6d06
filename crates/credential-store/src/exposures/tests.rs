use pullpass_api::{
    convert::timestamp,
    credential::v1::{self as wire, ExposureState as State, credential_store_server::CredentialStore},
    ticket::Claims,
};
use time::Duration;
use tonic::Status;

use crate::testing::{Fixture, platform, reason};

async fn fetch(fixture: &Fixture, cluster: &str, ids: &[&str]) {
    fixture.clock.advance(Duration::SECOND);
    let claims = Claims { cluster: cluster.into(), ..fixture.claims(ids) };
    fixture.fetch(fixture.sign(&claims)).await.unwrap();
}

async fn list(
    fixture: &Fixture,
    message: wire::ListExposuresRequest,
) -> Result<wire::ListExposuresResponse, Status> {
    Ok(fixture.grpc.list_exposures(platform(message)).await?.into_inner())
}

/// Credential, version, state, first and last time in seconds, number.
type Told = (String, i64, State, i64, i64, i64);

async fn told(fixture: &Fixture, cluster: &str) -> Vec<Told> {
    let message = wire::ListExposuresRequest { cluster: cluster.into(), ..Default::default() };
    list(fixture, message).await.unwrap().exposures.iter().map(tell).collect()
}

fn tell(exposure: &wire::Exposure) -> Told {
    let start = Duration::days(20_000).whole_seconds();
    let seconds = |time: Option<prost_types::Timestamp>| time.unwrap().seconds - start;
    let (first, last) = (seconds(exposure.first_time), seconds(exposure.last_time));
    let name = exposure.credential.trim_start_matches("credentials/").to_owned();
    (name, exposure.version, exposure.state(), first, last, exposure.fetches)
}

fn line(name: &str, version: i64, state: State, first: i64, last: i64, fetches: i64) -> Told {
    (name.into(), version, state, first, last, fetches)
}

#[tokio::test]
async fn a_cluster_is_told_apart_and_every_version_that_it_was_given_is_named_with_its_fate() {
    let fixture = Fixture::new().await;
    for id in ["gone", "kept", "old"] {
        fixture.create(id, "pw").await;
    }
    fetch(&fixture, "clusters/dev", &["old", "kept", "gone"]).await;
    fixture.rotate("old", "pw").await;
    fetch(&fixture, "clusters/dev", &["old", "kept"]).await;
    fixture.rotate("old", "pw").await;
    fetch(&fixture, "clusters/prod", &["old"]).await;
    let destroy = wire::DestroyCredentialVersionRequest { name: "credentials/old".into(), version: 1 };
    fixture.grpc.destroy_credential_version(platform(destroy)).await.unwrap();
    let delete = wire::DeleteCredentialRequest { name: "credentials/gone".into(), ..Default::default() };
    fixture.grpc.delete_credential(platform(delete)).await.unwrap();
    assert_eq!(
        told(&fixture, "clusters/dev").await,
        [
            line("gone", 1, State::Deleted, 1, 1, 1),
            line("kept", 1, State::Current, 1, 2, 2),
            line("old", 1, State::Destroyed, 1, 1, 1),
            line("old", 2, State::Superseded, 2, 2, 1),
        ]
    );
    assert_eq!(told(&fixture, "clusters/prod").await, [line("old", 3, State::Current, 3, 3, 1)]);
    assert_eq!(told(&fixture, "clusters/other").await, []);

    // Another credential of that name is not what was given.
    fixture.clock.advance(Duration::SECOND);
    fixture.create("gone", "pw").await;
    assert_eq!(told(&fixture, "clusters/dev").await[0], line("gone", 1, State::Deleted, 1, 1, 1));
}

#[tokio::test]
async fn a_refused_fetch_gave_nothing() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    fixture.fetch(fixture.sign(&fixture.claims(&["quay", "absent"]))).await.unwrap_err();
    let expired = Claims { exp: 1, ..fixture.claims(&["quay"]) };
    fixture.fetch(fixture.sign(&expired)).await.unwrap_err();
    assert_eq!(told(&fixture, "clusters/dev").await, []);
}

#[tokio::test]
async fn what_was_given_before_a_time_can_be_left_out() {
    let fixture = Fixture::new().await;
    fixture.create("early", "pw").await;
    fixture.create("quay", "pw").await;
    fetch(&fixture, "clusters/dev", &["early", "quay"]).await;
    fetch(&fixture, "clusters/dev", &["quay"]).await;
    let since = Some(timestamp(fixture.clock.clock().now()));
    let message = wire::ListExposuresRequest { cluster: "clusters/dev".into(), since, ..Default::default() };
    let exposures = list(&fixture, message).await.unwrap().exposures;
    assert_eq!(exposures.iter().map(tell).collect::<Vec<_>>(), [line("quay", 1, State::Current, 2, 2, 1)]);
}

#[tokio::test]
async fn they_come_by_page_and_a_mistake_names_its_field() {
    let fixture = Fixture::new().await;
    for id in ["a", "b", "c"] {
        fixture.create(id, "pw").await;
    }
    fetch(&fixture, "clusters/dev", &["a", "b"]).await;
    fixture.rotate("a", "pw").await;
    fetch(&fixture, "clusters/dev", &["a", "c"]).await;
    let ask = |page_token: String| wire::ListExposuresRequest {
        cluster: "clusters/dev".into(),
        page_size: 3,
        page_token,
        ..Default::default()
    };
    let first = list(&fixture, ask(String::new())).await.unwrap();
    let second = list(&fixture, ask(first.next_page_token)).await.unwrap();
    let names: Vec<_> = first.exposures.iter().chain(&second.exposures).map(tell).collect();
    let names: Vec<_> = names.iter().map(|told| format!("{}@{}", told.0, told.1)).collect();
    assert_eq!((names.join(" ").as_str(), second.next_page_token.as_str()), ("a@1 a@2 b@1 c@1", ""));
    for (message, field) in [
        (ask("nonsense".into()), "page_token"),
        (wire::ListExposuresRequest { page_size: -1, ..ask(String::new()) }, "page_size"),
        (wire::ListExposuresRequest { cluster: "dev".into(), ..ask(String::new()) }, "cluster"),
    ] {
        assert_eq!(reason(&list(&fixture, message).await.unwrap_err()), field);
    }
}
