//! A service that must not serve, because what it keeps may not be what it kept: it is sealed, and says so in its health and
//! on every call, but for those that are there to help it out.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures::future::Either;
use tokio::sync::watch;
use tonic::{Code, Status, body::Body};
use tower::Service;

use crate::{
    authorize::{HEALTH, refusal},
    status,
};

/// Why a service does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// `ErrorInfo.reason` of every refusal.
    pub reason: &'static str,
    /// What is wrong and what to do about it.
    pub message: String,
    /// The values that a program needs.
    pub metadata: Vec<(&'static str, String)>,
}

/// Whether a service serves. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    seal: watch::Sender<Option<Seal>>,
    open: watch::Sender<bool>,
    /// The gRPC service that is served in any case.
    exempt: &'static str,
}

impl Default for Gate {
    /// One that is open.
    fn default() -> Self {
        Self::new(None, "")
    }
}

impl Gate {
    /// Closed with a seal, and open without one. The gRPC service `exempt` is served in any case.
    pub fn new(seal: Option<Seal>, exempt: &'static str) -> Self {
        let open = watch::Sender::new(seal.is_none());
        Self { seal: watch::Sender::new(seal), open, exempt }
    }

    /// Lets calls through from now on.
    pub fn open(&self) {
        self.seal.send_replace(None);
        self.open.send_replace(true);
    }

    /// Whether calls are let through.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// The same, as it changes.
    pub(crate) fn opening(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    fn check(&self, path: &str) -> Result<(), Status> {
        let sealed = self.seal.borrow();
        let Some(Seal { reason, message, metadata }) = sealed.as_ref() else { return Ok(()) };
        let method = path.strip_prefix('/').unwrap_or(path);
        let exempt = method.split_once('/').is_some_and(|(service, _)| service == self.exempt);
        if exempt || method.starts_with(HEALTH) {
            return Ok(());
        }
        Err(status::with_reason(Code::FailedPrecondition, reason, message, metadata.clone()))
    }
}

/// The layer: answers what is not let through itself, and hands on the rest.
#[derive(Debug, Clone)]
pub(crate) struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S> Gated<S> {
    pub(crate) fn new(inner: S, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

impl<S> Service<http::Request<Body>> for Gated<S>
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
        match self.gate.check(request.uri().path()) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(refused) => Either::Left(ready(Ok(refusal(refused, false)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::authorize::Unheard;

    fn sealed() -> Gate {
        let seal = Seal {
            reason: "DATABASE_ROLLED_BACK",
            message: "revision 9 was expected and 7 found".to_owned(),
            metadata: vec![("found", "7".to_owned())],
        };
        Gate::new(Some(seal), "pullpass.recovery.v1.Recovery")
    }

    #[tokio::test]
    async fn a_refused_call_is_marked_as_one_that_no_handler_has_heard() {
        let unreachable = tower::service_fn(|_: http::Request<Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
        });
        let request =
            http::Request::get("/pullpass.grant.v1.GrantManager/MadeUp").body(Body::empty()).unwrap();
        let answer = Gated::new(unreachable, sealed()).call(request).await.unwrap();
        assert!(answer.extensions().get::<Unheard>().is_some(), "its name must become no label of a metric");
    }

    #[test]
    fn a_sealed_service_answers_everything_but_health_and_recovery_with_the_reason() {
        let gate = sealed();
        for path in [
            "/pullpass.grant.v1.GrantManager/GetSecretLink",
            "/pullpass.recovery.v1.RecoveryX/AcceptRollback",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/",
        ] {
            let refused = gate.check(path).unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{path}");
            assert_eq!(refused.message(), "revision 9 was expected and 7 found");
            let info = refused.get_details_error_info().unwrap();
            assert_eq!(
                (info.reason.as_str(), info.metadata["found"].as_str()),
                ("DATABASE_ROLLED_BACK", "7")
            );
        }
        for path in ["/grpc.health.v1.Health/Check", "/pullpass.recovery.v1.Recovery/AcceptRollback"] {
            assert!(gate.check(path).is_ok(), "{path}");
        }
        gate.open();
        assert!(gate.check("/pullpass.grant.v1.GrantManager/GetSecretLink").is_ok());
    }
}
