//! A real Kubernetes control plane on loopback: etcd, kube-apiserver (RBAC, audit log) and kube-controller-manager (which
//! makes the `default` service accounts). Ready in seconds; works with 1.20 and with current releases.

mod credentials;
mod flags;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow};

use crate::{audit_log::AuditLog, binaries, cluster::Cluster, ports, process::Process, wait::within};
use credentials::Credentials;
pub use credentials::{Admin, kubeconfig};

/// Far longer than it takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// The three processes and how to reach them.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    credentials: Credentials,
    api_server_command: Mutex<Command>,
    api_server: Mutex<Option<Process>>,
    etcd_command: Mutex<Command>,
    etcd: Mutex<Option<Process>>,
    manager: Option<Process>,
}

impl ControlPlane {
    /// Starts it with everything it writes in `folder`, and waits until it works.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let api_port = ports::free();
        let credentials = Credentials::create(folder, &format!("https://127.0.0.1:{api_port}"))?;
        let (etcd, etcd_url) = flags::etcd(folder)?;
        let api_server = flags::api_server(folder, api_port, &etcd_url, &credentials)?;
        let manager = flags::controller_manager(&credentials)?;
        let mut plane = Self {
            folder: folder.to_owned(),
            credentials,
            api_server_command: Mutex::new(api_server),
            api_server: Mutex::new(None),
            etcd_command: Mutex::new(etcd),
            etcd: Mutex::new(None),
            manager: None,
        };
        plane.start_etcd()?;
        plane.start_api_server().await?;
        let log = folder.join("kube-controller-manager.log");
        plane.manager = Some(Process::start("kube-controller-manager", &manager, &log)?);
        plane.wait_for_service_accounts().await?;
        Ok(plane)
    }

    /// A kubeconfig file of the administrator.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.credentials.admin_kubeconfig
    }

    /// The cluster as its administrator sees it. Of use in the runtime that asks for it, only.
    pub async fn cluster(&self) -> anyhow::Result<Cluster> {
        Cluster::connect(self.admin_kubeconfig()).await
    }

    /// Writes a kubeconfig file for the bearer of `token`.
    pub fn kubeconfig_for(&self, name: &str, token: &str) -> anyhow::Result<PathBuf> {
        let file = self.folder.join(format!("{name}.kubeconfig"));
        kubeconfig(&file, &self.credentials.url, &self.credentials.authority_pem, name, token)?;
        Ok(file)
    }

    /// What the API server was asked, and by whom.
    pub fn audit_log(&self) -> AuditLog {
        AuditLog::new(self.folder.join("audit.log"))
    }

    /// Kills the API server.
    pub fn kill_api_server(&self) {
        drop(lock(&self.api_server).take());
    }

    /// Kills etcd.
    pub fn kill_etcd(&self) {
        drop(lock(&self.etcd).take());
    }

    /// Starts etcd with the data that it had.
    pub fn start_etcd(&self) -> anyhow::Result<()> {
        let log = self.folder.join("etcd.log");
        let process = Process::start("etcd", &lock(&self.etcd_command), &log)?;
        *lock(&self.etcd) = Some(process);
        Ok(())
    }

    /// Starts the API server where it was, and waits until it is ready.
    pub async fn start_api_server(&self) -> anyhow::Result<()> {
        let process = {
            let command = lock(&self.api_server_command);
            Process::start("kube-apiserver", &command, &self.folder.join("kube-apiserver.log"))?
        };
        *lock(&self.api_server) = Some(process);
        let cluster = self.cluster().await?;
        let ready = within(PATIENCE, async || {
            self.check_running()?;
            cluster.is_ready().await.map_err(|e| format!("{e:#}"))
        });
        ready.await.map_err(|last| anyhow!("kube-apiserver did not become ready: {last}"))
    }

    fn check_running(&self) -> Result<(), String> {
        let mut process = lock(&self.api_server);
        match process.as_mut().and_then(|process| process.ended().map(|status| (status, process.tail(5)))) {
            Some((status, tail)) => Err(format!("it ended with {status}: {tail}")),
            None => Ok(()),
        }
    }

    async fn wait_for_service_accounts(&self) -> anyhow::Result<()> {
        let cluster = self.cluster().await?;
        let there = within(PATIENCE, async || {
            let account = cluster.find_service_account("default", "default").await;
            account.map(drop).ok_or_else(|| "there is no default/default".to_owned())
        });
        let made = there.await;
        let tail = || self.manager.as_ref().map(|process| process.tail(5)).unwrap_or_default();
        made.map_err(|last| anyhow!(last)).with_context(|| {
            format!("kube-controller-manager made no service accounts; its log ends: {}", tail())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parsed minor version of `program --version`: 20 of `Kubernetes v1.20.2`.
pub(crate) fn minor_version(program: &Path) -> anyhow::Result<u32> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("failed to run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let minor = text.split('.').nth(1).and_then(|minor| minor.parse().ok());
    minor.with_context(|| format!("{} --version says {text:?}", program.display()))
}

fn kubernetes(name: &str) -> anyhow::Result<Command> {
    binaries::kubernetes(name).map(Command::new)
}
