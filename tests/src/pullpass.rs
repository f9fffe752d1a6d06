//! The system under test: the three real services, each started by itself from a state folder as `pullpass dev` makes it,
//! and the real `pullpass` command.

mod calls;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
pub use calls::connection;
pub use pullpass::dev::Service;
use pullpass::dev::{Options, Ports, StateDir};
use pullpass_api::grant::v1::GetSyncStatusRequest;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::{
    binaries,
    command::{Output, Run},
    ports,
    process::Process,
    wait::within,
};

/// The services that keep something.
pub const KEEPERS: [Service; 2] = [Service::CredentialStore, Service::GrantManager];
const PATIENCE: Duration = Duration::from_mins(1);

/// The services of one state folder.
#[derive(Debug)]
pub struct Pullpass {
    state: StateDir,
    processes: Mutex<BTreeMap<Service, Process>>,
}

impl Pullpass {
    /// Prepares the state folder, starts the services, waits until they are healthy and registers the cluster.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let pullpass = Self::prepare(options)?;
        for service in Service::ALL {
            pullpass.launch(service)?;
        }
        // The applier is of use only when its cluster is known.
        for service in [Service::CredentialStore, Service::GrantManager] {
            pullpass.wait_until_healthy(service).await?;
        }
        pullpass.register_cluster().await?;
        pullpass.wait_until_healthy(Service::ClusterApplier).await?;
        pullpass.wait_until_followed().await?;
        Ok(pullpass)
    }

    /// Prepares the state folder and starts nothing.
    pub fn prepare(options: &Options) -> anyhow::Result<Self> {
        choose_ports(&options.dir).context("failed to choose the ports")?;
        let state = StateDir::prepare(options).context("failed to prepare the state folder")?;
        Ok(Self { state, processes: Mutex::default() })
    }

    /// Starts no applier and no cluster for it: only the services that keep something. The cluster is registered.
    pub async fn start_keepers(options: &Options) -> anyhow::Result<Self> {
        let pullpass = Self::prepare(options)?;
        for service in KEEPERS {
            pullpass.launch(service)?;
        }
        for service in KEEPERS {
            pullpass.wait_until_healthy(service).await?;
        }
        pullpass.register_cluster().await?;
        Ok(pullpass)
    }

    /// The state folder.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// Starts a service, with its log appended to the one it had.
    pub fn launch(&self, service: Service) -> anyhow::Result<()> {
        self.launch_with(service, &[])
    }

    /// The same with these variables in its environment.
    pub fn launch_with(&self, service: Service, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = Command::new(binaries::own(service.binary_name())?);
        command.envs(environment.iter().copied());
        self.launch_as(service, command)
    }

    /// The same, started by `program` with `arguments`, which becomes the service.
    pub fn launch_by(&self, service: Service, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command.args(arguments).arg(binaries::own(service.binary_name())?);
        self.launch_as(service, command)
    }

    fn launch_as(&self, service: Service, mut command: Command) -> anyhow::Result<()> {
        command.arg("--config").arg(self.state.config_file(service));
        let folder = self.temporary_folder();
        std::fs::create_dir_all(&folder)?;
        command.env("TMPDIR", &folder).current_dir(&folder);
        let process = Process::start(service.binary_name(), &command, &self.state.log_file(service))?;
        self.processes().insert(service, process);
        Ok(())
    }

    /// Where the services run, and write temporary files if they do.
    pub fn temporary_folder(&self) -> PathBuf {
        self.state.dir().join("tmp")
    }

    /// Starts a service and waits until it is healthy.
    pub async fn launch_and_wait(&self, service: Service) {
        self.launch(service).expect("the service starts");
        self.wait_until_healthy(service).await.expect("the service becomes healthy");
    }

    /// The process id of a service.
    pub fn process_id(&self, service: Service) -> u32 {
        self.processes().get(&service).expect("the service runs").id()
    }

    /// SIGKILL.
    pub fn kill9(&self, service: Service) {
        self.processes().remove(&service).expect("the service runs").kill9();
    }

    /// Any other signal, as in `ABRT`.
    pub fn signal(&self, service: Service, signal: &str) {
        self.processes().get(&service).expect("the service runs").signal(signal);
    }

    /// SIGTERM, and how it ended; none if it had to be killed after `patience`.
    pub async fn terminate(&self, service: Service, patience: Duration) -> Option<ExitStatus> {
        let process = self.processes().remove(&service);
        process.expect("the service runs").terminate(patience).await
    }

    /// Waits until a service's own health check says that it serves.
    pub async fn wait_until_healthy(&self, service: Service) -> anyhow::Result<()> {
        self.wait_until_health_is(service, ServingStatus::Serving).await
    }

    /// Waits until a service answers, and says that it does not serve.
    pub async fn wait_until_sealed(&self, service: Service) -> anyhow::Result<()> {
        self.wait_until_health_is(service, ServingStatus::NotServing).await
    }

    async fn wait_until_health_is(&self, service: Service, wanted: ServingStatus) -> anyhow::Result<()> {
        let so = within(PATIENCE, async || match self.health_status(service).await? {
            status if status == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let name = service.binary_name();
        so.await.map_err(|last| {
            anyhow!("{name}'s health did not become {wanted:?}: {last}\n{}", self.tail(service, 20))
        })
    }

    /// What a service's own health check says.
    pub async fn health_status(&self, service: Service) -> Result<ServingStatus, String> {
        self.check_running(service)?;
        let request = HealthCheckRequest { service: service.grpc_name().to_owned() };
        let answer = self.health(service).check(request).await;
        Ok(answer.map_err(|status| status.message().to_owned())?.into_inner().status())
    }

    /// Waits until the applier follows the desired state: what is declared from now on reaches it as a change.
    pub async fn wait_until_followed(&self) -> anyhow::Result<()> {
        let followed = within(PATIENCE, async || {
            let status =
                self.grant_manager(&self.admin()).get_sync_status(GetSyncStatusRequest::default()).await;
            let clusters = status.map_err(|status| status.message().to_owned())?.into_inner().clusters;
            if clusters.iter().all(|cluster| cluster.connected) {
                Ok(())
            } else {
                Err(format!("{clusters:?}"))
            }
        });
        followed.await.map_err(|last| anyhow!("the applier does not follow the desired state: {last}"))
    }

    /// Runs the `pullpass` command as the platform administrator.
    pub async fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.expect("the command runs")
    }

    /// Runs it with something on its standard input.
    pub async fn cli_with(&self, input: impl Into<Vec<u8>>, arguments: &[&str]) -> Output {
        self.command(arguments).input(input).output().await.expect("the command runs")
    }

    /// The `pullpass` command, to be run as the platform administrator.
    pub fn command(&self, arguments: &[&str]) -> Run {
        let program = binaries::own("pullpass").expect("the pullpass command");
        Run::new(&program, arguments)
            .env("PULLPASS_CONFIG", self.state.client_file())
            .env("TMPDIR", self.temporary_folder())
    }

    /// The last lines of a service's log.
    pub fn tail(&self, service: Service, lines: usize) -> String {
        let text = self.log(service);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// All that a service has logged.
    pub fn log(&self, service: Service) -> String {
        read(&self.state.log_file(service))
    }

    /// How a service ended by itself, if it has.
    pub fn ended(&self, service: Service) -> Option<ExitStatus> {
        self.processes().get_mut(&service).and_then(Process::ended)
    }

    fn check_running(&self, service: Service) -> Result<(), String> {
        match self.processes().get_mut(&service).map(Process::ended) {
            Some(Some(status)) => Err(format!("it ended with {status}")),
            Some(None) => Ok(()),
            None => Err("it was not started".to_owned()),
        }
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<Service, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chosen here, because a state folder chooses at random, and two worlds that start at the same time may take the same.
pub(crate) fn choose_ports(folder: &Path) -> anyhow::Result<()> {
    let ports = Ports {
        credential_store: ports::free(),
        credential_store_metrics: ports::free(),
        grant_manager: ports::free(),
        grant_manager_metrics: ports::free(),
        cluster_applier: ports::free(),
        cluster_applier_metrics: ports::free(),
    };
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("ports.toml"), toml::to_string(&ports)?)?;
    Ok(())
}

fn read(file: &Path) -> String {
    std::fs::read(file).map_or_else(|e| e.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}
