//! The calling side: a connection that opens when it is needed, opens again when it broke, and carries the trace on.

use std::{
    error::Error as StdError,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Frame;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{Service, ServiceExt, service_fn};

use crate::{
    config::PeerConfig,
    telemetry,
    tls::{self, Tls},
};

/// How long TCP and TLS may take to open a connection.
const OPEN: Duration = Duration::from_secs(5);
/// A silent connection is asked for a sign of life after this time, and given up after the same again.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A lazy connection to one peer. Cheap to clone; hand it to a generated client.
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
    peer: Arc<PeerConfig>,
}

/// A connection to `peer` that proves us by `tls` and accepts nobody but `peer.identity`. It is opened by the first
/// call; whatever hinders it is the call's `UNAVAILABLE`, which names the peer and the cause. Needs a tokio runtime.
pub fn connect(tls: &Arc<Tls>, peer: &PeerConfig) -> Connection {
    let (tls, peer) = (Arc::clone(tls), Arc::new(peer.clone()));
    let target = Arc::clone(&peer);
    let connector = service_fn(move |_: Uri| {
        let (tls, peer) = (Arc::clone(&tls), Arc::clone(&target));
        async move { open(&tls, &peer).await.map(TokioIo::new) }
    });
    Connection { channel: Channel::new(connector, endpoint(&peer)), peer }
}

fn endpoint(peer: &PeerConfig) -> Endpoint {
    // The connector knows where to go and does the TLS; tonic only needs the names for its headers.
    let endpoint = Endpoint::from_static("http://peer")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let origin = Uri::builder().scheme("https").authority(peer.endpoint.as_str()).path_and_query("/").build();
    match origin {
        Ok(origin) => endpoint.origin(origin),
        Err(_) => endpoint, // What is no authority is no address either: opening it will say so.
    }
}

async fn open(tls: &Tls, peer: &PeerConfig) -> io::Result<TlsStream<TcpStream>> {
    let host = peer.endpoint.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let config = Arc::new(tls.client_config(&peer.identity).map_err(io::Error::other)?);
    let opening = async {
        let tcp = TcpStream::connect(&peer.endpoint).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(config).connect(name, tcp).await.map_err(tls::plain)
    };
    tokio::time::timeout(OPEN, opening).await?
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(Ok(value)) = telemetry::trace_context().map(HeaderValue::try_from) {
            request.headers_mut().insert(telemetry::TRACEPARENT, value);
        }
        let Self { channel, peer } = self.clone();
        Box::pin(async move {
            match channel.oneshot(request).await {
                Ok(answer) => Ok(answer.map(|inner| Body::new(Answer { inner, peer }))),
                Err(error) => Err(unavailable(&peer, &Status::from_error(error.into()))),
            }
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The body of an answer, whose breaking off is told like a call that failed.
struct Answer {
    inner: Body,
    peer: Arc<PeerConfig>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        polled.map_err(|status| unavailable(&self.peer, &status))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// A failed transport, told with the whole chain of its causes.
fn unavailable(peer: &PeerConfig, failed: &Status) -> Status {
    let causes = failed.source().map_or_else(|| failed.message().to_owned(), chain);
    let code = match failed.code() {
        Code::Unknown | Code::Cancelled => Code::Unavailable,
        code => code,
    };
    Status::new(code, format!("{} at {} is unavailable: {causes}", peer.identity, peer.endpoint))
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
