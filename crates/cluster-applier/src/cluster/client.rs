//! Requests to the API server: one at a time of so many, each with a time limit and a span, and errors that never quote
//! what was sent.
//!
//! Writes are sent and read here and not by kube's typed calls: those neither show `Retry-After` nor keep an unreadable
//! answer out of the log.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Request, StatusCode, header};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Config, Resource,
    client::{Body, ClientBuilder, retry::RetryPolicy},
    config::{KubeConfigOptions, Kubeconfig},
    core::Status,
};
use pullpass_domain::name::Namespace;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tower::{buffer::BufferLayer, retry::RetryLayer};
use tracing::{Instrument, Span, field};

use super::{gate, object::Identity};
use crate::lease::Turn;

/// Who wrote a field, as the API server notes it.
const FIELD_MANAGER: &str = "pullpass";
/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What of the API server's words about a Secret is understood and may be repeated.
pub(crate) const QUOTA: &str = "exceeded quota";
pub(crate) const TERMINATING: &str = "is being terminated";
const KNOWN: [&str; 2] = [QUOTA, TERMINATING];

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to {verb} {kind} {namespace}/{name}: {problem}")]
pub(crate) struct Error {
    pub(crate) verb: Verb,
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) problem: Problem,
}

/// What the API server, or the way to it, says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// The API server refused. The message is empty where it could quote a Secret.
    #[error("{code} {reason}{}{message}", if message.is_empty() { "" } else { ", " })]
    Refused { code: u16, reason: String, message: String, retry_after: Option<Duration> },
    /// There was no answer, or none that can be read.
    #[error("{0}")]
    NoAnswer(String),
    /// We are not the active applier any more, and did not send it.
    #[error("not sent, this applier stands by")]
    Withheld,
}

/// What is done to an object, as RBAC calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Create,
    Patch,
    Delete,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The API server.
pub(crate) struct Cluster {
    /// For lists and watches; it waits and tries again as the API server asks.
    pub(crate) watches: Client,
    writes: Client,
    /// Never gated, and past the slots: by these requests it is decided whether others may be sent.
    leases: Client,
    slots: Semaphore,
    /// Until when we may write.
    pub(crate) turn: Turn,
}

/// The answer to a deletion: a Status, or the object as it was or still is.
#[derive(serde::Deserialize)]
struct Deleted {
    #[serde(default)]
    metadata: ObjectMeta,
}

/// One object of a kind that lives in namespaces.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) name: &'a str,
}

