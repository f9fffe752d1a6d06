//! Who may call what, and how often: one layer in front of all handlers, which denies whatever no role allows.
//!
//! Calls over a principal's rate are refused first, whatever they ask for: also refusals cost something.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::Either;
use tonic::{Code, Status, body::Body};
use tower::Service;

use crate::{
    config::ServerConfig,
    frames::Frames,
    identity::{self, PeerIdentity},
    limit::Limiter,
    role::{self, Role},
    status,
};

/// Every authenticated principal may ask whether a service is healthy.
pub(crate) const HEALTH: &str = "grpc.health.v1.Health/";
const NOT_ALLOWED: &str = "METHOD_NOT_ALLOWED";

/// The layer: answers what is not allowed itself, and hands on the rest.
#[derive(Debug, Clone)]
pub(crate) struct Authorize<S> {
    inner: S,
    roles: Arc<[Role]>,
    max_message_bytes: usize,
    limiter: Arc<Limiter>,
}

/// Marks an answer that no handler gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unheard {
    /// It is not worth a line in the log: the limiter tells of many refusals at once.
    pub(crate) quiet: bool,
}

/// The answer to a call that no handler hears of.
pub(crate) fn refusal(status: Status, quiet: bool) -> http::Response<Body> {
    let mut answer = status.into_http();
    answer.extensions_mut().insert(Unheard { quiet });
    answer
}

impl<S> Authorize<S> {
    pub(crate) fn new(inner: S, config: &ServerConfig) -> Self {
        let max_message_bytes = config.limits.max_message_bytes;
        let roles = config.roles.as_slice().into();
        Self { inner, roles, max_message_bytes, limiter: Arc::new(Limiter::new()) }
    }

    /// The request as the handler may have it, or the answer.
    fn admit(&self, request: http::Request<Body>) -> Result<http::Request<Body>, Box<http::Response<Body>>> {
        let peer: Option<&PeerIdentity> = request.extensions().get();
        let peer = peer.ok_or_else(|| refusal(identity::unauthenticated(), false))?;
        let allowed = role::allowance(&self.roles, &peer.spiffe_id, self.max_message_bytes);
        self.limiter.admit(&peer.spiffe_id, &allowed).map_err(|refused| refusal(refused, true))?;
        decide(&self.roles, peer, request.uri().path()).map_err(|denied| {
            role::count_refused(allowed.role, NOT_ALLOWED);
            refusal(denied, false)
        })?;
        Ok(request.map(|body| Body::new(Frames::new(body, &allowed))))
    }
}

impl<S> Service<http::Request<Body>> for Authorize<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self.admit(request) {
            Ok(request) => Either::Right(self.inner.call(request)),
            Err(answer) => Either::Left(ready(Ok(*answer))),
        }
    }
}

fn decide(roles: &[Role], peer: &PeerIdentity, path: &str) -> Result<(), Status> {
    let method = path.strip_prefix('/').unwrap_or(path);
    if method.starts_with(HEALTH) || roles.iter().any(|role| role.allows(&peer.spiffe_id, method)) {
        return Ok(());
    }
    let principal = peer.spiffe_id.to_string();
    Err(status::with_reason(
        Code::PermissionDenied,
        NOT_ALLOWED,
        format!(
            "{principal} may not call {method}; a role in the service's configuration (server.roles) has to allow it"
        ),
        [("principal", principal), ("method", method.to_owned())],
    ))
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    const STORE: &str = "pullpass.credential.v1.CredentialStore";

    fn peer(id: &str) -> PeerIdentity {
        PeerIdentity { spiffe_id: id.parse().unwrap(), certificate_sha256: Some([0; 32]) }
    }

    fn role(principal: &str, method: &str) -> Role {
        Role::new("test", vec![principal.parse().unwrap()], vec![method.to_owned()])
    }

    #[test]
    fn only_what_a_role_allows_is_allowed() {
        let roles = [
            role("spiffe://d/applier/*", &format!("{STORE}/FetchPullSecret")),
            role("spiffe://d/platform/ci", &format!("{STORE}/*")),
        ];
        for (id, method, allowed) in [
            ("spiffe://d/applier/east", "FetchPullSecret", true),
            ("spiffe://d/applier/east", "GetCredential", false),
            ("spiffe://d/applier/east", "FetchPullSecretX", false),
            ("spiffe://d/platform/ci", "GetCredential", true),
            ("spiffe://d/platform/ci", "FetchPullSecret", true),
            ("spiffe://d/platform/other", "GetCredential", false),
            ("spiffe://e/platform/ci", "GetCredential", false),
        ] {
            let decision = decide(&roles, &peer(id), &format!("/{STORE}/{method}"));
            assert_eq!(decision.is_ok(), allowed, "{id} calling {method}");
        }
        let elsewhere = decide(&roles, &peer("spiffe://d/platform/ci"), &format!("/{STORE}2/GetCredential"));
        assert_eq!(elsewhere.unwrap_err().code(), Code::PermissionDenied);
    }

    #[test]
    fn without_roles_only_health_is_open() {
        let caller = peer("spiffe://d/any/body");
        decide(&[], &caller, "/grpc.health.v1.Health/Check").unwrap();
    }

    #[test]
    fn a_denial_names_principal_and_method() {
        let caller = peer("spiffe://d/platform/ci");
        let denied = decide(&[], &caller, &format!("/{STORE}/GetCredential")).unwrap_err();
        assert!(
            denied.message().contains("spiffe://d/platform/ci") && denied.message().contains("GetCredential")
        );
        let info = denied.get_details_error_info().unwrap();
        assert_eq!(info.metadata["method"], format!("{STORE}/GetCredential"));
    }
}
