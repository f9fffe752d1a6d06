//! What the tests share: a service without its network, in a folder of its own, and an issuer of tickets.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, prelude::*};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pullpass_api::{
    credential::v1::{self as wire, credential_store_server::CredentialStore, material::Source},
    ticket::{AUDIENCE, Claims, Confirmation, ISSUER},
};
use pullpass_database::{Beginning, Database, DatabaseConfig, Trail};
use pullpass_domain::{audit::AuditKey, name::CredentialName, secret::SecretBytes};
use pullpass_kms::testing::TestPlugin;
use pullpass_recovery::AuditConfig;
use pullpass_runtime::{
    ManualClock, PeerIdentity, Shutdown,
    config::{LimitsConfig, ServerConfig, TelemetryConfig, TlsConfig},
};
use pullpass_test_database::{Kind, TestDatabase};
use rcgen::{KeyPair, PKCS_ED25519};
use sqlx::migrate::Migrator;
use tempfile::TempDir;
use time::OffsetDateTime;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::{
    app,
    config::{Config, KeyEncryptionConfig, KeyProvider},
    grpc::Grpc,
    seal::{Kek, Place},
};

pub(crate) const PLATFORM: &str = "spiffe://d/platform/ci";
const AUDIT_KEY: [u8; 32] = [8; 32];
pub(crate) const APPLIER: &str = "spiffe://d/applier/dev";

pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    /// Kept as long as it is used.
    _place: TestDatabase,
    pub(crate) config: Config,
    pub(crate) clock: ManualClock,
    pub(crate) shutdown: Shutdown,
    pub(crate) issuer: KeyPair,
    pub(crate) grpc: Grpc,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let place = TestDatabase::new();
        let database = DatabaseConfig::new(place.url(), None).unwrap();
        Self::open(folder, place, database).await
    }

    /// With an `SQLite` file in the folder whatever the tests run over: for what only a file promises.
    pub(crate) async fn on_file() -> Self {
        let folder = TempDir::new().unwrap();
        let database = DatabaseConfig::sqlite(&folder.path().join("store.db")).unwrap();
        Self::open(folder, TestDatabase::sqlite(), database).await
    }

    async fn open(folder: TempDir, place: TestDatabase, database: DatabaseConfig) -> Self {
        let issuer = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let config = config(folder.path(), database);
        write_key(&folder.path().join("kek"), &[7; 32]);
        std::fs::write(&config.ticket_public_key, issuer.public_key_pem()).unwrap();
        let clock = ManualClock::new(OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000));
        let shutdown = Shutdown::new(Duration::from_secs(5));
        write_key(&config.audit.key, &AUDIT_KEY);
        let (grpc, _) = app::compose(&config, clock.clock(), &shutdown).await.unwrap();
        Self { folder, _place: place, config, clock, shutdown, issuer, grpc }
    }

    /// The service as it is after a restart.
    pub(crate) async fn restarted(self) -> Self {
        self.grpc.credentials.database.close().await;
        let (grpc, _) = app::compose(&self.config, self.clock.clock(), &self.shutdown).await.unwrap();
        Self { grpc, ..self }
    }

    /// The service as it is after a restart with another configuration.
    pub(crate) async fn reconfigured(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self.restarted().await
    }

    /// A service whose keys are kept by a plugin, which has been asked once.
    pub(crate) async fn with_plugin() -> (Self, TestPlugin) {
        Self::new().await.plugged_in().await
    }

    pub(crate) async fn plugged_in(self) -> (Self, TestPlugin) {
        let plugin = TestPlugin::start(&self.folder.path().join("kms.sock"), "k1");
        let fixture = self.reconfigured(|config| kms(config, plugin.socket())).await;
        fixture.grpc.credentials.keys.ask().await.unwrap();
        (fixture, plugin)
    }

    /// Copies of the database's files, as a backup takes them.
    pub(crate) fn backup(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name);
        for suffix in ["", "-wal"] {
            let file = format!("{}{suffix}", self.folder.path().join("store.db").display());
            std::fs::copy(file, format!("{}{suffix}", copy.display())).unwrap();
        }
        copy
    }

    pub(crate) async fn key_status(&self) -> wire::GetKeyStatusResponse {
        let request = platform(wire::GetKeyStatusRequest {});
        self.grpc.get_key_status(request).await.unwrap().into_inner()
    }

    pub(crate) async fn rewrap(&self) -> Result<wire::RewrapDataKeysResponse, Status> {
        Ok(self.grpc.rewrap_data_keys(platform(wire::RewrapDataKeysRequest {})).await?.into_inner())
    }

    /// Until it is done; how many data keys that were, and the KMS's ids of the keys that were removed.
    pub(crate) async fn rewrap_all(&self) -> (i64, Vec<String>) {
        let mut rewrapped = 0;
        loop {
            let answer = self.rewrap().await.unwrap();
            rewrapped += answer.rewrapped;
            if answer.done {
                return (rewrapped, answer.removed_provider_key_ids);
            }
        }
    }

    /// The password that a fetch gives out.
    pub(crate) async fn password(&self, id: &str) -> Result<String, Status> {
        let data = self.fetch(self.sign(&self.claims(&[id]))).await?.data;
        let config: serde_json::Value = serde_json::from_slice(&data).unwrap();
        Ok(config["auths"]["quay.io"]["password"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn create(&self, id: &str, password: &str) -> wire::Credential {
        self.try_create(creation(id, password)).await.unwrap()
    }

    pub(crate) async fn try_create(
        &self,
        message: wire::CreateCredentialRequest,
    ) -> Result<wire::Credential, Status> {
        let created = self.grpc.create_credential(platform(message)).await?;
        Ok(created.into_inner().credential.unwrap())
    }

    pub(crate) async fn rotate(&self, id: &str, password: &str) -> wire::Credential {
        self.try_rotate(rotation(id, password)).await.unwrap()
    }

    pub(crate) async fn try_rotate(
        &self,
        message: wire::AddCredentialVersionRequest,
    ) -> Result<wire::Credential, Status> {
        let rotated = self.grpc.add_credential_version(platform(message)).await?;
        Ok(rotated.into_inner().credential.unwrap())
    }

    pub(crate) async fn get(&self, id: &str) -> Result<wire::Credential, Status> {
        let request = platform(wire::GetCredentialRequest { name: format!("credentials/{id}") });
        Ok(self.grpc.get_credential(request).await?.into_inner().credential.unwrap())
    }

    /// Lets no audit event be stored any more.
    pub(crate) async fn refuse_audit(&self) {
        let sql = match Kind::of_this_run() {
            Kind::Sqlite => {
                "CREATE TRIGGER no_audit BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'full'); END"
            }
            Kind::Postgres => {
                "ALTER TABLE audit_events ADD CONSTRAINT no_audit CHECK (sequence < 0) NOT VALID"
            }
        };
        let mut write = self.grpc.credentials.database.write().await.unwrap();
        sqlx::query(sql).execute(write.connection()).await.unwrap();
        write.commit().await.unwrap();
    }

    /// Name, action and details of every audit event.
    pub(crate) async fn audit(&self) -> Vec<pullpass_database::AuditEvent> {
        self.grpc.credentials.database.audit_events(0, 1000).await.unwrap()
    }

    /// A good ticket's claims, for the credentials of these ids.
    pub(crate) fn claims(&self, ids: &[&str]) -> Claims {
        let now = self.clock.clock().now().unix_timestamp();
        Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: APPLIER.into(),
            iat: now,
            exp: now + 60,
            jti: "a-ticket".into(),
            cnf: Confirmation { certificate_sha256: BASE64_URL_SAFE_NO_PAD.encode([1; 32]) },
            cluster: "clusters/dev".into(),
            link: "secretLinks/web".into(),
            revision: 3,
            credentials: ids.iter().map(|id| format!("credentials/{id}")).collect(),
            secret_type: "kubernetes.io/dockerconfigjson".into(),
        }
    }

    pub(crate) fn sign(&self, claims: &Claims) -> String {
        sign(&self.issuer, claims)
    }

    pub(crate) async fn fetch(&self, ticket: String) -> Result<wire::FetchPullSecretResponse, Status> {
        let request = request(&applier(), wire::FetchPullSecretRequest { ticket });
        Ok(self.grpc.fetch_pull_secret(request).await?.into_inner())
    }
}

/// Has the plugin behind `socket` keep the keys; the file opens what hangs on it.
pub(crate) fn kms(config: &mut Config, socket: &Path) {
    config.key_encryption.provider = KeyProvider::Kms;
    config.key_encryption.socket = Some(socket.to_owned());
}

pub(crate) fn sign(issuer: &KeyPair, claims: &Claims) -> String {
    let key = EncodingKey::from_ed_pem(issuer.serialize_pem().as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &key).unwrap()
}

fn config(folder: &Path, database: DatabaseConfig) -> Config {
    let tls = |name: &str| folder.join(name);
    Config {
        key_encryption: KeyEncryptionConfig {
            provider: KeyProvider::File,
            file: Some(folder.join("kek")),
            others: Vec::new(),
            socket: None,
            timeout_seconds: 1,
        },
        key_encryption_key: None,
        ticket_public_key: folder.join("ticket.pub"),
        database,
        audit: AuditConfig { key: folder.join("audit.key"), state_file: folder.join("state.json") },
        server: ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: TlsConfig {
                certificate: tls("tls.crt"),
                key: tls("tls.key"),
                authorities: tls("ca.crt"),
                trust_domain: "d".into(),
            },
            roles: Vec::new(),
            issuers: Vec::new(),
            telemetry: TelemetryConfig::default(),
            limits: LimitsConfig::default(),
            reflection: false,
            shutdown_seconds: 5,
        },
    }
}

