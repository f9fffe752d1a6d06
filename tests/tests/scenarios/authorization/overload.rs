//! One principal asks for ten times what it may: it is told when to come back, and nobody else notices.

use std::time::{Duration, Instant};

use e2e::{Scenario, pullpass::Service, variant::Variant};
use pullpass_api::credential::v1::{
    CreateCredentialRequest, ListCredentialsRequest, Material,
    credential_store_client::CredentialStoreClient, material::Source,
};
use pullpass_runtime::{Connection, config::TlsConfig, status::retry_after};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::trust::reason;

/// What the one who floods may ask for in a second.
const ALLOWED: u32 = 10;
const FLOODERS: usize = 8;
const SECONDS: u64 = 4;

/// credential-store, in which whoever is below `/flood/` may ask for little.
async fn start(s: &Scenario) -> Variant {
    let name = s.name("flooded");
    let role = format!(
        "name = 'flood'\nprincipals = ['spiffe://pullpass.local/flood/*']\n\
         methods = ['pullpass.credential.v1.CredentialStore/*']\n\
         requests_per_second = {ALLOWED}\nmax_message_bytes = 10000"
    );
    let variant = Variant::start(&s.pullpass, &name, &[Service::CredentialStore], |_, config| {
        let role: toml::Table = role.parse().expect("a role");
        config["server"]["roles"].as_array_mut().expect("roles").push(role.into());
    });
    variant.await.expect("credential-store starts")
}

async fn list(client: &CredentialStoreClient<Connection>) -> Result<(), Status> {
    client.clone().list_credentials(ListCredentialsRequest::default()).await.map(drop)
}

/// How long calls take that another principal makes one after the other for a time; sorted.
async fn patiently(client: &CredentialStoreClient<Connection>) -> Vec<Duration> {
    let (mut took, ends) = (Vec::new(), Instant::now() + Duration::from_secs(SECONDS));
    while Instant::now() < ends {
        let began = Instant::now();
        list(client).await.expect("nobody else is refused");
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    took.sort_unstable();
    took
}

/// What became of the calls of somebody who does not listen.
#[derive(Debug, Default)]
struct Flood {
    admitted: u32,
    refused: Vec<Duration>,
}

async fn flood(client: CredentialStoreClient<Connection>) -> Flood {
    let (mut flood, ends) = (Flood::default(), Instant::now() + Duration::from_secs(SECONDS));
    while Instant::now() < ends {
        let began = Instant::now();
        match list(&client).await {
            Ok(()) => flood.admitted += 1,
            Err(status) => {
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::ResourceExhausted, "RATE_LIMITED")
                );
                assert!(retry_after(&status).is_some_and(|after| !after.is_zero()), "{status:?}");
                flood.refused.push(began.elapsed());
                // Ten times what is allowed, and more; but not all that the machine has, for it is the test's, too.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    flood
}

/// Resident memory of a process, in kB.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

#[tokio::test]
async fn a_flood_of_one_principal_is_refused_fast_and_nobody_else_notices() {
    let s = Scenario::shared().await;
    let variant = start(&s).await;
    let state = s.pullpass.state();
    let flooder = state.issue("/flood/one").expect("a certificate");
    let client =
        |tls: &TlsConfig| CredentialStoreClient::new(variant.connection(tls, Service::CredentialStore));
    let quiet = client(&state.issue("/platform/quiet").expect("a certificate"));
    list(&quiet).await.expect("the connection opens");
    let idle = patiently(&quiet).await;
    let before = memory(variant.process_id(Service::CredentialStore));
    let mut flooding = JoinSet::new();
    for _ in 0..FLOODERS {
        flooding.spawn(flood(client(&flooder)));
    }
    let beside = patiently(&quiet).await;
    let floods = flooding.join_all().await;
    let grown = memory(variant.process_id(Service::CredentialStore)).saturating_sub(before);

    let admitted: u32 = floods.iter().map(|flood| flood.admitted).sum();
    let mut refused: Vec<_> = floods.into_iter().flat_map(|flood| flood.refused).collect();
    refused.sort_unstable();
    let at = |sorted: &[Duration], percent: usize| sorted[sorted.len() * percent / 100];
    let shown = |sorted: &[Duration]| {
        format!("{} calls, p50 {:?}, p99 {:?}", sorted.len(), at(sorted, 50), at(sorted, 99))
    };
    let (disturbed, usual, quick) = (shown(&beside), shown(&idle), shown(&refused));
    println!(
        "refused: {quick}; admitted: {admitted}; beside it: {disturbed}; idle: {usual}; memory: +{grown} kB"
    );
    let seconds = u32::try_from(SECONDS).expect("few") + 1;
    assert!(admitted <= ALLOWED * (2 + seconds), "{admitted} were admitted");
    assert!(admitted >= ALLOWED * 2, "what is allowed is served: {admitted}");
    let allowed = usize::try_from(ALLOWED * seconds).expect("few");
    assert!(refused.len() > 5 * allowed, "it was no flood: {quick}");
    // Both share a machine with other tests, so the bounds are wide: without the limit the quiet one waits for its turn.
    assert!(at(&beside, 50) < Duration::from_millis(50).max(5 * at(&idle, 50)), "{disturbed}; idle {usual}");
    assert!(at(&beside, 99) < Duration::from_secs(2).max(5 * at(&idle, 99)), "{disturbed}; idle {usual}");
    assert!(at(&refused, 50) < Duration::from_millis(100).max(5 * at(&idle, 50)), "{quick}; idle {usual}");
    assert!(grown < 20 * 1024, "the service grew by {grown} kB");
}

#[tokio::test]
async fn a_message_over_the_limit_of_a_role_is_refused_and_nobody_elses_is() {
    let s = Scenario::shared().await;
    let variant = start(&s).await;
    let state = s.pullpass.state();
    let config = serde_json::json!({"auths": {"quay.io": {"username": "r", "password": "p".repeat(20_000)}}});
    let create = async |path: &str, id: &str| {
        let tls = state.issue(path).expect("a certificate");
        let mut client = CredentialStoreClient::new(variant.connection(&tls, Service::CredentialStore));
        let request = CreateCredentialRequest {
            credential_id: id.to_owned(),
            material: Some(Material { source: Some(Source::DockerConfig(config.to_string().into_bytes())) }),
            ..Default::default()
        };
        client.create_credential(request).await.map(drop)
    };
    let refused = create("/flood/two", "large").await.expect_err("over the role's limit");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert!(refused.message().contains("10000 are allowed"), "{}", refused.message());
    create("/platform/large", "large").await.expect("the service's own limit is larger");
}
