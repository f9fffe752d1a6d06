//! A real node: containerd and the kubelet, under one process in mount and pid namespaces of its own. With that process the
//! kernel ends everything in them and takes their mounts back, whether a test ends, fails or is killed; nothing of the
//! machine is touched. There is no scheduler and no pod network: pods name their node and use the machine's network.
//!
//! ```text
//!  Process ─► start.sh ─► unshare ─┬─► init.sh ─┬─► containerd ─► shims ─► containers
//!                │                 │            └─► kubelet
//!                │                 └─ private: pids, mounts, /run, /var/log, some of /proc/sys
//!                └─► removes the cgroup in the end
//! ```

mod config;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::Api;

use crate::{Cluster, binaries, image, process::Process, wait::within};

/// Far longer than it takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// The programs that do not run by their path in the scripts.
const PROGRAMS: [(&str, &str); 4] =
    [("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc"), ("unshare", "util-linux")];

/// A node of a cluster.
#[derive(Debug)]
pub struct Node {
    name: String,
    image: PathBuf,
    process: Mutex<Process>,
}

impl Node {
    /// Whether nodes can run here: that takes root. Says so loudly where they cannot, and in CI (where `CI` is set) fails.
    pub fn can_run() -> bool {
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let in_ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        assert!(is_root || !in_ci, "CI is set, and without root no node can run: run the tests as root");
        if !is_root {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            // Past the test harness, which shows what is printed only if a test fails.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("\nNOT RUN: {test} needs a real node, and that takes root\n").as_bytes(),
            );
        }
        is_root
    }

    /// Starts one with everything that it writes in `folder`, and waits until it is registered with the cluster.
    pub async fn start(folder: &Path, cluster: &Cluster) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("e2e-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        for (program, package) in PROGRAMS {
            binaries::installed(program, package)?;
        }
        let kubelet = binaries::kubernetes("kubelet")
            .context("a real node needs the kubelet beside the other Kubernetes programs")?;
        let image = image::running(folder).await?;
        config::write(folder, &name)?;
        let command = command(folder, &name, &kubelet, cluster)?;
        let process = Process::start("node", &command, &folder.join("node.log"))?;
        let node = Self { name, image, process: Mutex::new(process) };
        node.wait_until_registered(cluster).await?;
        Ok(node)
    }

    /// Its name, for `spec.nodeName`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The archive of an image that runs.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// The last `lines` lines of what containerd and the kubelet said.
    pub fn tail(&self, lines: usize) -> String {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).tail(lines)
    }

    async fn wait_until_registered(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let nodes: Api<ApiNode> = Api::all(cluster.client());
        let registered = within(PATIENCE, async || {
            let ended = self.process.lock().unwrap_or_else(PoisonError::into_inner).ended();
            if let Some(status) = ended {
                return Err(format!("it ended with {status}"));
            }
            let node = nodes.get_opt(&self.name).await.map_err(|e| e.to_string())?;
            node.map(drop).ok_or_else(|| "the cluster does not know it".to_owned())
        });
        let registered = registered.await;
        registered.map_err(|last| anyhow!("the node did not start: {last}; its log ends:\n{}", self.tail(30)))
    }
}

fn command(folder: &Path, name: &str, kubelet: &Path, cluster: &Cluster) -> anyhow::Result<Command> {
    let script = |file: &str, content: &str| {
        let path = folder.join(file);
        fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
        anyhow::Ok(path)
    };
    let start = script("start.sh", include_str!("node/start.sh"))?;
    let init = script("init.sh", include_str!("node/init.sh"))?;
    let mut command = Command::new("bash");
    // It looks for every cloud's credentials at its start.
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command.arg(start).arg(init).arg(config::cgroup(name)).arg(folder).arg(kubelet);
    command.args(config::kubelet_flags(folder, name, kubelet, cluster.kubeconfig())?);
    Ok(command)
}
