//! credential-store by itself: what needs no cluster is ready in an instant.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use pullpass::dev::{Options, Service, StateDir};
use pullpass_api::credential::v1::credential_store_client::CredentialStoreClient;
use pullpass_runtime::{Connection, config::TlsConfig};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    WorkFolder, binaries,
    process::Process,
    pullpass::{choose_ports, connection},
    wait::within,
};

const SERVICE: Service = Service::CredentialStore;
const PATIENCE: Duration = Duration::from_secs(30);

/// The running service and its state folder.
#[derive(Debug)]
pub struct Alone {
    /// Where everything is.
    pub state: StateDir,
    process: Process,
    _folder: WorkFolder,
}

impl Alone {
    /// Prepares the state folder as [`Alone::start_with`] does.
    pub async fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let alone = Self::start_with(name, environment, |_| {});
        alone.is_healthy().await;
        alone
    }

    /// Starts it with these variables in its environment, after `change` had a look at the state folder.
    pub fn start_with(name: &str, environment: &[(&str, &str)], change: impl FnOnce(&StateDir)) -> Self {
        let folder = WorkFolder::new(name).expect("a folder");
        let options = Options::new(folder.path().join("pullpass"));
        choose_ports(&options.dir).expect("ports");
        let state = StateDir::prepare(&options).expect("a state folder");
        change(&state);
        let mut command = Command::new(binaries::own(SERVICE.binary_name()).expect("the service"));
        command.arg("--config").arg(state.config_file(SERVICE)).envs(environment.iter().copied());
        let process = Process::start(SERVICE.binary_name(), &command, &state.log_file(SERVICE));
        Self { state, process: process.expect("the service starts"), _folder: folder }
    }

    async fn is_healthy(&self) {
        let healthy = within(PATIENCE, async || {
            let request = HealthCheckRequest { service: SERVICE.grpc_name().to_owned() };
            let answer = HealthClient::new(self.connection(self.state.admin())).check(request).await;
            answer.map(drop).map_err(|status| status.message().to_owned())
        });
        healthy.await.unwrap_or_else(|last| panic!("not healthy: {last}\n{}", self.log()));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.state.address(SERVICE)
    }

    /// A certificate for any identity.
    pub fn caller(&self, path: &str) -> TlsConfig {
        self.state.issue(path).expect("a certificate")
    }

    /// A connection of its own.
    pub fn connection(&self, caller: &TlsConfig) -> Connection {
        connection(caller, &self.state.peer(SERVICE).expect("a peer"))
    }

    /// A client with a connection of its own.
    pub fn client(&self, caller: &TlsConfig) -> CredentialStoreClient<Connection> {
        CredentialStoreClient::new(self.connection(caller))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.process.log()).unwrap_or_default()
    }

    /// What its metrics say.
    pub async fn metrics(&self) -> String {
        let address = self.state.metrics_address(SERVICE).expect("it serves metrics");
        crate::metrics::text(address).await
    }

    /// The most memory that it has had so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}
