//! A credential-store of its own, its callers and what it uses.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use e2e::{WorkFolder, binaries, eventually, measure::Usage, process::Process, pullpass::connection};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pullpass::dev::{Options, Service, StateDir};
use pullpass_api::{
    credential::v1::{
        AddCredentialVersionRequest, CreateCredentialRequest, FetchPullSecretRequest, Material,
        RegistryLogin, credential_store_client::CredentialStoreClient, material::Source,
    },
    ticket::{AUDIENCE, Claims, Confirmation, ISSUER, LIFETIME_SECONDS},
};
use pullpass_runtime::{
    Connection, Tls,
    config::{PeerConfig, TlsConfig},
};
use pullpass_test_database::{Kind, Server};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

pub(crate) type Client = CredentialStoreClient<Connection>;

const SERVICE: Service = Service::CredentialStore;
const PATIENCE: Duration = Duration::from_secs(20);

/// The service, as it is in production but for its clients' being so near.
pub(crate) struct Store {
    state: StateDir,
    peer: PeerConfig,
    admin: TlsConfig,
    process: Process,
    tickets: Arc<Tickets>,
    url: String,
    folder: WorkFolder,
    /// If the database is not a file.
    server: Option<Server>,
}

/// What makes tickets: grant-manager's key, and what it would say.
#[derive(Debug)]
pub(crate) struct Tickets {
    key: EncodingKey,
    claims: Claims,
}

impl Store {
    pub(crate) async fn start(name: &str) -> anyhow::Result<Self> {
        let folder = WorkFolder::new(name)?;
        let state = StateDir::prepare(&Options::new(folder.path().join("pullpass")))?;
        let tickets = Arc::new(Tickets::of(&state)?);
        let (peer, admin) = (state.peer(SERVICE)?, state.admin().clone());
        let (url, server) = database(&state);
        configure(&state, &url)?;
        let process = launch(&state)?;
        let store = Self { state, peer, admin, process, tickets, url, folder, server };
        store.serves().await;
        Ok(store)
    }

    /// Ends it, does what is to be done to its database, and starts it again.
    pub(crate) async fn restart_after(
        &mut self,
        change: impl AsyncFnOnce(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let ended = self.process.terminate(PATIENCE).await;
        anyhow::ensure!(ended.is_some_and(|ended| ended.success()), "it ended with {ended:?}");
        change(&self.url).await?;
        self.process = launch(&self.state)?;
        self.serves().await;
        Ok(())
    }

    async fn serves(&self) {
        eventually("credential-store serves", async || {
            let answer = self.health().check(HealthCheckRequest::default()).await;
            answer.map(drop).map_err(|status| status.message().to_owned())
        })
        .await;
    }

    fn connect(&self, caller: &TlsConfig) -> Connection {
        connection(caller, &self.peer)
    }

    /// A connection of its own to the method that does nothing, as the applier.
    pub(crate) fn health(&self) -> HealthClient<Connection> {
        HealthClient::new(self.connect(self.state.tls(Service::ClusterApplier)))
    }

    /// A connection of its own, as the applier.
    pub(crate) fn applier(&self) -> Client {
        CredentialStoreClient::new(self.connect(self.state.tls(Service::ClusterApplier)))
    }

    /// A connection of its own, as the platform's administrator.
    pub(crate) fn platform(&self) -> Client {
        CredentialStoreClient::new(self.connect(&self.admin))
    }

    /// A connection as the applier of another cluster.
    pub(crate) fn applier_of(&self, cluster: &str) -> anyhow::Result<Client> {
        let tls = self.state.issue(&format!("/applier/{cluster}"))?;
        Ok(CredentialStoreClient::new(self.connect(&tls)))
    }

    pub(crate) fn tickets(&self) -> Arc<Tickets> {
        Arc::clone(&self.tickets)
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.process.id())
    }

    /// A folder on the file system that the database is on.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.server.as_ref().map_or_else(|| self.folder.path(), Server::folder)
    }
}

/// A file in the state folder, or what `PULLPASS_TEST_DATABASE` asks for.
fn database(state: &StateDir) -> (String, Option<Server>) {
    match Kind::of_this_run() {
        Kind::Sqlite => (format!("sqlite://{}", state.database(SERVICE).display()), None),
        Kind::Postgres => {
            let server = Server::start();
            (server.create("bench"), Some(server))
        }
    }
}

/// A few callers do here what many do elsewhere, so that rates are lifted.
fn configure(state: &StateDir, url: &str) -> anyhow::Result<()> {
    let file = state.config_file(SERVICE);
    let mut config: toml::Table = std::fs::read_to_string(&file)?.parse()?;
    config["database"]["url"] = url.into();
    let roles = config["server"]["roles"].as_array_mut().context("no roles")?;
    for role in roles.iter_mut().filter_map(toml::Value::as_table_mut) {
        for limit in ["requests_per_second", "burst"] {
            role.insert(limit.to_owned(), 1_000_000.into());
        }
    }
    std::fs::write(&file, toml::to_string(&config)?).context("failed to write the configuration")
}

fn launch(state: &StateDir) -> anyhow::Result<Process> {
    let mut command = Command::new(binaries::own(SERVICE.binary_name())?);
    command.arg("--config").arg(state.config_file(SERVICE));
    Process::start(SERVICE.binary_name(), &command, &state.log_file(SERVICE))
}

impl Tickets {
    fn of(state: &StateDir) -> anyhow::Result<Self> {
        let pem = std::fs::read(state.dir().join("keys/ticket-signing.key")).context("no signing key")?;
        let applier = Tls::load(state.tls(Service::ClusterApplier))?.identity();
        let thumbprint = applier.certificate_sha256.context("the identity of a certificate")?;
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: applier.spiffe_id.to_string(),
            iat: 0,
            exp: 0,
            jti: "bench".into(),
            cnf: Confirmation { certificate_sha256: BASE64_URL_SAFE_NO_PAD.encode(thumbprint) },
            cluster: state.cluster().to_string(),
            link: "secretLinks/bench".into(),
            revision: 1,
            credentials: Vec::new(),
            secret_type: "kubernetes.io/dockerconfigjson".into(),
        };
        Ok(Self { key: EncodingKey::from_ed_pem(&pem)?, claims })
    }

    /// Asks for the Secret of one credential, with a new ticket.
    pub(crate) fn request(&self, credential: &str) -> anyhow::Result<FetchPullSecretRequest> {
        let iat = now();
        let credentials = vec![credential.to_owned()];
        let claims = Claims { iat, exp: iat + LIFETIME_SECONDS, credentials, ..self.claims.clone() };
        let ticket = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key)?;
        Ok(FetchPullSecretRequest { ticket })
    }
}

#[expect(clippy::disallowed_methods, reason = "the service goes by the real time as well")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}

pub(crate) fn name(id: &str) -> String {
    format!("credentials/{id}")
}

pub(crate) fn creation(id: &str) -> CreateCredentialRequest {
    CreateCredentialRequest {
        credential_id: id.to_owned(),
        material: Some(material(0)),
        ..Default::default()
    }
}

/// One version more, with content that depends on `number`.
pub(crate) fn rotation(id: &str, number: usize) -> AddCredentialVersionRequest {
    AddCredentialVersionRequest { name: name(id), material: Some(material(number)), ..Default::default() }
}

fn material(number: usize) -> Material {
    let login = RegistryLogin {
        server: "registry.example".into(),
        username: "robot".into(),
        password: format!("fake-password-{number:08}"),
        email: String::new(),
    };
    Material { source: Some(Source::Login(login)) }
}