impl Cluster {
    /// By the kubeconfig, or by what the environment offers.
    pub(crate) async fn connect(
        kubeconfig: Option<&Path>,
        in_flight: usize,
        turn: Turn,
    ) -> anyhow::Result<Self> {
        let mut config = match kubeconfig {
            Some(file) => {
                Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &KubeConfigOptions::default())
                    .await?
            }
            None => Config::infer().await?,
        };
        let agent = concat!("pullpass-cluster-applier/", env!("CARGO_PKG_VERSION"));
        config.headers.push((header::USER_AGENT, HeaderValue::from_static(agent)));
        config.default_retry = false;
        let retries = RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(5), u32::MAX, true)?;
        let writes = gate::client(&config, &turn)?;
        let leases = Client::try_from(config.clone())?;
        let watches = ClientBuilder::try_from(config)?
            .with_layer(&BufferLayer::new(16))
            .with_layer(&RetryLayer::new(retries))
            .build();
        Ok(Self { watches, writes, leases, slots: Semaphore::new(in_flight.max(1)), turn })
    }

    /// Over this client, for tests.
    #[cfg(test)]
    pub(crate) fn over(client: Client) -> Self {
        Self {
            watches: client.clone(),
            leases: client.clone(),
            writes: client,
            slots: Semaphore::new(4),
            turn: Turn::always(),
        }
    }

    /// For the election.
    pub(crate) fn leases(&self, namespace: &str) -> Api<Lease> {
        Api::namespaced(self.leases.clone(), namespace)
    }

    /// Reads one object; none if there is none.
    pub(crate) async fn get<W, K>(&self, at: &Target<'_>) -> Result<Option<K>, Error>
    where
        W: Resource<DynamicType = ()>,
        K: DeserializeOwned,
    {
        match self.send::<W, K>(Verb::Get, at, "application/json", Vec::new()).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object and gives it as it is now.
    pub(crate) async fn create<W, K>(&self, at: &Target<'_>, body: Vec<u8>) -> Result<K, Error>
    where
        W: Resource<DynamicType = ()>,
        K: DeserializeOwned,
    {
        self.send::<W, K>(Verb::Create, at, "application/json", body).await
    }

    /// Changes an object by a patch of this kind, `merge-patch` or `json-patch`, and gives it as it is now.
    pub(crate) async fn patch<W, K>(&self, at: &Target<'_>, kind: &str, body: Vec<u8>) -> Result<K, Error>
    where
        W: Resource<DynamicType = ()>,
        K: DeserializeOwned,
    {
        self.send::<W, K>(Verb::Patch, at, &format!("application/{kind}+json"), body).await
    }

    /// Deletes an object if it still is in that state; gone already is as good. Whether it is gone now: somebody's
    /// finalizer may keep it.
    pub(crate) async fn delete<W>(&self, at: &Target<'_>, was: &Identity) -> Result<bool, Error>
    where
        W: Resource<DynamicType = ()>,
    {
        let options = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": was.uid, "resourceVersion": was.version},
        });
        let body = options.to_string().into_bytes();
        match self.send::<W, Deleted>(Verb::Delete, at, "application/json", body).await {
            Ok(answer) => Ok(answer.metadata.finalizers.is_none_or(|finalizers| finalizers.is_empty())),
            Err(error) if error.is(StatusCode::NOT_FOUND) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn send<W, K>(
        &self,
        verb: Verb,
        at: &Target<'_>,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<K, Error>
    where
        W: Resource<DynamicType = ()>,
        K: DeserializeOwned,
    {
        let kind = kind_of::<W>();
        let span = tracing::info_span!(
            "kubernetes",
            otel.name = format!("{verb} {kind}"),
            otel.kind = "client",
            otel.status_code = field::Empty,
            k8s.verb = verb.as_str(),
            k8s.kind = kind,
            k8s.namespace = at.namespace.as_str(),
            k8s.name = at.name,
            http.status_code = field::Empty,
        );
        let sending = async {
            let request =
                request::<W>(verb, at, content_type, body).map_err(|e| Problem::NoAnswer(e.to_string()))?;
            let _slot = self.slots.acquire().await.map_err(|e| Problem::NoAnswer(e.to_string()))?;
            // The gate looks once more; here it can still be said why.
            if verb != Verb::Get && !self.turn.is_held(Instant::now()) {
                return Err(Problem::Withheld);
            }
            let answer = tokio::time::timeout(LIMIT, self.exchange(request)).await;
            answer.unwrap_or_else(|_| Err(Problem::NoAnswer("no answer within 30 s".into())))
        };
        let answer: Result<Vec<u8>, Problem> = sending.instrument(span.clone()).await;
        crate::metrics::request(verb, kind, answer.as_ref().err());
        let parsed = answer.map_err(|problem| problem.without_content(kind)).and_then(|body| parse(&body));
        parsed.map_err(|problem| {
            span.record("otel.status_code", "ERROR");
            Error { verb, kind, namespace: at.namespace.to_string(), name: at.name.to_owned(), problem }
        })
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Vec<u8>, Problem> {
        let answer = self.writes.send(request).await.map_err(|e| Problem::NoAnswer(e.to_string()))?;
        let (head, body) = answer.into_parts();
        Span::current().record("http.status_code", head.status.as_u16());
        let body = body.collect_bytes().await.map_err(|e| Problem::NoAnswer(e.to_string()))?;
        if head.status.is_success() {
            return Ok(body.into());
        }
        let seconds =
            head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(refusal(head.status, &body, seconds))
    }
}

/// Kind of a resource, as people know it.
pub(crate) fn kind_of<W: Resource<DynamicType = ()>>() -> &'static str {
    match &*W::kind(&()) {
        "Secret" => "Secret",
        "ServiceAccount" => "ServiceAccount",
        "RoleBinding" => "RoleBinding",
        "SubjectAccessReview" => "SubjectAccessReview",
        _ => "object",
    }
}

fn request<W: Resource<DynamicType = ()>>(
    verb: Verb,
    at: &Target<'_>,
    content_type: &str,
    body: Vec<u8>,
) -> Result<Request<Body>, http::Error> {
    let reviews = kind_of::<W>() == "SubjectAccessReview";
    let collection = W::url_path(&(), (!reviews).then_some(at.namespace.as_str()));
    let (method, path) = match verb {
        Verb::Get => (Method::GET, format!("{collection}/{}", at.name)),
        Verb::Create => (Method::POST, format!("{collection}?fieldManager={FIELD_MANAGER}")),
        Verb::Patch => (Method::PATCH, format!("{collection}/{}?fieldManager={FIELD_MANAGER}", at.name)),
        Verb::Delete => (Method::DELETE, format!("{collection}/{}", at.name)),
    };
    let request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
    request.header(header::CONTENT_TYPE, content_type).body(Body::from(body))
}

fn parse<K: DeserializeOwned>(body: &[u8]) -> Result<K, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::NoAnswer(format!("the answer cannot be understood at {line}:{column}"))
    })
}

/// What an answer that is no success says; it need not be a Status, least of all from a proxy or for a 429.
fn refusal(status: StatusCode, body: &[u8], retry_after: Option<u64>) -> Problem {
    let told: Status = serde_json::from_slice(body).unwrap_or_default();
    let asked =
        told.details.as_ref().map(|details| u64::from(details.retry_after_seconds)).filter(|s| *s > 0);
    let reason = if told.reason.is_empty() {
        status.canonical_reason().unwrap_or_default().to_owned()
    } else {
        told.reason
    };
    Problem::Refused {
        code: status.as_u16(),
        reason,
        message: told.message,
        retry_after: retry_after.max(asked).map(Duration::from_secs),
    }
}

impl Problem {
    /// The API server's messages about a Secret may quote fragments of it (semantics.md, Observed 5).
    fn without_content(self, kind: &'static str) -> Self {
        match self {
            Self::Refused { code, reason, message, retry_after } if kind == "Secret" => {
                let known = KNOWN.into_iter().find(|known| message.contains(known));
                let message = known.unwrap_or_default().to_owned();
                Self::Refused { code, reason, message, retry_after }
            }
            other => other,
        }
    }
}

impl Error {
    pub(crate) fn is(&self, status: StatusCode) -> bool {
        matches!(self.problem, Problem::Refused { code, .. } if code == status.as_u16())
    }

    /// What the API server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self.problem {
            Problem::Refused { retry_after, .. } => retry_after,
            Problem::NoAnswer(_) | Problem::Withheld => None,
        }
    }
}

#[cfg(test)]
mod tests;
