//! A service on a database file of its own, and short ways to call it.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use pullpass_api::audit::v1::AuditEvent;
use pullpass_api::grant::v1::{
    Cluster, CreateClusterRequest, CreateImageGrantRequest, CreateSecretLinkRequest, DeleteSecretLinkRequest,
    GetSyncStatusRequest, GetSyncStatusResponse, ImageGrant, ListAuditEventsRequest, NamespaceSelection,
    ReportSyncRequest, SecretLink, ServiceAccountSelection, SyncStatus, UpdateSecretLinkRequest, Usage,
    WatchDesiredStateRequest, WatchDesiredStateResponse, grant_manager_server::GrantManager as _,
    image_grant::Subject, watch_desired_state_response::Event,
};
use pullpass_database::{Beginning, Database, DatabaseConfig, Trail};
use pullpass_domain::audit::AuditKey;
use pullpass_grant_manager::{Manager, Service, Signer};
use pullpass_runtime::{ManualClock, PeerIdentity, Shutdown};
use pullpass_test_database::TestDatabase;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _};
use tempfile::TempDir;
use time::OffsetDateTime;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

/// Only reached by a test that fails.
const TOO_LONG: Duration = Duration::from_secs(20);
/// The name of the history.
pub(crate) const EPOCH: &str = "an-epoch";
const TABLES: [&str; 7] =
    ["changes", "audit_events", "requests", "resources", "appliers", "targets", "audiences"];
pub(crate) const PORTAL: &str = "spiffe://d/platform/portal";

