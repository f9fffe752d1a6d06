//! The three services as fakes in this process, behind real mTLS, and the real `pullpass` program in front of them.

mod applier;
mod grants;
mod store;

use std::{
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pullpass::dev::{Options, Service, StateDir};
use pullpass_api::{
    applier::v1::{PlanSyncRequest, PlanSyncResponse, cluster_applier_server::ClusterApplierServer},
    credential::v1::{
        AddCredentialVersionRequest, CreateCredentialRequest, Credential, GetKeyStatusResponse,
        RewrapDataKeysResponse, credential_store_server::CredentialStoreServer,
    },
    grant::v1::{
        CreateSecretLinkRequest, DeleteSecretLinkRequest, LeaveClusterRequest, SecretLink,
        WatchSyncStatusResponse, grant_manager_server::GrantManagerServer,
    },
};
use pullpass_runtime::{Server, Shutdown, Tls, config::ServerConfig};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tonic::{Status, service::Routes};

/// What the fakes answer, and what they were asked.
#[derive(Default)]
pub(crate) struct Script {
    /// Refuse every write with this.
    pub(crate) refusal: Option<Status>,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) key_status: GetKeyStatusResponse,
    /// What re-wrapping answers, one after the other; the refusal when none is left.
    pub(crate) rewraps: Vec<RewrapDataKeysResponse>,
    pub(crate) links: Vec<SecretLink>,
    /// What a watch tells, one after the other; the last one stands.
    pub(crate) statuses: Vec<WatchSyncStatusResponse>,
    /// How often a deleted link is still found.
    pub(crate) deleted_is_found: usize,
    pub(crate) plan: PlanSyncResponse,
    /// How many deletions the applier holds.
    pub(crate) held_deletions: i64,
    pub(crate) created: Vec<CreateCredentialRequest>,
    pub(crate) rotated: Vec<AddCredentialVersionRequest>,
    pub(crate) links_created: Vec<CreateSecretLinkRequest>,
    pub(crate) links_deleted: Vec<DeleteSecretLinkRequest>,
    pub(crate) planned: Vec<PlanSyncRequest>,
    pub(crate) left: Vec<LeaveClusterRequest>,
}

impl Script {
    fn refused(&self) -> Result<(), Status> {
        self.refusal.clone().map_or(Ok(()), Err)
    }
}

/// A state folder with running fakes.
pub(crate) struct World {
    pub(crate) state: StateDir,
    script: Arc<Mutex<Script>>,
    shutdown: Shutdown,
    _folder: TempDir,
}

/// What the program did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A state folder, and nothing that runs.
pub(crate) fn folder() -> (TempDir, StateDir) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::prepare(&Options::new(folder.path())).unwrap();
    (folder, state)
}

impl World {
    pub(crate) fn start(script: Script) -> Self {
        let (folder, state) = folder();
        let script = Arc::new(Mutex::new(script));
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let store = CredentialStoreServer::new(store::Store(Arc::clone(&script)));
        let grants = GrantManagerServer::new(grants::Grants(Arc::clone(&script)));
        let applier = ClusterApplierServer::new(applier::Applier(Arc::clone(&script)));
        serve(&state, Service::CredentialStore, Routes::new(store), &shutdown);
        serve(&state, Service::GrantManager, Routes::new(grants), &shutdown);
        serve(&state, Service::ClusterApplier, Routes::new(applier), &shutdown);
        Self { state, script, shutdown, _folder: folder }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }

    pub(crate) async fn run(&self, line: &str) -> Run {
        pullpass(&self.state, line, "").await
    }

    pub(crate) async fn run_with(&self, line: &str, stdin: &str) -> Run {
        pullpass(&self.state, line, stdin).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(state: &StateDir, service: Service, routes: Routes, shutdown: &Shutdown) {
    let text = std::fs::read_to_string(state.config_file(service)).unwrap();
    let mut file: toml::Table = toml::from_str(&text).unwrap();
    let config: ServerConfig = file.remove("server").unwrap().try_into().unwrap();
    let tls = Arc::new(Tls::load(&config.tls).unwrap());
    let server = Server::new(&config, tls).unwrap();
    let until = shutdown.clone();
    tokio::spawn(async move { server.serve(routes, &[service.grpc_name()], &until).await });
}

/// Runs the program with the words of `line` and the configuration of `state`.
pub(crate) async fn pullpass(state: &StateDir, line: &str, stdin: &str) -> Run {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_pullpass"))
        .args(line.split_whitespace())
        .env("PULLPASS_CONFIG", state.client_file())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // A program that does not read its stdin may have closed it.
    let _ = input.write_all(stdin.as_bytes()).await;
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
