//! How containerd and the kubelet are set up.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::json;

use crate::{control_plane::minor_version, image, ports};

/// The cgroup of a node's containers.
pub(super) fn cgroup(node: &str) -> String {
    format!("pullpass-{node}")
}

/// Writes `containerd.toml` and `kubelet.json`.
pub(super) fn write(folder: &Path, node: &str) -> anyhow::Result<()> {
    let containerd =
        toml::to_string(&containerd(folder)).context("failed to render containerd's settings")?;
    for (name, content) in
        [("containerd.toml", containerd), ("kubelet.json", kubelet(folder, node).to_string())]
    {
        fs::write(folder.join(name), content).with_context(|| format!("failed to write {name}"))?;
    }
    Ok(())
}

/// It talks plain HTTP to registries on loopback by itself. The sockets stay where everybody expects them, in the node's own
/// `/run`: a path in the work folder may be too long for one.
fn containerd(folder: &Path) -> serde_json::Value {
    json!({
        "version": 2,
        "root": folder.join("containerd"),
        "disabled_plugins": ["io.containerd.internal.v1.opt"],
        "plugins": {"io.containerd.grpc.v1.cri": {
            "sandbox_image": image::FULL_NAME,
            // Lowering it may be forbidden, even to root.
            "restrict_oom_score_adj": true,
            // A profile would be loaded into the machine's kernel.
            "disable_apparmor": true,
            // Copies, where overlayfs does not work on every file system.
            "containerd": {"snapshotter": "native"},
            "cni": {"conf_dir": folder.join("cni"), "bin_dir": folder.join("cni")},
        }},
    })
}

fn kubelet(folder: &Path, node: &str) -> serde_json::Value {
    let never = |signals: &[&str]| -> serde_json::Map<_, _> {
        signals.iter().map(|signal| ((*signal).to_owned(), json!("0%"))).collect()
    };
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": ports::free(),
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cgroup(node)),
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        // How full the machine is does not matter here.
        "evictionHard": never(&["memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"]),
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": false,
        "volumePluginDir": folder.join("kubelet-plugins"),
    })
}

/// The kubelet's flags, for what has no place in its configuration.
pub(super) fn kubelet_flags(
    folder: &Path,
    node: &str,
    kubelet: &Path,
    kubeconfig: &Path,
) -> anyhow::Result<Vec<String>> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut flags = vec![
        format!("--config={}", file("kubelet.json")),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--root-dir={}", file("kubelet")),
        format!("--cert-dir={}", file("kubelet-pki")),
        format!("--hostname-override={node}"),
        "--container-runtime-endpoint=unix:///run/containerd/containerd.sock".to_owned(),
    ];
    let minor = minor_version(kubelet)?;
    if minor < 24 {
        flags.push("--container-runtime=remote".to_owned());
    }
    if minor < 26 {
        // It keeps sockets at a fixed place of the machine.
        flags.push("--feature-gates=DevicePlugins=false".to_owned());
    }
    Ok(flags)
}
