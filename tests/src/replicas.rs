//! Two replicas of credential-store and of grant-manager, each pair on one `PostgreSQL` database, without a cluster.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::Duration,
};

use anyhow::Context as _;
use pullpass::dev::{Options, Service, StateDir};
use pullpass_runtime::{
    Connection,
    config::{PeerConfig, TlsConfig},
};
use pullpass_test_database::Server;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    WorkFolder, binaries,
    command::{Output, Run},
    eventually, ports,
    process::Process,
    pullpass::connection,
    wait::seen,
};

/// The services with a database.
pub const SERVICES: [Service; 2] = [Service::CredentialStore, Service::GrantManager];

/// Longer than an orderly end takes.
const PATIENCE: Duration = Duration::from_secs(15);

/// A service, and which of its replicas: 0 or 1.
pub type Which = (Service, usize);

/// The replicas, and what is needed to talk with them.
#[derive(Debug)]
pub struct Replicas {
    state: StateDir,
    databases: BTreeMap<Service, String>,
    ports: BTreeMap<Which, u16>,
    processes: Mutex<BTreeMap<Which, Process>>,
    server: Server,
    folder: WorkFolder,
}

impl Replicas {
    /// Starts all four at once, on empty databases.
    pub async fn start(name: &str) -> anyhow::Result<Self> {
        let folder = WorkFolder::new(name)?;
        let options = Options { metrics: false, ..Options::new(folder.path().join("pullpass")) };
        let state = StateDir::prepare(&options).context("failed to prepare the state folder")?;
        let server = Server::start();
        let databases = SERVICES.map(|service| (service, server.create(&database(service)))).into();
        let ports = SERVICES.into_iter().flat_map(|service| [(service, 0), (service, 1)]);
        let ports = ports.map(|which| (which, ports::free())).collect();
        let replicas = Self { state, databases, ports, processes: Mutex::default(), server, folder };
        for which in replicas.ports.keys() {
            replicas.launch(*which)?;
        }
        for which in replicas.ports.keys() {
            replicas.wait_until_healthy(*which).await;
        }
        Ok(replicas)
    }

    /// Starts one, with its log appended to the one it had.
    pub fn launch(&self, which: Which) -> anyhow::Result<()> {
        let (service, n) = which;
        let name = service.binary_name();
        let mut command = Command::new(binaries::own(name)?);
        command.arg("--config").arg(self.state.config_file(service));
        command.env("PULLPASS__DATABASE__URL", &self.databases[&service]);
        command.env("PULLPASS__SERVER__LISTEN", self.endpoint(which));
        command.env("PULLPASS__AUDIT__STATE_FILE", self.folder.path().join(format!("{name}-{n}.json")));
        let process = Process::start(&format!("{name} {n}"), &command, &self.log_file(which))?;
        self.processes.lock().expect("no test panics with it").insert(which, process);
        Ok(())
    }

    /// Waits until one says that it serves.
    pub async fn wait_until_healthy(&self, which: Which) {
        self.wait_until_health_is(which, ServingStatus::Serving).await;
    }

    /// Waits until one answers, and says that it does not serve.
    pub async fn wait_until_sealed(&self, which: Which) {
        self.wait_until_health_is(which, ServingStatus::NotServing).await;
    }

    async fn wait_until_health_is(&self, which: Which, wanted: ServingStatus) {
        let request = HealthCheckRequest { service: which.0.grpc_name().to_owned() };
        eventually(format!("{which:?} is {wanted:?}"), async || {
            let mut health = HealthClient::new(self.connection(&self.admin(), which));
            let answer = health.check(request.clone()).await.map_err(|status| self.tail(which, &status))?;
            seen(answer.get_ref().status() == wanted, answer.get_ref())
        })
        .await;
    }

    /// SIGKILL.
    pub fn kill9(&self, which: Which) {
        let process = self.processes.lock().expect("no test panics with it").remove(&which);
        process.expect("it runs").kill9();
    }

    /// SIGTERM, and waits for the good end.
    pub async fn stop(&self, which: Which) {
        let process = self.processes.lock().expect("no test panics with it").remove(&which);
        let ended = process.expect("it runs").terminate(PATIENCE).await;
        assert!(ended.is_some_and(|status| status.success()), "{which:?}: {ended:?}");
    }

    /// Runs the `pullpass` command as the platform administrator, against replica `n` of both services.
    pub async fn cli(&self, n: usize, arguments: &[&str]) -> Output {
        let program = binaries::own("pullpass").expect("the pullpass command");
        let run = Run::new(&program, arguments).env("PULLPASS_CONFIG", self.state.client_file());
        let run = SERVICES.into_iter().fold(run, |run, service| {
            let section = service.binary_name().replace('-', "_").to_uppercase();
            run.env(&format!("PULLPASS__{section}__ENDPOINT"), self.endpoint((service, n)))
        });
        run.output().await.expect("the command runs")
    }

    /// Writes a copy of the database of `service` to a file, whose name it gives.
    pub fn dump(&self, service: Service) -> PathBuf {
        let file = self.folder.path().join(service.binary_name()).with_extension("dump");
        self.server.dump(&database(service), &file);
        file
    }

    /// Puts such a copy in the place of the database of `service`, none of whose replicas may run.
    pub fn restore(&self, service: Service, file: &Path) {
        self.server.restore(&database(service), file);
    }

    /// All that one has logged.
    pub fn log(&self, which: Which) -> String {
        fs::read_to_string(self.log_file(which)).unwrap_or_default()
    }

    /// The state folder: certificates and keys.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// The platform administrator's certificate files.
    pub fn admin(&self) -> TlsConfig {
        self.state.admin().clone()
    }

    /// The certificate files of the applier of the cluster `dev`.
    pub fn applier(&self) -> TlsConfig {
        self.state.tls(Service::ClusterApplier).clone()
    }

    /// The SPIFFE id of that applier.
    pub fn applier_identity(&self) -> String {
        self.state.identity(Service::ClusterApplier).expect("an identity").to_string()
    }

    /// A connection to one of them.
    pub fn connection(&self, caller: &TlsConfig, which: Which) -> Connection {
        let identity = self.state.identity(which.0).expect("an identity");
        connection(caller, &PeerConfig { endpoint: self.endpoint(which), identity })
    }

    /// The files of the server.
    pub fn server_folder(&self) -> &Path {
        self.server.folder()
    }

    fn log_file(&self, (service, n): Which) -> PathBuf {
        self.folder.path().join(format!("{}-{n}.log", service.binary_name()))
    }

    fn endpoint(&self, which: Which) -> String {
        format!("127.0.0.1:{}", self.ports[&which])
    }

    fn tail(&self, which: Which, status: &tonic::Status) -> String {
        let processes = self.processes.lock().expect("no test panics with it");
        format!("{}\n{}", status.message(), processes.get(&which).map(|p| p.tail(10)).unwrap_or_default())
    }
}

fn database(service: Service) -> String {
    service.binary_name().replace('-', "_")
}
