//! mTLS on every connection, and tickets: every way of not being allowed is refused with its own gRPC code.

mod tickets;

use e2e::{
    Scenario, bare_tls, eventually,
    pullpass::{Service, connection},
};
use pullpass::pki::Authority;
use pullpass_api::{
    credential::v1::{
        FetchPullSecretRequest, ListCredentialsRequest, WatchCredentialsRequest,
        credential_store_client::CredentialStoreClient,
    },
    grant::v1::{
        IssueTicketRequest, ListClustersRequest, ReportSyncRequest, WatchDesiredStateRequest,
        grant_manager_client::GrantManagerClient,
    },
};
use pullpass_runtime::config::TlsConfig;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The machine-readable reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

async fn list_credentials(s: &Scenario, caller: &TlsConfig) -> Result<(), Status> {
    s.pullpass.credential_store(caller).list_credentials(ListCredentialsRequest::default()).await.map(drop)
}

#[tokio::test]
async fn the_administrator_is_let_in() {
    let s = Scenario::shared().await;
    list_credentials(&s, &s.pullpass.admin()).await.expect("the control of all the tests below");
}

#[tokio::test]
async fn without_a_certificate_no_service_answers() {
    let s = Scenario::shared().await;
    for service in Service::ALL {
        refused_with_alert("CertificateRequired", async || {
            let channel = bare_tls::channel(s.pullpass.state().address(service));
            CredentialStoreClient::new(channel)
                .list_credentials(ListCredentialsRequest::default())
                .await
                .map(drop)
        })
        .await;
    }
}

/// In TLS 1.3 the server judges the client's certificate when the client believes the handshake done: the refusal comes
/// as an alert, or, if the client was about to write, as a closed connection. Every attempt fails; one shows the alert.
async fn refused_with_alert(alert: &str, call: impl AsyncFn() -> Result<(), Status>) {
    eventually(format!("the alert {alert}"), async || {
        let status = call().await.expect_err("a connection that must be refused");
        assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status:?}");
        let told = format!("{status:?}");
        if told.contains(alert) { Ok(()) } else { Err(told) }
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_a_foreign_authority_is_refused() {
    let s = Scenario::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let foreign = Authority::create(folder.path(), pullpass::dev::TRUST_DOMAIN).unwrap();
    let id = foreign.identity("/platform/admin").unwrap();
    let mut caller = foreign.issue(&id, &folder.path().join("admin")).unwrap();
    caller.authorities = s.pullpass.admin().authorities;
    let status = list_credentials(&s, &caller).await.expect_err("a foreign authority");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    refused_with_alert("fatal alert", async || list_credentials(&s, &caller).await).await;
}

#[tokio::test]
async fn a_server_of_another_identity_is_not_believed() {
    let s = Scenario::shared().await;
    let mut peer = s.pullpass.state().peer(Service::CredentialStore).unwrap();
    peer.identity = s.pullpass.state().identity(Service::GrantManager).unwrap();
    let mut client = CredentialStoreClient::new(connection(&s.pullpass.admin(), &peer));
    let status = client.list_credentials(ListCredentialsRequest::default()).await.expect_err("somebody else");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("/credential-store"), "{status:?}");
}

#[tokio::test]
async fn a_wrong_spiffe_id_may_do_nothing() {
    let s = Scenario::shared().await;
    for path in ["/platform", "/platform/admin/more", "/platforms/admin", "/grant-manager", "/nobody"] {
        let caller = s.pullpass.state().issue(path).unwrap();
        let status = list_credentials(&s, &caller).await.expect_err(path);
        assert_eq!(status.code(), Code::PermissionDenied, "{path}: {status:?}");
        let clusters = s.pullpass.grant_manager(&caller).list_clusters(ListClustersRequest::default()).await;
        assert_eq!(clusters.expect_err(path).code(), Code::PermissionDenied, "{path}");
    }
}

#[tokio::test]
async fn a_platform_identity_may_not_do_what_only_appliers_do() {
    let s = Scenario::shared().await;
    let admin = s.pullpass.admin();
    let mut store = s.pullpass.credential_store(&admin);
    let fetch = store.fetch_pull_secret(FetchPullSecretRequest::default()).await;
    assert_eq!(fetch.expect_err("no applier").code(), Code::PermissionDenied);
    let mut grants = s.pullpass.grant_manager(&admin);
    let ticket = grants.issue_ticket(IssueTicketRequest::default()).await;
    assert_eq!(ticket.expect_err("no applier").code(), Code::PermissionDenied);
    let watch = grants.watch_desired_state(WatchDesiredStateRequest::default()).await;
    assert_eq!(watch.expect_err("no applier").code(), Code::PermissionDenied);
    let report = grants.report_sync(ReportSyncRequest::default()).await;
    assert_eq!(report.expect_err("no applier").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn an_applier_may_not_do_what_only_the_platform_does() {
    let s = Scenario::shared().await;
    let applier = s.pullpass.applier();
    let status = list_credentials(&s, &applier).await.expect_err("no platform identity");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let clusters = s.pullpass.grant_manager(&applier).list_clusters(ListClustersRequest::default()).await;
    assert_eq!(clusters.expect_err("no platform identity").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn an_applier_of_an_unknown_cluster_gets_nothing_to_do() {
    let s = Scenario::shared().await;
    let stranger = s.pullpass.state().issue("/applier/unknown").unwrap();
    let mut grants: GrantManagerClient<_> = s.pullpass.grant_manager(&stranger);
    let refused = grants.watch_desired_state(WatchDesiredStateRequest::default()).await;
    let status = match refused {
        Err(status) => status,
        Ok(stream) => stream.into_inner().message().await.expect_err("an unknown applier"),
    };
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let mut store = s.pullpass.credential_store(&stranger);
    let watch = store.watch_credentials(WatchCredentialsRequest::default()).await;
    // Names and versions only; whoever is an applier may see them.
    assert!(watch.is_ok() || watch.is_err_and(|status| status.code() == Code::PermissionDenied));
}
