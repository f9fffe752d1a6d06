//! What can go wrong with one request, and what the proxy then answers.

use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use super::Body;

/// What is done to one request instead of passing it on and its answer back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused and never reaches the API server.
    Refuse {
        /// The HTTP status.
        code: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// The connection is cut before the API server hears of it.
    CutBefore,
    /// The API server does it, and the connection is cut before it says so.
    CutAfter,
    /// The API server does it, and the connection is closed in the one direction in which the answer would come.
    HalfClose,
    /// The answer comes so much later.
    Stall(Duration),
    /// The answer begins, and the connection is cut so much later: for watches.
    CutLater(Duration),
    /// A watch is told by an event that the place where it was is forgotten.
    Forgotten,
}

/// What is asked of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `read` (of one object or many), `watch`, `create`, `patch` or `delete`.
    pub verb: &'static str,
    /// Path without the query.
    pub path: String,
}

impl Asked {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let verb = match request.method().as_str() {
            "GET" if query.split('&').any(|part| part == "watch=true") => "watch",
            "GET" => "read",
            "POST" => "create",
            "PATCH" => "patch",
            _ => "delete",
        };
        Self { verb, path: request.uri().path().to_owned() }
    }

    /// Whether it asks for a change; a question about permissions is none.
    pub fn is_write(&self) -> bool {
        matches!(self.verb, "create" | "patch" | "delete") && !self.path.contains("/subjectaccessreviews")
    }

    /// The namespace in the path.
    pub fn namespace(&self) -> Option<&str> {
        self.path.split_once("/namespaces/").map(|(_, rest)| rest.split('/').next().unwrap_or(rest))
    }
}

/// As the API server refuses.
pub(super) fn refusal(code: u16, retry_after: Option<u32>) -> Response<Body> {
    let mut response = answer(&status(code, retry_after));
    *response.status_mut() = StatusCode::from_u16(code).expect("an HTTP status");
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// As the API server tells a watch that the place where it was is forgotten.
pub(super) fn forgotten() -> Response<Body> {
    answer(&json!({"type": "ERROR", "object": status(410, None)}))
}

fn answer(content: &Value) -> Response<Body> {
    let body = Full::from(format!("{content}\n")).map_err(|never| match never {}).boxed();
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json").body(body);
    response.expect("a response")
}

fn status(code: u16, retry_after: Option<u32>) -> Value {
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        _ => "ServiceUnavailable",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "the fault proxy refuses it", "details": {"retryAfterSeconds": retry_after.unwrap_or_default()},
    })
}
