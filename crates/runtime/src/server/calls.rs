//! The calls of one connection: counted against their principal, and ended when the connection has to end.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::{BoxFuture, Either};
use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body};
use tower::Service;

use super::principals::Principal;
use crate::{authorize::refusal, ending, status};

/// When to come back with a call that there was no room for.
const COME_BACK: Duration = Duration::from_secs(1);

/// The calls that are under way by one connection.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    principal: Arc<Principal>,
    open: watch::Sender<usize>,
    leaving: CancellationToken,
}

/// One of them, until it is dropped.
struct Call {
    open: watch::Sender<usize>,
    _room: OwnedSemaphorePermit,
}

impl Calls {
    /// Those that wait for news end once `leaving` is cancelled.
    pub(super) fn new(principal: Arc<Principal>, leaving: CancellationToken) -> Self {
        Self { principal, open: watch::Sender::new(0), leaving }
    }

    fn begin(&self) -> Result<Call, Status> {
        let room = self.principal.call().ok_or_else(too_many)?;
        self.open.send_modify(|open| *open += 1);
        Ok(Call { open: self.open.clone(), _room: room })
    }

    /// Waits until there has been no call for so long.
    pub(super) async fn idle(&self, patience: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // The sender is ours: it does not go away before us.
            let _ = open.wait_for(|open| *open == 0).await;
            if tokio::time::timeout(patience, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.open.send_modify(|open| *open -= 1);
    }
}

fn too_many() -> Status {
    let message =
        "you have too many calls open at one time (server.limits.max_streams_per_principal); end some";
    status::retry(Code::ResourceExhausted, "TOO_MANY_CALLS", message, COME_BACK)
}

/// What a stream ends with whose connection has to end.
fn leave() -> Status {
    let message =
        "the connection has to end, because its certificate is not accepted any more; open the stream again";
    status::retry(Code::Unavailable, "CONNECTION_ENDS", message, Duration::ZERO)
}

/// The layer.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    inner: S,
    calls: Calls,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, calls: Calls) -> Self {
        Self { inner, calls }
    }
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future =
        Either<Ready<Result<Self::Response, S::Error>>, BoxFuture<'static, Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = match self.calls.begin() {
            Ok(call) => call,
            Err(status) => return Either::Left(ready(Ok(refusal(status, false)))),
        };
        let leaving = self.calls.leaving.clone();
        let answer = self.inner.call(request);
        Either::Right(Box::pin(async move {
            let left = async move {
                let _held = call;
                leaving.cancelled_owned().await;
                leave()
            };
            Ok(answer.await?.map(|inner| ending::until(inner, left)))
        }))
    }
}
