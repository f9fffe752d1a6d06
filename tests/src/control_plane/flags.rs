//! The command lines of the three processes.

use std::{fs, path::Path, process::Command};

use anyhow::Context as _;

use super::{credentials::Credentials, kubernetes, minor_version};
use crate::{binaries, ports};

/// Everything is logged without bodies: who, what, when.
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
  "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]
}"#;

/// The controllers that a namespace, its service accounts and the aggregated roles need.
const CONTROLLERS: &str = "serviceaccount,serviceaccount-token,namespace,clusterrole-aggregation";

pub(super) fn etcd(folder: &Path) -> anyhow::Result<(Command, String)> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let (client, peer) = (url(ports::free()), url(ports::free()));
    let mut command = kubernetes("etcd")?;
    command.arg("--data-dir").arg(folder.join("etcd")).args([
        "--unsafe-no-fsync",
        &format!("--listen-client-urls={client}"),
        &format!("--advertise-client-urls={client}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=default={peer}"),
    ]);
    Ok((command, client))
}

pub(super) fn api_server(
    folder: &Path,
    port: u16,
    etcd_url: &str,
    credentials: &Credentials,
) -> anyhow::Result<Command> {
    let policy = folder.join("audit-policy.json");
    fs::write(&policy, AUDIT_POLICY).with_context(|| format!("failed to write {}", policy.display()))?;
    let mut command = kubernetes("kube-apiserver")?;
    command.args([
        &format!("--secure-port={port}"),
        &format!("--etcd-servers={etcd_url}"),
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        // In megabytes: the log is read whole, and must not begin anew in a large run.
        "--audit-log-maxsize=100000",
    ]);
    let files = [
        ("--cert-dir", &folder.join("api-server")),
        ("--tls-cert-file", &credentials.certificate),
        ("--tls-private-key-file", &credentials.key),
        ("--token-auth-file", &credentials.tokens),
        ("--service-account-key-file", &credentials.account_public_key),
        ("--service-account-signing-key-file", &credentials.account_key),
        ("--audit-policy-file", &policy),
        ("--audit-log-path", &folder.join("audit.log")),
    ];
    command.args(files.map(|(flag, file)| format!("{flag}={}", file.display())));
    Ok(command)
}

pub(super) fn controller_manager(credentials: &Credentials) -> anyhow::Result<Command> {
    let program = binaries::kubernetes("kube-controller-manager")?;
    let mut command = Command::new(&program);
    if minor_version(&program)? < 24 {
        // The insecure port of old, which is not there any more and else collides with that of another run.
        command.arg("--port=0");
    }
    command.args([
        &format!("--secure-port={}", ports::free()),
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        &format!("--controllers={CONTROLLERS}"),
        &format!("--kubeconfig={}", credentials.admin_kubeconfig.display()),
        &format!("--authentication-kubeconfig={}", credentials.admin_kubeconfig.display()),
        &format!("--authorization-kubeconfig={}", credentials.admin_kubeconfig.display()),
        &format!("--service-account-private-key-file={}", credentials.account_key.display()),
    ]);
    Ok(command)
}
