//! SIGTERM ends each service cleanly, whoever is connected.

use std::time::{Duration, Instant};

use e2e::{Scenario, pullpass::Service};
use pullpass_api::{credential::v1::WatchCredentialsRequest, grant::v1::WatchSyncStatusRequest};
use tonic::Streaming;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Well under the ten seconds that a shutdown may take.
const WELL_UNDER: Duration = Duration::from_secs(4);

#[tokio::test]
async fn sigterm_ends_each_service_cleanly_with_streams_open() {
    let s = Scenario::own("killing-terminate", |_| {}).await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespace = s.namespace("web").await;
    let link = s.link(&credential, &credential, &namespace, "pull").await;
    s.becomes_synced(&link).await;
    let admin = s.pullpass.admin();
    for service in Service::ALL {
        let name = service.binary_name();
        let mut health = HealthClient::new(s.pullpass.connection(&admin, service));
        let request = HealthCheckRequest { service: service.grpc_name().to_owned() };
        let health = health.watch(request).await.expect("a stream").into_inner();
        let (mut store, mut grants) = (s.pullpass.credential_store(&admin), s.pullpass.grant_manager(&admin));
        let credentials = store.watch_credentials(WatchCredentialsRequest::default()).await;
        let credentials = credentials.expect("a stream").into_inner();
        let statuses = grants.watch_sync_status(WatchSyncStatusRequest::default()).await;
        let statuses = statuses.expect("a stream").into_inner();

        let began = Instant::now();
        let ended = s.pullpass.terminate(service, WELL_UNDER).await;
        let ended = ended.unwrap_or_else(|| panic!("{name} still runs after {WELL_UNDER:?}"));
        println!("{name} ended with {ended} after {:?}", began.elapsed());
        assert_eq!(ended.code(), Some(0), "{name} ended with {ended}");
        ends(&format!("the health of {name}"), health).await;
        match service {
            Service::CredentialStore => ends("the credentials", credentials).await,
            Service::GrantManager => ends("the statuses", statuses).await,
            Service::ClusterApplier => {}
        }
        let log = s.pullpass.log(service);
        assert!(log.contains("shutting down"), "{name} does not say that it was asked to end");
        let bad: Vec<_> =
            log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
        assert!(bad.is_empty(), "{name} logged: {bad:#?}");
        s.pullpass.launch_and_wait(service).await;
    }
    s.unlink(&credential).await;
    assert_eq!(s.cluster.secret(&namespace, &credential).await, None);
}

/// Reads a stream to its end, which may be an error.
async fn ends<T>(what: &str, mut stream: Streaming<T>) {
    let reading = async { while let Ok(Some(_)) = stream.message().await {} };
    assert!(tokio::time::timeout(WELL_UNDER, reading).await.is_ok(), "the stream of {what} goes on");
}