pub(crate) struct Scene {
    folder: TempDir,
    place: Arc<TestDatabase>,
    pub(crate) clock: ManualClock,
    pub(crate) shutdown: Shutdown,
    pub(crate) service: Service,
    database: Database,
    pub(crate) public_key: Vec<u8>,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::on(TestDatabase::new()).await
    }

    pub(crate) async fn on(place: TestDatabase) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let file = folder.path().join("ticket.key");
        std::fs::write(&file, key.serialize_pem()).unwrap();
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, owner_only).unwrap();
        let clock = ManualClock::new(OffsetDateTime::UNIX_EPOCH + Duration::from_hours(500_000));
        Self::open(folder, Arc::new(place), clock, key.der_bytes().to_vec()).await
    }

    async fn open(
        folder: TempDir,
        place: Arc<TestDatabase>,
        clock: ManualClock,
        public_key: Vec<u8>,
    ) -> Self {
        let signer = Signer::load(&folder.path().join("ticket.key")).unwrap();
        let config = DatabaseConfig::new(place.url(), None).unwrap();
        let key = AuditKey::from_base64(b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
        let trail = Trail { service: "grant-manager", key };
        let beginning = Beginning { epoch: EPOCH.into(), now: clock.clock().now() };
        let database = Database::open(&config, Manager::migrations(), trail, &beginning).await.unwrap();
        let manager = Manager::new(database.clone(), signer, clock.clock());
        let shutdown = Shutdown::new(TOO_LONG);
        let service = Service::new(manager, shutdown.clone());
        Self { folder, place, clock, shutdown, service, database, public_key }
    }

    /// Another replica on the same database, with a clock of its own.
    pub(crate) async fn beside(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(self.folder.path().join("ticket.key"), folder.path().join("ticket.key")).unwrap();
        let clock = ManualClock::new(self.clock.clock().now());
        Self::open(folder, self.place.clone(), clock, self.public_key.clone()).await
    }

    /// Ends, and tells the other replicas nothing of it.
    pub(crate) async fn end(&self) {
        self.shutdown.begin();
        self.database.close().await;
    }

    /// A scene with clusters of these ids, whose appliers are named like them.
    pub(crate) async fn with_clusters(ids: &[&str]) -> Self {
        let scene = Self::new().await;
        for id in ids {
            scene.create_cluster(id).await.unwrap();
        }
        scene
    }

    pub(crate) async fn restart(self) -> Self {
        self.shutdown.begin();
        self.database.close().await;
        let Self { folder, place, clock, public_key, .. } = self;
        Self::open(folder, place, clock, public_key).await
    }

    pub(crate) async fn create_cluster(&self, id: &str) -> Result<Cluster, Status> {
        let cluster = Cluster { applier_identity: applier(id), ..Cluster::default() };
        let request = CreateClusterRequest {
            cluster_id: id.into(),
            cluster: Some(cluster),
            ..CreateClusterRequest::default()
        };
        let created = self.service.create_cluster(portal(request)).await?;
        Ok(created.into_inner().cluster.unwrap())
    }

    pub(crate) async fn create_link(&self, id: &str, clusters: &[&str]) -> Result<SecretLink, Status> {
        let request = CreateSecretLinkRequest {
            secret_link_id: id.into(),
            secret_link: Some(a_link(clusters)),
            ..CreateSecretLinkRequest::default()
        };
        let created = self.service.create_secret_link(portal(request)).await?;
        Ok(created.into_inner().secret_link.unwrap())
    }

    pub(crate) async fn create_grant(&self, id: &str, clusters: &[&str]) -> Result<ImageGrant, Status> {
        let request = CreateImageGrantRequest {
            image_grant_id: id.into(),
            image_grant: Some(a_grant(clusters)),
            ..CreateImageGrantRequest::default()
        };
        let created = self.service.create_image_grant(portal(request)).await?;
        Ok(created.into_inner().image_grant.unwrap())
    }

    pub(crate) async fn update_link(&self, link: SecretLink, fields: &[&str]) -> Result<SecretLink, Status> {
        let request = UpdateSecretLinkRequest {
            secret_link: Some(link),
            update_mask: Some(mask(fields)),
            validate_only: false,
        };
        let updated = self.service.update_secret_link(portal(request)).await?;
        Ok(updated.into_inner().secret_link.unwrap())
    }

    /// Lets a link apply to these clusters and no others.
    pub(crate) async fn move_link(&self, id: &str, clusters: &[&str]) -> SecretLink {
        let link = SecretLink { name: format!("secretLinks/{id}"), ..a_link(clusters) };
        self.update_link(link, &["clusters"]).await.unwrap()
    }

    pub(crate) async fn delete_link(&self, id: &str) -> Result<SecretLink, Status> {
        let name = format!("secretLinks/{id}");
        let request = DeleteSecretLinkRequest { name, ..DeleteSecretLinkRequest::default() };
        let deleted = self.service.delete_secret_link(portal(request)).await?;
        Ok(deleted.into_inner().secret_link.unwrap())
    }

    pub(crate) async fn get_link(&self, id: &str) -> Result<SecretLink, Status> {
        let name = format!("secretLinks/{id}");
        let request = pullpass_api::grant::v1::GetSecretLinkRequest { name };
        Ok(self.service.get_secret_link(portal(request)).await?.into_inner().secret_link.unwrap())
    }

    pub(crate) async fn report(
        &self,
        cluster: &str,
        observed_revision: i64,
        statuses: &[SyncStatus],
    ) -> Result<(), Status> {
        self.report_by(cluster, None, observed_revision, statuses).await
    }

    /// By the applier that is the active one since so many seconds after the epoch.
    pub(crate) async fn report_by(
        &self,
        cluster: &str,
        since: Option<i64>,
        observed_revision: i64,
        statuses: &[SyncStatus],
    ) -> Result<(), Status> {
        let acquire_time = since.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 });
        let request = ReportSyncRequest { observed_revision, statuses: statuses.to_vec(), acquire_time };
        self.service.report_sync(as_applier(cluster, request)).await.map(drop)
    }

    pub(crate) async fn watch(&self, cluster: &str, after_revision: i64) -> Result<Watch, Status> {
        self.watch_of(cluster, after_revision, "").await
    }

    /// As one who knows the cluster by this uid.
    pub(crate) async fn watch_of(
        &self,
        cluster: &str,
        after_revision: i64,
        uid: &str,
    ) -> Result<Watch, Status> {
        let request =
            WatchDesiredStateRequest { after_revision, cluster_uid: uid.to_owned(), ..Default::default() };
        self.watch_as(cluster, request).await
    }

    pub(crate) async fn watch_as(
        &self,
        cluster: &str,
        request: WatchDesiredStateRequest,
    ) -> Result<Watch, Status> {
        let request = as_applier(cluster, request);
        Ok(Watch(self.service.watch_desired_state(request).await?.into_inner()))
    }

    pub(crate) async fn status(&self) -> GetSyncStatusResponse {
        let request = portal(GetSyncStatusRequest::default());
        self.service.get_sync_status(request).await.unwrap().into_inner()
    }

    /// What is another one after every write: the write-ahead log, or the versions of all rows but those by which replicas say
    /// that they are there.
    pub(crate) fn log(&self) -> Vec<u8> {
        match self.place.file() {
            Some(file) => std::fs::read(format!("{}-wal", file.display())).unwrap(),
            None => self.place.row_versions(&TABLES).into_bytes(),
        }
    }

    pub(crate) async fn revision(&self) -> i64 {
        self.status().await.revision
    }

    pub(crate) async fn audit(&self) -> Vec<AuditEvent> {
        let request = portal(ListAuditEventsRequest { page_size: 1000, ..Default::default() });
        self.service.list_audit_events(request).await.unwrap().into_inner().events
    }
}

