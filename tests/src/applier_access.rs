//! What the applier may do in the cluster: exactly what `deploy/cluster-applier` gives it, and nothing else.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{Cluster, ControlPlane, binaries, command::Run};

/// The namespace that the bases of `deploy/` expect, and the applier's account there.
pub(crate) const NAMESPACE: &str = "pullpass";
pub(crate) const ACCOUNT: &str = "cluster-applier";
/// Its roles and their bindings.
const ROLE: &str = "pullpass-cluster-applier";

/// Longer than any test.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// A folder of the checkout's `deploy/`.
pub(crate) fn base(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

/// The name by which the API server knows a service account beside the applier's.
pub fn user(account: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{account}")
}

/// Applies the base and returns a kubeconfig file of the applier's own service account.
pub async fn grant(plane: &ControlPlane) -> anyhow::Result<PathBuf> {
    let cluster = plane.cluster().await?;
    cluster.create_namespace(NAMESPACE, &[]).await;
    apply(&cluster, "cluster-applier").await?;
    kubeconfig_of(plane, &cluster, ACCOUNT).await
}

/// Another service account that may do the same, so that the audit log tells two appliers apart: its kubeconfig file.
pub async fn grant_another(plane: &ControlPlane, account: &str) -> anyhow::Result<PathBuf> {
    let cluster = plane.cluster().await?;
    cluster.create_service_account(NAMESPACE, account, &[]).await;
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE});
    let add = Patch::<()>::Json(serde_json::from_value(
        json!([{"op": "add", "path": "/subjects/-", "value": subject}]),
    )?);
    let params = PatchParams::default();
    cluster.api::<RoleBinding>(NAMESPACE).patch(ROLE, &params, &add).await?;
    Api::<ClusterRoleBinding>::all(cluster.client()).patch(ROLE, &params, &add).await?;
    kubeconfig_of(plane, &cluster, account).await
}

async fn kubeconfig_of(plane: &ControlPlane, cluster: &Cluster, account: &str) -> anyhow::Result<PathBuf> {
    let accounts = cluster.api::<ServiceAccount>(NAMESPACE);
    let request: TokenRequest = serde_json::from_value(json!({
        "metadata": {}, "spec": {"audiences": [], "expirationSeconds": TOKEN_SECONDS},
    }))?;
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
    let status = answer.with_context(|| format!("failed to get a token for {account}"))?.status;
    let token = status.and_then(|status| status.token).context("no token was given")?;
    plane.kubeconfig_for(account, &token)
}

/// Renders a base with kustomize and applies it.
pub(crate) async fn apply(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let rendered = render(name).await?;
    let kubectl = binaries::kubernetes("kubectl")?;
    let run = Run::new(&kubectl, ["apply", "--filename=-"]).env("KUBECONFIG", cluster.kubeconfig());
    let applied = run.input(rendered).output().await?;
    if applied.code != 0 {
        bail!("failed to apply deploy/{name}: {}", applied.stderr);
    }
    Ok(())
}

/// What `kubectl kustomize` makes of a base.
pub(crate) async fn render(name: &str) -> anyhow::Result<String> {
    let kubectl = binaries::kubernetes("kubectl")?;
    let folder = base(name).canonicalize().with_context(|| format!("deploy/{name} is not there"))?;
    let run = Run::new(&kubectl, ["kustomize".as_ref(), folder.as_os_str()]);
    run.output().await?.into_result().with_context(|| format!("failed to render deploy/{name}"))
}
