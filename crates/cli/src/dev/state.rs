//! The state folder: made once, the same ever after.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use pullpass_domain::name::ClusterName;
use pullpass_runtime::{
    Role, SpiffeId,
    config::{LimitsConfig, LogFormat, PeerConfig, ServerConfig, TelemetryConfig, TlsConfig},
};
use serde::Serialize;
use url::Url;

use super::{
    Ports, Service,
    config::{
        AuditSection, ClusterApplierFile, CredentialStoreFile, DatabaseSection, GrantManagerFile,
        KeyEncryptionSection, Roles,
    },
};
use crate::{
    config::{ClientConfig, ClientTelemetry},
    files::{self, PRIVATE},
    pki::{Authority, Keys},
};

/// The trust domain of every development state folder.
pub const TRUST_DOMAIN: &str = "pullpass.local";

/// How a state folder shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The folder; it is made if need be.
    pub dir: PathBuf,
    /// Bare name of the one cluster.
    pub cluster: String,
    /// The cluster's kubeconfig; without one the applier looks where kubectl does.
    pub kubeconfig: Option<PathBuf>,
    /// What the services log, as in `info` or `trace`.
    pub log: String,
    /// How they log it.
    pub log_format: LogFormat,
    /// Where the services and the command send traces by OTLP over gRPC.
    pub otlp_endpoint: Option<String>,
    /// Whether the services serve metrics.
    pub metrics: bool,
    /// Whether the services serve gRPC reflection (to platform identities).
    pub reflection: bool,
    /// How many seconds a service may take to stop.
    pub shutdown_seconds: u64,
}

impl Options {
    /// The usual: cluster `dev`, logs at `info`, metrics on, no traces, no reflection.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            cluster: "dev".to_owned(),
            kubeconfig: None,
            log: "info".to_owned(),
            log_format: LogFormat::Json,
            otlp_endpoint: None,
            metrics: true,
            reflection: false,
            shutdown_seconds: 10,
        }
    }
}

/// A prepared state folder: everything that the three services and the command need to find each other.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    cluster: ClusterName,
    ports: Ports,
    options: Options,
    authority: Authority,
    tls: BTreeMap<Service, TlsConfig>,
    client: TlsConfig,
}

impl StateDir {
    /// Makes what is missing, keeps what is there (keys, certificates, ports, databases), and writes the configuration
    /// files anew. Starts nothing.
    pub fn prepare(options: &Options) -> anyhow::Result<Self> {
        let cluster =
            ClusterName::from_id(&options.cluster).context("the name of the cluster cannot be used")?;
        for folder in ["pki", "config", "data", "state", "logs"] {
            files::private_folder(&options.dir.join(folder))?;
        }
        let dir = options
            .dir
            .canonicalize()
            .with_context(|| format!("failed to find {}", options.dir.display()))?;
        let ports = Ports::load_or_choose(&dir.join("ports.toml"))?;
        let authority = open_authority(&dir.join("pki"))?;
        let issue = |path: &str| issue(&authority, &dir, path);
        let mut tls = BTreeMap::new();
        for service in Service::ALL {
            tls.insert(service, issue(&service.identity_path(cluster.id()))?);
        }
        let client = issue("/platform/admin")?;
        let state = Self { cluster, ports, options: options.clone(), tls, client, authority, dir };
        state.write_files(&Keys::ensure(&state.dir.join("keys"))?)?;
        Ok(state)
    }

    /// The folder, as an absolute path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The one cluster.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The ports, chosen when the folder was made.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Where a service listens.
    pub fn address(&self, service: Service) -> SocketAddr {
        self.ports.address(service)
    }

    /// Where a service serves its metrics, if it does.
    pub fn metrics_address(&self, service: Service) -> Option<SocketAddr> {
        self.options.metrics.then(|| self.ports.metrics_address(service))
    }

    /// A service's SPIFFE id.
    pub fn identity(&self, service: Service) -> anyhow::Result<SpiffeId> {
        self.authority.identity(&service.identity_path(self.cluster.id()))
    }

    /// A service as its callers know it.
    pub fn peer(&self, service: Service) -> anyhow::Result<PeerConfig> {
        Ok(PeerConfig { endpoint: self.address(service).to_string(), identity: self.identity(service)? })
    }

    /// A service's own certificate files.
    pub fn tls(&self, service: Service) -> &TlsConfig {
        &self.tls[&service]
    }

    /// The platform administrator's certificate files.
    pub fn admin(&self) -> &TlsConfig {
        &self.client
    }

    /// The configuration file to start a service with (`--config`).
    pub fn config_file(&self, service: Service) -> PathBuf {
        self.dir.join("config").join(format!("{}.toml", service.binary_name()))
    }

    /// Where `pullpass dev` writes what a service logs.
    pub fn log_file(&self, service: Service) -> PathBuf {
        self.dir.join("logs").join(format!("{}.log", service.binary_name()))
    }

    /// A service's database file; the applier has none.
    pub fn database(&self, service: Service) -> PathBuf {
        self.dir.join("data").join(format!("{}.db", service.binary_name()))
    }

    /// Where a service remembers how far its database is; the applier has none.
    pub fn state_file(&self, service: Service) -> PathBuf {
        self.dir.join("state").join(format!("{}.json", service.binary_name()))
    }