/// The database in this file, with the fixture's audit key.
pub(crate) async fn open_database(path: &Path, migrations: &Migrator) -> Database {
    let trail = Trail {
        service: app::NAME,
        key: AuditKey::from_base64(BASE64_STANDARD.encode(AUDIT_KEY).as_bytes()).unwrap(),
    };
    let beginning = Beginning { epoch: "first-epoch".into(), now: OffsetDateTime::UNIX_EPOCH };
    Database::open(&DatabaseConfig::sqlite(path).unwrap(), migrations, trail, &beginning).await.unwrap()
}

/// A database as it was before there was more than one format: the credential `old` with two versions.
pub(crate) async fn make_database_of_format_1(path: &Path, key: &[u8; 32], first: &str, second: &str) {
    let mut migrations = sqlx::migrate!();
    migrations.migrations.to_mut().retain(|migration| migration.version == 1);
    let database = open_database(path, &migrations).await;
    let kek = Kek::new(key).unwrap();
    let name = CredentialName::from_id("old").unwrap();
    let mut write = database.write().await.unwrap();
    let credential = "INSERT INTO credentials VALUES ('credentials/old', 'u', '', 2, 5, 5, 0)";
    sqlx::query(credential).execute(write.connection()).await.unwrap();
    for (version, password) in [(1, first), (2, second)] {
        let material = format!(r#"{{"auths":{{"quay.io":{{"username":"robot","password":"{password}"}}}}}}"#);
        let sealed = kek.seal_1(Place { uid: "u", name: &name, version }, &SecretBytes::new(material.into()));
        let insert = sqlx::query(
            "INSERT INTO credential_versions (uid, version, entries, creator, create_time, key_id, data_key, ciphertext) \
             VALUES ('u', $1, '[]', 'c', 5, $2, $3, $4)",
        );
        let insert = insert.bind(version).bind(sealed.key_id).bind(sealed.data_key).bind(sealed.ciphertext);
        insert.execute(write.connection()).await.unwrap();
    }
    write.commit().await.unwrap();
    database.close().await;
}

pub(crate) fn write_key(file: &Path, key: &[u8; 32]) {
    std::fs::write(file, BASE64_STANDARD.encode(key) + "\n").unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn applier() -> PeerIdentity {
    PeerIdentity { spiffe_id: APPLIER.parse().unwrap(), certificate_sha256: Some([1; 32]) }
}

pub(crate) fn request<T>(peer: &PeerIdentity, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(peer.clone());
    request
}

/// A request of a platform identity.
pub(crate) fn platform<T>(message: T) -> Request<T> {
    request(
        &PeerIdentity { spiffe_id: PLATFORM.parse().unwrap(), certificate_sha256: Some([2; 32]) },
        message,
    )
}

pub(crate) fn login(password: &str) -> wire::Material {
    let login = wire::RegistryLogin {
        server: "quay.io".into(),
        username: "robot".into(),
        password: password.into(),
        email: String::new(),
    };
    wire::Material { source: Some(Source::Login(login)) }
}

pub(crate) fn docker_config(text: &str) -> wire::Material {
    wire::Material { source: Some(Source::DockerConfig(text.into())) }
}

pub(crate) fn creation(id: &str, password: &str) -> wire::CreateCredentialRequest {
    wire::CreateCredentialRequest {
        credential_id: id.into(),
        material: Some(login(password)),
        ..Default::default()
    }
}

pub(crate) fn rotation(id: &str, password: &str) -> wire::AddCredentialVersionRequest {
    wire::AddCredentialVersionRequest {
        name: format!("credentials/{id}"),
        material: Some(login(password)),
        ..Default::default()
    }
}

/// `ErrorInfo.reason`, or the field of the first violation.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let field = details.bad_request().map(|bad| bad.field_violations[0].field.clone());
    field.or_else(|| details.error_info().map(|info| info.reason.clone())).unwrap_or_default()
}
