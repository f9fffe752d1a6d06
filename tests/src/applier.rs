//! Appliers beside the one that [`Pullpass`] starts: of the same cluster, to take turns with it, or of another one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use pullpass::dev::Service;
use pullpass_api::applier::v1::cluster_applier_client::ClusterApplierClient;
use pullpass_runtime::{
    Connection,
    config::{PeerConfig, TlsConfig},
};

use crate::{Pullpass, applier_access, binaries, ports, process::Process, pullpass::connection};

/// What is different from the one that [`Pullpass`] starts.
#[derive(Debug, Clone)]
pub struct Differences {
    /// Its name in log files, and in the Lease if it has one.
    pub name: String,
    /// The cluster, and who it is there.
    pub kubeconfig: PathBuf,
    /// Its certificate.
    pub tls: TlsConfig,
    /// Takes turns with others by a Lease of this duration; else it is alone.
    pub lease_seconds: Option<u16>,
    /// How many namespaces it works on at one time; else as many as is usual.
    pub in_flight: Option<u16>,
}

/// A real applier.
#[derive(Debug)]
pub struct Applier {
    name: String,
    config: PathBuf,
    log: PathBuf,
    peer: PeerConfig,
    process: Mutex<Option<Process>>,
}

impl Applier {
    /// Writes its configuration into the state folder and starts it.
    pub fn start(pullpass: &Pullpass, differences: &Differences) -> anyhow::Result<Self> {
        let (state, name) = (pullpass.state(), &differences.name);
        let usual = fs::read_to_string(state.config_file(Service::ClusterApplier))?;
        let port = ports::free();
        let config = configure(&usual, differences, port).context("failed to configure the applier")?;
        let file = state.dir().join("config").join(format!("{name}.toml"));
        fs::write(&file, config).with_context(|| format!("failed to write {}", file.display()))?;
        let identity = pullpass_runtime::Tls::load(&differences.tls)?.identity().spiffe_id.clone();
        let applier = Self {
            name: name.clone(),
            config: file,
            log: state.dir().join("logs").join(format!("{name}.log")),
            peer: PeerConfig { endpoint: format!("127.0.0.1:{port}"), identity },
            process: Mutex::new(None),
        };
        applier.launch()?;
        Ok(applier)
    }

    /// Starts it again.
    pub fn launch(&self) -> anyhow::Result<()> {
        let mut command = Command::new(binaries::own(Service::ClusterApplier.binary_name())?);
        command.arg("--config").arg(&self.config);
        *self.process() = Some(Process::start(&self.name, &command, &self.log)?);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill9(&self) {
        self.process().take().expect("it runs").kill9();
    }

    /// SIGTERM, and how it ended; none if it had to be killed after `patience`.
    pub async fn terminate(&self, patience: Duration) -> Option<ExitStatus> {
        let process = self.process().take();
        process.expect("it runs").terminate(patience).await
    }

    /// SIGSTOP: it does nothing at all until [`Self::go_on`].
    pub fn stop(&self) {
        self.process().as_ref().expect("it runs").signal("STOP");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.process().as_ref().expect("it runs").signal("CONT");
    }

    /// Its gRPC service, as seen by `caller`.
    pub fn client(&self, caller: &TlsConfig) -> ClusterApplierClient<Connection> {
        ClusterApplierClient::new(connection(caller, &self.peer))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|e| e.to_string())
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The usual configuration with the differences in it.
fn configure(usual: &str, differences: &Differences, port: u16) -> anyhow::Result<String> {
    let mut config: toml::Table = usual.parse()?;
    let kubeconfig = path(&differences.kubeconfig)?;
    config.insert("kubeconfig".to_owned(), kubeconfig.into());
    if let Some(in_flight) = differences.in_flight {
        config.insert("in_flight".to_owned(), i64::from(in_flight).into());
    }
    if let Some(seconds) = differences.lease_seconds {
        let mut lease = toml::Table::new();
        lease.insert("namespace".to_owned(), applier_access::NAMESPACE.into());
        lease.insert("holder".to_owned(), differences.name.clone().into());
        lease.insert("duration_seconds".to_owned(), i64::from(seconds).into());
        config.insert("lease".to_owned(), lease.into());
    }
    let server = config.get_mut("server").and_then(toml::Value::as_table_mut).context("no [server]")?;
    server.insert("listen".to_owned(), format!("127.0.0.1:{port}").into());
    server.insert("tls".to_owned(), toml::Value::try_from(&differences.tls)?);
    if let Some(telemetry) = server.get_mut("telemetry").and_then(toml::Value::as_table_mut) {
        telemetry.remove("metrics_listen");
    }
    Ok(toml::to_string(&config)?)
}

fn path(file: &Path) -> anyhow::Result<String> {
    Ok(file.to_str().context("a path that is no text")?.to_owned())
}
