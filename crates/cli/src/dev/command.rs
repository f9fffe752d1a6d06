//! `pullpass dev`: its arguments.

use std::{
    fs::{File, TryLockError},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use clap::Args;
use pullpass_domain::name::ClusterName;

use super::{Options, StateDir, run::Supervisor};
use crate::values;

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass dev --state-dir ./state --kubeconfig ~/.kube/config
  pullpass --config ./state/client.toml status        (in another terminal, when it says that it is ready)

The state folder holds keys, certificates, databases, logs and ports. It is made at the first start and used again by
the next ones. The services are the programs credential-store, grant-manager and cluster-applier, from the folder of this
program or from PATH. Ctrl-C stops them.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder for everything that is kept
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// The way to the cluster; default: where kubectl looks
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The name under which the cluster is registered
    #[arg(long, value_name = "NAME", default_value = "dev", value_parser = values::cluster)]
    cluster: ClusterName,
    /// What the services log, as in `info` or `debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// Where to send traces by OTLP over gRPC, as in `http://127.0.0.1:4317`
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Serve gRPC reflection, for tools such as grpcurl
    #[arg(long)]
    reflection: bool,
}

/// Runs the three services until a signal.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let options = Options {
        cluster: arguments.cluster.id().to_owned(),
        kubeconfig: arguments.kubeconfig,
        log: arguments.log,
        otlp_endpoint: arguments.otlp_endpoint,
        reflection: arguments.reflection,
        ..Options::new(arguments.state_dir)
    };
    let state = StateDir::prepare(&options)?;
    let _lock = lock(&state)?;
    Supervisor::new(state, options.shutdown_seconds)?.run().await
}

/// Held as long as the file is open.
fn lock(state: &StateDir) -> anyhow::Result<File> {
    let file = state.dir().join("lock");
    let lock = File::create(&file).with_context(|| format!("failed to write {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("failed to lock {}", file.display())),
        Err(TryLockError::WouldBlock) => bail!(
            "another `pullpass dev` uses {} already: stop it, or choose another folder",
            state.dir().display()
        ),
    }
}
