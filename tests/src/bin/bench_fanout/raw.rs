//! The limit: a loop that writes the same objects with as many requests in flight as the applier has, and knows nothing.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::future::try_join_all;
use http::{Method, Request, header};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// The applier's default.
const IN_FLIGHT: usize = 32;
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const PLAIN: &str = "application/json";

/// The name of its Secrets.
pub(crate) const NAME: &str = "raw";
/// Who manages its Secrets, by their label: not the applier.
pub(crate) const MANAGED_BY: &str = "bench-loop";

/// The loop.
pub(crate) struct Raw {
    client: Client,
}

impl Raw {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Does something for each of these, so many at one time. Gives how long all of it took.
    pub(crate) async fn each(
        &self,
        names: &[String],
        act: impl AsyncFn(usize, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Duration> {
        let (next, began) = (AtomicUsize::new(0), Instant::now());
        let worker = async || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(name) = names.get(n) else { return Ok::<_, anyhow::Error>(()) };
                act(n, name).await.with_context(|| format!("failed at {name}"))?;
            }
        };
        try_join_all((0..IN_FLIGHT).map(|_| worker())).await?;
        Ok(began.elapsed())
    }

    /// A Secret like the applier's, and its entry: two writes.
    pub(crate) async fn link(&self, namespace: &str) -> anyhow::Result<()> {
        self.create_secret(namespace).await?;
        let edit = json!([{"op": "add", "path": "/imagePullSecrets", "value": [{"name": NAME}]}]);
        self.send(Method::PATCH, &account(namespace), JSON, &edit).await
    }

    /// The Secret alone.
    pub(crate) async fn create_secret(&self, namespace: &str) -> anyhow::Result<()> {
        self.send(Method::POST, &secrets(namespace), PLAIN, &secret(namespace, 0)).await
    }

    /// New content: one write.
    pub(crate) async fn rotate(&self, namespace: &str, round: u32) -> anyhow::Result<()> {
        let change = json!({"data": {".dockerconfigjson": content(round)}});
        self.send(Method::PATCH, &secret_path(namespace), MERGE, &change).await
    }

    /// The same by a JSON Patch.
    pub(crate) async fn rotate_by_json_patch(&self, namespace: &str, round: u32) -> anyhow::Result<()> {
        let change = json!([{"op": "replace", "path": "/data/.dockerconfigjson", "value": content(round)}]);
        self.send(Method::PATCH, &secret_path(namespace), JSON, &change).await
    }

    /// The same by a whole new object.
    pub(crate) async fn rotate_by_replace(&self, namespace: &str, round: u32) -> anyhow::Result<()> {
        self.send(Method::PUT, &secret_path(namespace), PLAIN, &secret(namespace, round)).await
    }

    /// The same by server-side apply.
    pub(crate) async fn rotate_by_apply(&self, namespace: &str, round: u32) -> anyhow::Result<()> {
        let path = format!("{}?fieldManager=raw&force=true", secret_path(namespace));
        self.send(Method::PATCH, &path, APPLY, &secret(namespace, round)).await
    }

    /// Takes entry and Secret away: two writes.
    pub(crate) async fn unlink(&self, namespace: &str) -> anyhow::Result<()> {
        let edit = json!([{"op": "remove", "path": "/imagePullSecrets"}]);
        self.send(Method::PATCH, &account(namespace), JSON, &edit).await?;
        self.delete_secret(namespace).await
    }

    /// The Secret alone.
    pub(crate) async fn delete_secret(&self, namespace: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, &secret_path(namespace), PLAIN, &Value::Null).await
    }

    /// About a kilobyte that is none of ours.
    pub(crate) async fn create_foreign_secret(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "stringData": {"content": "x".repeat(1000)},
        });
        self.send(Method::POST, &secrets(namespace), PLAIN, &body).await
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: &Value) -> anyhow::Result<()> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        let answer = self.client.send(request.body(Body::from(body))?).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect_bytes().await?;
        anyhow::ensure!(head.status.is_success(), "{}: {}", head.status, String::from_utf8_lossy(&body));
        Ok(())
    }
}

fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

fn secret_path(namespace: &str) -> String {
    format!("{}/{NAME}", secrets(namespace))
}

fn account(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/default")
}

/// As large as the applier's, with as many labels and annotations.
fn secret(namespace: &str, round: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {
            "name": NAME, "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": MANAGED_BY}, "annotations": {"pullpass.io/none": NAME},
        },
        "data": {".dockerconfigjson": content(round)},
    })
}

fn content(round: u32) -> String {
    let auth = BASE64_STANDARD.encode(format!("robot:fake-password-{round}"));
    let entry = json!({"username": "robot", "password": format!("fake-password-{round}"), "auth": auth});
    BASE64_STANDARD.encode(json!({"auths": {"registry.example": entry}}).to_string())
}
