//! Who may call what: one layer in front of all handlers, which denies whatever no rule allows.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::Either;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use tonic::{Code, Status, body::Body};
use tower::Service;

use crate::{
    identity::{self, Pattern, PeerIdentity},
    status,
};

/// Every authenticated principal may ask whether a service is healthy.
const HEALTH: &str = "grpc.health.v1.Health/";

/// Lets every one of `principals` call every one of `methods`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Callers: SPIFFE ids, in which `*` stands for one path segment.
    pub principals: Vec<Pattern>,
    /// gRPC methods: `pullpass.credential.v1.CredentialStore/FetchPullSecret`, or `…CredentialStore/*` for all of one
    /// service.
    #[serde(deserialize_with = "methods")]
    pub methods: Vec<String>,
}

impl Rule {
    fn allows(&self, peer: &PeerIdentity, method: &str) -> bool {
        self.methods.iter().any(|allowed| covers(allowed, method))
            && self.principals.iter().any(|allowed| allowed.matches(&peer.spiffe_id))
    }
}

fn covers(allowed: &str, method: &str) -> bool {
    match allowed.strip_suffix('*') {
        Some(service) => method.starts_with(service),
        None => method == allowed,
    }
}

/// Refuses methods that could never match, which would deny in silence.
fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let methods = Vec::<String>::deserialize(deserializer)?;
    let well_formed = |method: &str| {
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        method
            .split_once('/')
            .is_some_and(|(service, name)| service.split('.').all(word) && (name == "*" || word(name)))
    };
    match methods.iter().find(|method| !well_formed(method)) {
        None => Ok(methods),
        Some(bad) => Err(D::Error::custom(format!(
            "{bad:?} in authorization.methods is not of the form package.Service/Method or package.Service/*"
        ))),
    }
}

/// The layer: answers what is not allowed itself, and hands on the rest.
#[derive(Debug, Clone)]
pub(crate) struct Authorize<S> {
    inner: S,
    rules: Arc<[Rule]>,
}

impl<S> Authorize<S> {
    pub(crate) fn new(inner: S, rules: &[Rule]) -> Self {
        Self { inner, rules: rules.into() }
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
        match decide(&self.rules, request.extensions().get(), request.uri().path()) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(denied) => Either::Left(ready(Ok(denied.into_http()))),
        }
    }
}

fn decide(rules: &[Rule], peer: Option<&PeerIdentity>, path: &str) -> Result<(), Status> {
    let peer = peer.ok_or_else(identity::unauthenticated)?;
    let method = path.strip_prefix('/').unwrap_or(path);
    if method.starts_with(HEALTH) || rules.iter().any(|rule| rule.allows(peer, method)) {
        return Ok(());
    }
    let principal = peer.spiffe_id.to_string();
    Err(status::with_reason(
        Code::PermissionDenied,
        "METHOD_NOT_ALLOWED",
        format!("{principal} may not call {method}; a rule in the service's authorization has to allow it"),
        [("principal", principal), ("method", method.to_owned())],
    ))
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    const STORE: &str = "pullpass.credential.v1.CredentialStore";

    fn peer(id: &str) -> PeerIdentity {
        PeerIdentity { spiffe_id: id.parse().unwrap(), certificate_sha256: [0; 32] }
    }

    fn rule(principal: &str, method: &str) -> Rule {
        Rule { principals: vec![principal.parse().unwrap()], methods: vec![method.to_owned()] }
    }

    #[test]
    fn only_what_a_rule_allows_is_allowed() {
        let rules = [
            rule("spiffe://d/applier/*", &format!("{STORE}/FetchPullSecret")),
            rule("spiffe://d/platform/ci", &format!("{STORE}/*")),
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
            let decision = decide(&rules, Some(&peer(id)), &format!("/{STORE}/{method}"));
            assert_eq!(decision.is_ok(), allowed, "{id} calling {method}");
        }
        let elsewhere =
            decide(&rules, Some(&peer("spiffe://d/platform/ci")), &format!("/{STORE}2/GetCredential"));
        assert_eq!(elsewhere.unwrap_err().code(), Code::PermissionDenied);
    }

    #[test]
    fn without_rules_only_health_is_open_and_only_to_the_authenticated() {
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

    #[test]
    fn a_method_that_could_never_match_is_refused() {
        for method in
            ["", "*", "Service", "/a.Service/Get", "a.Service/", "a.Service/Get*", "a..b/Get", "a/b/c"]
        {
            let text = format!("principals = []\nmethods = [{method:?}]");
            let parsed = ::config::Config::builder()
                .add_source(::config::File::from_str(&text, ::config::FileFormat::Toml))
                .build()
                .and_then(::config::Config::try_deserialize::<Rule>);
            assert!(parsed.is_err(), "{method:?} was accepted");
        }
    }
}
