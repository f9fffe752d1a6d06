//! One service as a child process, which writes what it logs into its file.

use std::{
    fs::{self, OpenOptions},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use rustix::process::{Pid, Signal, getppid, kill_process};
use tokio::process::{Child, Command};

use super::{Service, StateDir};

/// What a service may take to die after it was killed.
const KILL: Duration = Duration::from_secs(5);
/// How much of a log is shown when a service does not start.
const TAIL: usize = 10;

/// A running service.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) service: Service,
    child: Child,
    log: PathBuf,
    /// Where in the file the log of this run begins.
    log_begin: usize,
}

impl Running {
    /// Starts the program of `service`. It is in a process group of its own, so that Ctrl-C reaches only us, and we
    /// stop the services in order.
    pub(super) fn start(state: &StateDir, service: Service) -> anyhow::Result<Self> {
        free(state, service)?;
        let program = find(service.binary_name())?;
        let log = state.log_file(service);
        let log_begin = log.metadata().map_or(0, |file| usize::try_from(file.len()).unwrap_or_default());
        let output = || OpenOptions::new().create(true).append(true).open(&log);
        let output = || output().with_context(|| format!("failed to write {}", log.display()));
        let child = Command::new(std::env::current_exe().context("failed to find this program")?)
            .args(["dev-service", "--parent", &process::id().to_string()])
            .arg(&program)
            .arg(state.config_file(service))
            .stdin(Stdio::null())
            .stdout(output()?)
            .stderr(output()?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        Ok(Self { service, child, log, log_begin })
    }

    /// The last lines that it has logged since it was started, under the name of the file.
    pub(super) fn last_words(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes.get(self.log_begin..).unwrap_or_default());
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL)..];
        format!("{} ends:\n{}", self.log.display(), last.join("\n"))
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to stop, and kills it if it takes longer than `patience`.
    pub(super) async fn stop(&mut self, patience: Duration) -> anyhow::Result<()> {
        let name = self.service.binary_name();
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // It may have ended by itself just now.
            let _ = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => anyhow::bail!("{name} ended with {status}"),
            Ok(Err(error)) => Err(error).with_context(|| format!("failed to wait for {name}")),
            Err(_) => {
                let _ = self.child.start_kill();
                let _ = tokio::time::timeout(KILL, self.child.wait()).await;
                anyhow::bail!("{name} did not stop within {} s and was killed", patience.as_secs())
            }
        }
    }
}

/// What `pullpass dev` asks of a copy of itself.
#[derive(Debug, Args)]
pub(crate) struct ServiceArguments {
    /// Process id of the `pullpass dev`
    #[arg(long)]
    parent: i32,
    /// The service's program
    program: PathBuf,
    /// The service's configuration
    config: PathBuf,
}

/// Turns this process into a service that the kernel stops when `pullpass dev` ends, also if that was killed and can stop
/// nothing itself; elsewhere than on Linux nobody does. (`pullpass dev` starts its services from its main thread: the
/// kernel minds the thread, prctl(2).)
/// Returns only why it could not.
pub(crate) fn become_service(arguments: &ServiceArguments) -> anyhow::Error {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return anyhow::Error::new(error).context("failed to bind a service to pullpass dev");
    }
    if getppid() != Pid::from_raw(arguments.parent) {
        return anyhow::anyhow!("pullpass dev has ended already");
    }
    let error = process::Command::new(&arguments.program).arg("--config").arg(&arguments.config).exec();
    anyhow::Error::new(error).context(format!("failed to start {}", arguments.program.display()))
}

/// Fails if somebody listens where the service is going to.
fn free(state: &StateDir, service: Service) -> anyhow::Result<()> {
    let addresses = std::iter::once(state.address(service)).chain(state.metrics_address(service));
    for address in addresses {
        TcpListener::bind(address).with_context(|| {
            format!(
                "{address}, where {} is to listen, is taken: end the process that has it (`ss -ltnp`), or delete {} to get other ports",
                service.binary_name(),
                state.dir().join("ports.toml").display()
            )
        })?;
    }
    Ok(())
}

/// The program beside our own, or else on PATH.
fn find(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find the folder of this program")?;
    let beside = own.parent().map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file()).with_context(|| {
        format!(
            "the program {name} is neither beside {} nor on PATH: `cargo build --workspace` builds it",
            own.display()
        )
    })
}
