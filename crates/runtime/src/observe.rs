//! One span, one log line and two metrics for every call, from its arrival to the end of its answer.
//!
//! The span continues the caller's trace. Bodies are never looked at.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::Frame;
use tonic::{Code, Status, body::Body};
use tower::Service;
use tracing::{Instrument, Span, field};

use crate::{authorize::Unheard, identity::Certified, telemetry};

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct Observe<S> {
    inner: S,
    services: Arc<[String]>,
}

impl<S> Observe<S> {
    /// `services` are those that metrics tell apart.
    pub(crate) fn new(inner: S, services: &[impl ToString]) -> Self {
        Self { inner, services: services.iter().map(ToString::to_string).collect() }
    }
}

impl<S> Service<http::Request<Body>> for Observe<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut call = Call::begin(&request, &self.services);
        let span = call.span.clone();
        let answer = span.in_scope(|| self.inner.call(request)).instrument(span);
        Box::pin(async move {
            let answer = answer.await?;
            match Status::from_header_map(answer.headers()) {
                Some(status) => {
                    call.unheard = answer.extensions().get().copied();
                    call.end(&status);
                    Ok(answer)
                }
                None => Ok(answer.map(|inner| Body::new(Observed { inner, call }))),
            }
        })
    }
}

/// A call under way. One that is dropped before its end was cancelled by its caller.
struct Call {
    span: Span,
    service: String,
    method: String,
    known: bool,
    unheard: Option<Unheard>,
    started: Instant,
    ended: bool,
}

impl Call {
    fn begin(request: &http::Request<Body>, services: &[String]) -> Self {
        let path = request.uri().path().trim_start_matches('/');
        let (service, method) = path.split_once('/').unwrap_or((path, ""));
        // Whom a token names is recorded once it is verified.
        let certified = request.extensions().get().and_then(|Certified(peer)| peer.as_ref());
        let principal = certified.map(|peer| field::display(&peer.spiffe_id));
        let span = tracing::info_span!(
            "call",
            otel.name = path,
            otel.kind = "server",
            otel.status_code = field::Empty,
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = field::Empty,
            principal,
        );
        if let Some(traceparent) = request.headers().get(telemetry::TRACEPARENT).and_then(|v| v.to_str().ok())
        {
            telemetry::continue_trace(&span, traceparent);
        }
        let known = services.iter().any(|known| known == service);
        let (service, method) = (service.to_owned(), method.to_owned());
        Self { span, service, method, known, unheard: None, started: Instant::now(), ended: false }
    }

    fn end(&mut self, status: &Status) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.count(status.code());
        self.span.record("rpc.grpc.status_code", status.code() as i32);
        let (code, message) = (field::debug(status.code()), status.message());
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let span = &self.span;
        if matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss) {
            span.record("otel.status_code", "ERROR");
            tracing::error!(parent: span, grpc.code = code, grpc.message = message, elapsed_ms, "call failed");
        } else if self.unheard.is_some_and(|unheard| unheard.quiet)
            || self.service.starts_with("grpc.health.")
        {
            tracing::debug!(parent: span, grpc.code = code, grpc.message = message, elapsed_ms, "call ended");
        } else {
            tracing::info!(parent: span, grpc.code = code, grpc.message = message, elapsed_ms, "call ended");
        }
    }

    /// Names that callers can make up are counted together, so that nobody can fill our memory with labels.
    fn count(&self, code: Code) {
        let made_up = !self.known || self.unheard.is_some() || code == Code::Unimplemented;
        let service = if self.known { self.service.clone() } else { "other".to_owned() };
        let method = if made_up { "other".to_owned() } else { self.method.clone() };
        let labels = [("service", service), ("method", method), ("code", format!("{code:?}"))];
        metrics::counter!("grpc_requests_total", &labels).increment(1);
        metrics::histogram!("grpc_request_duration_seconds", &labels).record(self.started.elapsed());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(&Status::cancelled("the caller went away"));
    }
}

/// An answer's body, which ends its call: by trailers, or by an error.
struct Observed {
    inner: Body,
    call: Call,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let entered = self.call.span.clone().entered();
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        drop(entered);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    self.call.end(&status);
                }
            }
            Poll::Ready(Some(Err(status))) => self.call.end(status),
            Poll::Ready(None) => self.call.end(&Status::unknown("the answer has no trailers")),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