/// What an applier hears.
pub(crate) struct Watch(BoxStream<'static, Result<WatchDesiredStateResponse, Status>>);

impl Watch {
    pub(crate) async fn next(&mut self) -> Result<WatchDesiredStateResponse, Status> {
        soon(self.0.next()).await.unwrap()
    }

    /// The next message in short: its revision and what it is about.
    pub(crate) async fn tell(&mut self) -> (i64, String) {
        let message = self.next().await.unwrap();
        let what = match message.event {
            None => String::new(),
            Some(Event::SecretLink(link)) => link.name,
            Some(Event::ImageGrant(grant)) => grant.name,
            Some(Event::Removed(name)) => format!("removed {name}"),
            Some(Event::SnapshotEnd(end)) => format!("end {}", end.cluster),
        };
        (message.revision, what)
    }

    /// Reads the snapshot, and gives the names in it and its revision.
    pub(crate) async fn snapshot(&mut self) -> (Vec<String>, i64) {
        let mut names = Vec::new();
        loop {
            match self.tell().await {
                (0, name) => names.push(name),
                (revision, end) => {
                    assert!(end.starts_with("end "), "{end}");
                    return (names, revision);
                }
            }
        }
    }

    pub(crate) async fn ended(&mut self) -> bool {
        soon(self.0.next()).await.is_none()
    }
}

/// A failing test says so instead of hanging.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(TOO_LONG, what).await.expect("took too long")
}

pub(crate) fn applier(cluster: &str) -> String {
    format!("spiffe://d/applier/{cluster}")
}

pub(crate) fn called_by<T>(identity: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let peer = PeerIdentity { spiffe_id: identity.parse().unwrap(), certificate_sha256: Some([7; 32]) };
    request.extensions_mut().insert(peer);
    request
}

pub(crate) fn portal<T>(message: T) -> Request<T> {
    called_by(PORTAL, message)
}

pub(crate) fn as_applier<T>(cluster: &str, message: T) -> Request<T> {
    called_by(&applier(cluster), message)
}

pub(crate) fn mask(fields: &[&str]) -> prost_types::FieldMask {
    prost_types::FieldMask { paths: fields.iter().map(ToString::to_string).collect() }
}

fn cluster_names(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| format!("clusters/{id}")).collect()
}

pub(crate) fn a_link(clusters: &[&str]) -> SecretLink {
    SecretLink {
        credentials: vec!["credentials/quay".into()],
        clusters: cluster_names(clusters),
        namespaces: Some(NamespaceSelection { all: true, ..NamespaceSelection::default() }),
        service_accounts: Some(ServiceAccountSelection {
            names: vec!["default".into()],
            ..ServiceAccountSelection::default()
        }),
        usages: vec![Usage::Pull.into()],
        ..SecretLink::default()
    }
}

pub(crate) fn a_grant(clusters: &[&str]) -> ImageGrant {
    ImageGrant {
        project: "images".into(),
        subject: Some(Subject::Group("developers".into())),
        clusters: cluster_names(clusters),
        ..ImageGrant::default()
    }
}

pub(crate) fn status_of(name: &str, revision: i64) -> SyncStatus {
    SyncStatus { name: name.into(), revision, wanted: 2, synced: 2, ..SyncStatus::default() }
}

/// The code, and the reason or the field that it names.
pub(crate) fn refusal<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().expect("was accepted");
    let reason = status.get_details_error_info().map(|info| info.reason);
    let field = || Some(status.get_details_bad_request()?.field_violations.first()?.field.clone());
    (status.code(), reason.or_else(field).unwrap_or_default())
}
