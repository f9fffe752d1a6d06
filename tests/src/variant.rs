//! The services of a state folder once more, beside those that run: with configurations, ports and databases of their own.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use anyhow::{Context as _, anyhow};
use pullpass::dev::Service;
use pullpass_runtime::{
    Connection,
    config::{PeerConfig, TlsConfig},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{Pullpass, binaries, ports, process::Process, pullpass::connection, wait::within};

const PATIENCE: Duration = Duration::from_mins(1);
/// How many lines of each log a failed test shows.
const TAIL: usize = 15;

/// The running services.
#[derive(Debug)]
pub struct Variant {
    peers: BTreeMap<Service, PeerConfig>,
    processes: BTreeMap<Service, Process>,
}

impl Variant {
    /// Starts `services` with the configurations of `pullpass` after `change` had them, and waits until they are healthy.
    pub async fn start(
        pullpass: &Pullpass,
        name: &str,
        services: &[Service],
        mut change: impl FnMut(Service, &mut toml::Table),
    ) -> anyhow::Result<Self> {
        let state = pullpass.state();
        // What they keep, and what they remember of it.
        let kept = ["data", "state"]
            .map(|kind| (state.dir().join(kind), state.dir().join(format!("{name}-{kind}"))));
        for (_, own) in &kept {
            fs::create_dir_all(own)?;
        }
        let mut peers = BTreeMap::new();
        for service in services {
            let endpoint = format!("127.0.0.1:{}", ports::free());
            peers.insert(*service, PeerConfig { endpoint, identity: state.identity(*service)? });
        }
        let mut variant = Self { peers, processes: BTreeMap::new() };
        for service in services {
            let usual = fs::read_to_string(state.config_file(*service))?;
            let moved = kept.iter().fold(variant.moved(&usual, pullpass), |text, (usual, own)| {
                text.replace(&format!("{}/", usual.display()), &format!("{}/", own.display()))
            });
            let mut config: toml::Table = moved.parse()?;
            let server =
                config.get_mut("server").and_then(toml::Value::as_table_mut).context("no [server]")?;
            if let Some(telemetry) = server.get_mut("telemetry").and_then(toml::Value::as_table_mut) {
                telemetry.remove("metrics_listen");
            }
            change(*service, &mut config);
            variant.launch(pullpass, name, *service, &toml::to_string(&config)?)?;
        }
        for service in services {
            variant.wait_until_healthy(pullpass, *service).await?;
        }
        Ok(variant)
    }

    /// A service as its callers know it.
    pub fn peer(&self, service: Service) -> &PeerConfig {
        &self.peers[&service]
    }

    /// A connection to a service.
    pub fn connection(&self, caller: &TlsConfig, service: Service) -> Connection {
        connection(caller, self.peer(service))
    }

    /// The process id of a service.
    pub fn process_id(&self, service: Service) -> u32 {
        self.processes[&service].id()
    }

    /// The configuration with our addresses in the place of the usual ones.
    fn moved(&self, usual: &str, pullpass: &Pullpass) -> String {
        let mut config = usual.to_owned();
        for (service, peer) in &self.peers {
            config = config.replace(&pullpass.state().address(*service).to_string(), &peer.endpoint);
        }
        config
    }

    fn launch(
        &mut self,
        pullpass: &Pullpass,
        name: &str,
        service: Service,
        config: &str,
    ) -> anyhow::Result<()> {
        let (state, name) = (pullpass.state(), format!("{name}-{}", service.binary_name()));
        let file = state.dir().join("config").join(format!("{name}.toml"));
        fs::write(&file, config)?;
        let mut command = Command::new(binaries::own(service.binary_name())?);
        command.arg("--config").arg(&file);
        let log = state.dir().join("logs").join(format!("{name}.log"));
        self.processes.insert(service, Process::start(&name, &command, &log)?);
        Ok(())
    }

    async fn wait_until_healthy(&mut self, pullpass: &Pullpass, service: Service) -> anyhow::Result<()> {
        let mut health = HealthClient::new(self.connection(&pullpass.admin(), service));
        let process = self.processes.get_mut(&service).context("it was not started")?;
        let healthy = within(PATIENCE, async || {
            if let Some(status) = process.ended() {
                return Err(format!("it ended with {status}: {}", process.tail(5)));
            }
            let request = HealthCheckRequest { service: service.grpc_name().to_owned() };
            health.check(request).await.map(drop).map_err(|status| status.message().to_owned())
        });
        let healthy = healthy.await;
        healthy.map_err(|last| anyhow!("{} did not become healthy: {last}", service.binary_name()))
    }
}

impl Drop for Variant {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (service, process) in &self.processes {
                eprintln!("── the other {} ends with\n{}", service.binary_name(), process.tail(TAIL));
            }
        }
    }
}
