//! Who may call what: one layer in front of all handlers, which denies whatever no role allows.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::Either;
use tonic::{Code, Status, body::Body};
use tower::Service;

use crate::{
    identity::{self, PeerIdentity},
    role::Role,
    status,
};

/// Every authenticated principal may ask whether a service is healthy.
const HEALTH: &str = "grpc.health.v1.Health/";

/// The layer: answers what is not allowed itself, and hands on the rest.
#[derive(Debug, Clone)]
pub(crate) struct Authorize<S> {
    inner: S,
    roles: Arc<[Role]>,
}

impl<S> Authorize<S> {
    pub(crate) fn new(inner: S, roles: &[Role]) -> Self {
        Self { inner, roles: roles.into() }
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
        match decide(&self.roles, request.extensions().get(), request.uri().path()) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(denied) => Either::Left(ready(Ok(denied.into_http()))),
        }
    }
}

fn decide(roles: &[Role], peer: Option<&PeerIdentity>, path: &str) -> Result<(), Status> {
    let peer = peer.ok_or_else(identity::unauthenticated)?;
    let method = path.strip_prefix('/').unwrap_or(path);
    if method.starts_with(HEALTH) || roles.iter().any(|role| role.allows(&peer.spiffe_id, method)) {
        return Ok(());
    }
    let principal = peer.spiffe_id.to_string();
    Err(status::with_reason(
        Code::PermissionDenied,
        "METHOD_NOT_ALLOWED",
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
            let decision = decide(&roles, Some(&peer(id)), &format!("/{STORE}/{method}"));
            assert_eq!(decision.is_ok(), allowed, "{id} calling {method}");
        }
        let elsewhere =
            decide(&roles, Some(&peer("spiffe://d/platform/ci")), &format!("/{STORE}2/GetCredential"));
        assert_eq!(elsewhere.unwrap_err().code(), Code::PermissionDenied);
    }

    #[test]
    fn without_roles_only_health_is_open_and_only_to_the_authenticated() {
        let caller = peer("spiffe://d/any/body");
        decide(&[], Some(&caller), "/grpc.health.v1.Health/Check").unwrap();
        let anonymous = decide(&[], None, "/grpc.health.v1.Health/Check").unwrap_err();
        assert_eq!(anonymous.code(), Code::Unauthenticated);
    }

    #[test]
    fn a_denial_names_principal_and_method() {
        let caller = peer("spiffe://d/platform/ci");
        let denied = decide(&[], Some(&caller), &format!("/{STORE}/GetCredential")).unwrap_err();
        assert!(
            denied.message().contains("spiffe://d/platform/ci") && denied.message().contains("GetCredential")
        );
        let info = denied.get_details_error_info().unwrap();
        assert_eq!(info.metadata["method"], format!("{STORE}/GetCredential"));
    }
}
