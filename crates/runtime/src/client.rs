//! The calling side: a connection that opens when it is needed, opens again when it broke, and carries the trace on.
//!
//! After a reload of our certificate all calls go by the new one, those to different peers, too: what one peer binds to a
//! certificate (a ticket) can be shown to the other. Streams that were opened before go on where they are, for as long as
//! both sides accept each other. Who has no certificate sends a token with each call instead.

mod patient;
mod unsent;

use std::{
    error::Error as StdError,
    fmt,
    future::pending,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri, header::AUTHORIZATION, request::Parts};
use http_body::Frame;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{Service, ServiceExt, service_fn};

use crate::{
    bearer::Bearer,
    config::PeerConfig,
    cut::Cut,
    identity::SpiffeId,
    telemetry,
    tls::{Material, Refused, Tls, trust},
};

/// How long TCP and TLS may take to open a connection.
const OPEN: Duration = Duration::from_secs(5);
/// A silent connection is asked for a sign of life after this time, and given up after the same again.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A lazy connection to one peer. Cheap to clone; hand it to a generated client.
#[derive(Clone)]
pub struct Connection {
    way: Arc<Way>,
    patience: Option<Duration>,
}

impl Connection {
    /// Makes calls that send one message again when they were refused for their rate, for as long as `patience`.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }
}

struct Way {
    peer: Arc<PeerConfig>,
    current: Mutex<Open>,
}

/// A channel that proves us in one way all its life.
struct Open {
    channel: Channel,
    proof: Proof,
    given_up: Arc<AtomicBool>,
}

/// How we say who we are.
#[derive(Clone)]
enum Proof {
    /// By the one certificate that there was at the time.
    Certificate(Arc<Tls>, Arc<Material>),
    /// By the token that there is when a call is made.
    Token(Arc<Bearer>),
}

impl Proof {
    /// As it is after what may have been a reload, if it is not the same any more.
    fn renewed(&self) -> Option<Self> {
        let Self::Certificate(tls, old) = self else { return None };
        let new = tls.current();
        (!Arc::ptr_eq(old, &new)).then(|| Self::Certificate(Arc::clone(tls), new))
    }

    fn client_config(&self, peer: &SpiffeId, refused: &Refused) -> io::Result<ClientConfig> {
        match self {
            Self::Certificate(tls, material) => {
                tls.client_config(material, peer, refused).map_err(io::Error::other)
            }
            Self::Token(bearer) => bearer.client_config(peer, refused).map_err(io::Error::other),
        }
    }
}

/// A connection to `peer` that proves us by `tls` and accepts nobody but `peer.identity`. It is opened by the first
/// call; whatever hinders it is the call's `UNAVAILABLE`, which names the peer and the cause. Needs a tokio runtime.
pub fn connect(tls: &Arc<Tls>, peer: &PeerConfig) -> Connection {
    lazily(Proof::Certificate(Arc::clone(tls), tls.current()), peer)
}

/// The same for who has no certificate: each call carries the token.
pub fn connect_with_token(bearer: &Arc<Bearer>, peer: &PeerConfig) -> Connection {
    lazily(Proof::Token(Arc::clone(bearer)), peer)
}

fn lazily(proof: Proof, peer: &PeerConfig) -> Connection {
    let peer = Arc::new(peer.clone());
    let current = Mutex::new(Open::new(proof, &peer));
    Connection { way: Arc::new(Way { peer, current }), patience: None }
}

impl Way {
    /// The channel by which calls go now.
    fn channel(&self) -> Channel {
        let mut open = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = open.proof.renewed();
        if renewed.is_some() || open.given_up.load(Ordering::Relaxed) {
            let proof = renewed.unwrap_or_else(|| open.proof.clone());
            *open = Open::new(proof, &self.peer);
        }
        open.channel.clone()
    }

    /// The token to send with a call, where it is by one that we say who we are.
    fn token(&self) -> Result<Option<HeaderValue>, Status> {
        let proof = self.current.lock().unwrap_or_else(PoisonError::into_inner).proof.clone();
        let Proof::Token(bearer) = proof else { return Ok(None) };
        bearer.header().map(Some).map_err(|error| Status::unauthenticated(chain(&error)))
    }
}

impl Open {
    fn new(proof: Proof, peer: &Arc<PeerConfig>) -> Self {
        let given_up = Arc::new(AtomicBool::new(false));
        let opening = (proof.clone(), Arc::clone(peer), Arc::clone(&given_up));
        let connector = service_fn(move |_: Uri| {
            let (proof, peer, given_up) = opening.clone();
            async move { open(proof, peer, given_up).await.map(TokioIo::new) }
        });
        Self { channel: Channel::new(connector, endpoint(peer)), proof, given_up }
    }
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

async fn open(
    proof: Proof,
    peer: Arc<PeerConfig>,
    given_up: Arc<AtomicBool>,
) -> io::Result<Cut<TlsStream<TcpStream>, ()>> {
    let host = peer.endpoint.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let refused = Refused::default();
    let config = Arc::new(proof.client_config(&peer.identity, &refused)?);
    let opening = async {
        let tcp = TcpStream::connect(&peer.endpoint).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(config).connect(name.clone(), tcp).await.map_err(|error| refused.explain(error))
    };
    let io = tokio::time::timeout(OPEN, opening).await??;
    let chain = io.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    Ok(Cut::new(io, distrusted(proof, peer, name, chain, given_up), ()))
}

/// Waits until the peer would not be accepted any more, has new calls go another way, and a while later breaks this one.
/// With a token the authorities are read only once, so that nothing can change.
async fn distrusted(
    proof: Proof,
    peer: Arc<PeerConfig>,
    name: ServerName<'static>,
    chain: Vec<CertificateDer<'static>>,
    given_up: Arc<AtomicBool>,
) -> io::Error {
    let Proof::Certificate(tls, _) = proof else { return pending().await };
    let accept = |chain: &[_]| tls.accepts_server(&peer.identity, &name, chain);
    let reason = trust::distrusted(&tls, &chain, accept).await;
    tracing::warn!(peer = %peer.identity, reason, "a server is not trusted any more, its connection is given up");
    given_up.store(true, Ordering::Relaxed);
    tokio::time::sleep(trust::GRACE).await;
    io::Error::other(reason)
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
        let (Self { way, patience }, (parts, body)) = (self.clone(), request.into_parts());
        Box::pin(async move {
            match patience {
                Some(patience) => patient::call(&way, parts, body, patience).await,
                None => way.call(parts, body).await,
            }
        })
    }
}

impl Way {
    /// Makes the call, by another channel if the first one could not carry it.
    async fn call(&self, mut parts: Parts, body: Body) -> Result<Response<Body>, Status> {
        if let Some(token) = self.token()? {
            parts.headers.insert(AUTHORIZATION, token);
        }
        let (unsent, back) = unsent::keep(body);
        let failure = match self.send(parts.clone(), unsent).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let Some(body) = back.take(&failure) else { return Err(self.unavailable(failure)) };
        self.send(parts, body).await.map_err(|failure| self.unavailable(failure))
    }

    async fn send<B>(&self, parts: Parts, body: B) -> Result<Response<Body>, tonic::transport::Error>
    where
        B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static,
    {
        let answer = self.channel().oneshot(Request::from_parts(parts, Body::new(body))).await?;
        let peer = Arc::clone(&self.peer);
        Ok(answer.map(|inner| Body::new(Answer { inner, peer })))
    }

    fn unavailable(&self, failure: tonic::transport::Error) -> Status {
        unavailable(&self.peer, &Status::from_error(failure.into()))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.way.peer).finish_non_exhaustive()
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
