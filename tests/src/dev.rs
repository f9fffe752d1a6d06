//! A running `pullpass dev`, which starts the services itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::anyhow;

use crate::{binaries, process::Process, wait::within};

const READY: &str = "ready: ";
const PATIENCE: Duration = Duration::from_mins(2);
/// What it takes to stop its services; then it is killed.
const STOP: Duration = Duration::from_secs(20);

/// It, and with it its services, ends when this is dropped.
#[derive(Debug)]
pub struct PullpassDev {
    process: Process,
    state: PathBuf,
    /// Where in the log this run begins.
    log_begin: usize,
}

impl PullpassDev {
    /// Starts it with a state folder in `folder`, and waits until it says that it is ready.
    pub async fn start(folder: &Path, cluster: &str, kubeconfig: &Path) -> anyhow::Result<Self> {
        let state = folder.join("pullpass");
        let mut command = Command::new(binaries::own("pullpass")?);
        command.args(["dev", "--cluster", cluster, "--state-dir"]).arg(&state);
        command.arg("--kubeconfig").arg(kubeconfig);
        let log = folder.join("pullpass-dev.log");
        let log_begin = fs::read(&log).map_or(0, |bytes| bytes.len());
        let process = Process::start("pullpass dev", &command, &log)?;
        let mut dev = Self { process, state, log_begin };
        let ready = within(PATIENCE, async || dev.is_ready()).await;
        match ready {
            Ok(Ok(())) => Ok(dev),
            Ok(Err(error)) => Err(error),
            Err(last) => Err(anyhow!("pullpass dev did not become ready: {last}")),
        }
    }

    /// What `--config` of the `pullpass` command is given.
    pub fn client_file(&self) -> PathBuf {
        self.state.join("client.toml")
    }

    /// The addresses at which its services listen.
    pub fn addresses(&self) -> anyhow::Result<Vec<(String, u16)>> {
        let ports = fs::read_to_string(self.state.join("ports.toml"))?.parse::<toml::Table>()?;
        let port = |port: &toml::Value| port.as_integer().and_then(|port| u16::try_from(port).ok());
        Ok(ports.iter().filter_map(|(service, value)| Some((service.clone(), port(value)?))).collect())
    }

    /// SIGTERM, and how it ended, if it did.
    pub async fn stop(&mut self) -> Option<ExitStatus> {
        match self.process.ended() {
            None => self.process.terminate(STOP).await,
            ended => ended,
        }
    }

    /// SIGKILL, to it alone.
    pub fn kill9(mut self) {
        self.process.kill9();
    }

    /// The outer error may pass, the inner one does not.
    fn is_ready(&mut self) -> Result<anyhow::Result<()>, String> {
        if let Some(status) = self.process.ended() {
            return Ok(Err(anyhow!("pullpass dev ended with {status}:\n{}", self.process.tail(20))));
        }
        let log = fs::read_to_string(self.process.log()).map_err(|e| e.to_string())?;
        let ready = log[self.log_begin..].lines().any(|line| line.starts_with(READY));
        if ready { Ok(Ok(())) } else { Err(self.process.tail(5)) }
    }
}