    /// The keys of the audit chains, as `pullpass audit verify` takes them.
    pub fn audit_keys(&self) -> anyhow::Result<[PathBuf; 2]> {
        let keys = Keys::ensure(&self.dir.join("keys"))?;
        Ok([keys.credential_store_audit_key, keys.grant_manager_audit_key])
    }

    /// The configuration file of the `pullpass` command, as `spiffe://pullpass.local/platform/admin`.
    pub fn client_file(&self) -> PathBuf {
        self.dir.join("client.toml")
    }

    /// What [`Self::client_file`] says.
    pub fn client_config(&self) -> anyhow::Result<ClientConfig> {
        let applier = self.peer(Service::ClusterApplier)?;
        Ok(ClientConfig {
            clusters: vec![self.cluster.id().to_owned()],
            tls: self.client.clone().into(),
            token_file: None,
            credential_store: self.peer(Service::CredentialStore)?,
            grant_manager: self.peer(Service::GrantManager)?,
            appliers: BTreeMap::from([(self.cluster.id().to_owned(), applier)]),
            telemetry: ClientTelemetry {
                otlp_endpoint: self.options.otlp_endpoint.clone(),
                ..ClientTelemetry::default()
            },
        })
    }

    /// A certificate of this folder's authority for any other identity, as in `/platform/portal`.
    pub fn issue(&self, path: &str) -> anyhow::Result<TlsConfig> {
        issue(&self.authority, &self.dir, path)
    }

    fn write_files(&self, keys: &Keys) -> anyhow::Result<()> {
        let roles = Roles::new(TRUST_DOMAIN)?;
        let database = |service| self.database_section(service);
        let audit =
            |service, key: &PathBuf| AuditSection { key: key.clone(), state_file: self.state_file(service) };
        let store = CredentialStoreFile {
            ticket_public_key: keys.ticket_public_key.clone(),
            key_encryption: KeyEncryptionSection { provider: "file", file: keys.key_encryption_key.clone() },
            database: database(Service::CredentialStore)?,
            audit: audit(Service::CredentialStore, &keys.credential_store_audit_key),
            server: self.server(Service::CredentialStore, roles.credential_store()),
        };
        let grants = GrantManagerFile {
            ticket_signing_key: keys.ticket_signing_key.clone(),
            database: database(Service::GrantManager)?,
            audit: audit(Service::GrantManager, &keys.grant_manager_audit_key),
            server: self.server(Service::GrantManager, roles.grant_manager()),
        };
        let applier = ClusterApplierFile {
            kubeconfig: self.kubeconfig()?,
            grant_manager: self.peer(Service::GrantManager)?,
            credential_store: self.peer(Service::CredentialStore)?,
            server: self.server(Service::ClusterApplier, roles.cluster_applier()),
        };
        write(&self.config_file(Service::CredentialStore), &store)?;
        write(&self.config_file(Service::GrantManager), &grants)?;
        write(&self.config_file(Service::ClusterApplier), &applier)?;
        write(&self.client_file(), &self.client_config()?)
    }

    fn database_section(&self, service: Service) -> anyhow::Result<DatabaseSection> {
        let file = self.database(service);
        let url = Url::from_file_path(&file)
            .map_err(|()| anyhow!("the database {} has no absolute path", file.display()))?;
        Ok(DatabaseSection { url: url.as_str().replacen("file:", "sqlite:", 1) })
    }

    fn kubeconfig(&self) -> anyhow::Result<Option<PathBuf>> {
        let absolute = |file: &PathBuf| {
            file.canonicalize().with_context(|| format!("the kubeconfig {} cannot be found", file.display()))
        };
        self.options.kubeconfig.as_ref().map(absolute).transpose()
    }

    fn server(&self, service: Service, mut roles: Vec<Role>) -> ServerConfig {
        if self.options.reflection
            && let Some(platform) = roles.first_mut()
        {
            platform.methods.push("grpc.reflection.v1.ServerReflection/*".to_owned());
        }
        ServerConfig {
            listen: self.address(service),
            tls: self.tls(service).clone(),
            roles,
            issuers: Vec::new(),
            telemetry: TelemetryConfig {
                log: self.options.log.clone(),
                log_format: self.options.log_format,
                otlp_endpoint: self.options.otlp_endpoint.clone(),
                metrics_listen: self.metrics_address(service),
            },
            limits: LimitsConfig::default(),
            reflection: self.options.reflection,
            shutdown_seconds: self.options.shutdown_seconds,
        }
    }
}

fn open_authority(folder: &Path) -> anyhow::Result<Authority> {
    if folder.join("ca.pem").exists() {
        return Authority::open(folder);
    }
    // A key alone is what a start that was cut short left behind; nothing was signed with it.
    let _ = std::fs::remove_file(folder.join("ca.key"));
    Authority::create(folder, TRUST_DOMAIN)
}

/// `/platform/admin` becomes `pki/platform-admin.pem` and `.key`.
fn issue(authority: &Authority, dir: &Path, path: &str) -> anyhow::Result<TlsConfig> {
    let id = authority.identity(path)?;
    authority.ensure(&id, &dir.join("pki").join(id.path().replace('/', "-")))
}

fn write(file: &Path, content: &impl Serialize) -> anyhow::Result<()> {
    let text = toml::to_string(content).with_context(|| format!("failed to write {}", file.display()))?;
    files::replace(file, PRIVATE, text.as_bytes())
}
