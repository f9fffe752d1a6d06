//! What the tests share: a certificate authority, nodes with files of their own, a running server, a service.

use std::{
    convert::Infallible,
    io,
    path::Path,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{sync::watch, task::JoinHandle};
use tonic::{Status, body::Body, server::NamedService, service::Routes};
use tower::Service;
use tracing_subscriber::{Layer, filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    config::{LimitsConfig, PeerConfig, ServerConfig, TelemetryConfig, TlsConfig},
    gate::Gate,
    identity::PeerIdentity,
    role::Role,
    server::{Error, Server},
    shutdown::Shutdown,
    telemetry,
    tls::Tls,
};

pub(crate) const TRUST_DOMAIN: &str = "example.org";
pub(crate) const SERVER: &str = "spiffe://example.org/server";
pub(crate) const CLIENT: &str = "spiffe://example.org/applier/east";

/// A certificate authority. All of them claim the same name: only the keys tell them apart.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate with these URI names.
    pub(crate) fn issue(&self, uris: &[&str]) -> Issued {
        self.issue_until(uris, OffsetDateTime::now_utc() + time::Duration::HOUR)
    }

    pub(crate) fn issue_until(&self, uris: &[&str], not_after: OffsetDateTime) -> Issued {
        self.issue_between(uris, not_after - time::Duration::days(90), not_after)
    }

    pub(crate) fn issue_between(&self, uris: &[&str], from: OffsetDateTime, to: OffsetDateTime) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (from, to);
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        let signed = params.signed_by(&key, &self.0).unwrap();
        Issued { certificate: signed.pem(), key: key.serialize_pem(), der: signed.der().to_vec() }
    }
}

/// The files of one process, in a folder of its own.
pub(crate) struct Node {
    _folder: TempDir,
    pub(crate) files: TlsConfig,
}

impl Node {
    pub(crate) fn new(authority: &Authority, id: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let (certificate, key, authorities) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
        let files = TlsConfig { certificate, key, authorities, trust_domain: TRUST_DOMAIN.to_owned() };
        let node = Self { _folder: folder, files };
        node.renew(&authority.issue(&[id]));
        node.trust(authority);
        node
    }

    pub(crate) fn renew(&self, issued: &Issued) {
        write(&self.files.certificate, &issued.certificate);
        write(&self.files.key, &issued.key);
    }

    pub(crate) fn trust(&self, authority: &Authority) {
        self.trust_all(&[authority]);
    }

    pub(crate) fn trust_all(&self, authorities: &[&Authority]) {
        let pem: String = authorities.iter().map(|authority| authority.pem()).collect();
        write(&self.files.authorities, &pem);
    }

    pub(crate) fn tls(&self) -> Arc<Tls> {
        Arc::new(Tls::load(&self.files).unwrap())
    }
}

pub(crate) fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
}

/// A configuration on a free port of the loopback that lets [`CLIENT`] call all of [`Probe`].
pub(crate) fn server_config(node: &Node) -> ServerConfig {
    let role = Role::new("probe", vec![CLIENT.parse().unwrap()], vec!["test.Probe/*".to_owned()]);
    ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: node.files.clone(),
        roles: vec![role],
        issuers: Vec::new(),
        telemetry: TelemetryConfig::default(),
        limits: LimitsConfig::default(),
        reflection: false,
        shutdown_seconds: 10,
    }
}

/// A server that serves [`Probe`].
pub(crate) struct Running {
    pub(crate) peer: PeerConfig,
    pub(crate) shutdown: Shutdown,
    pub(crate) ended: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) fn start(
        config: &ServerConfig,
        tls: &Arc<Tls>,
        budget: Duration,
        conditions: Vec<watch::Receiver<bool>>,
    ) -> Self {
        let server = Server::new(config, Arc::clone(tls)).unwrap();
        let server = conditions.into_iter().fold(server, Server::healthy_while);
        Self::of(server, budget)
    }

    pub(crate) fn start_behind(gate: &Gate, config: &ServerConfig, tls: &Arc<Tls>, budget: Duration) -> Self {
        Self::of(Server::new(config, Arc::clone(tls)).unwrap().behind(gate.clone()), budget)
    }

    fn of(server: Server, budget: Duration) -> Self {
        let peer =
            PeerConfig { endpoint: server.local_addr().to_string(), identity: SERVER.parse().unwrap() };
        let shutdown = Shutdown::new(budget);
        let switch = shutdown.clone();
        let ended =
            tokio::spawn(async move { server.serve(Routes::new(Probe), &[Probe::NAME], &switch).await });
        Self { peer, shutdown, ended }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        self.ended.await.unwrap().unwrap();
    }
}

/// A service that says in headers what a handler sees. Its method `Hang` sends a body that never ends.
#[derive(Clone)]
pub(crate) struct Probe;

impl NamedService for Probe {
    const NAME: &'static str = "test.Probe";
}

impl Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() == "/test.Probe/Hang" {
                return Ok(Response::new(Body::new(Endless)));
            }
            let peer: &PeerIdentity = request.extensions().get().unwrap();
            let answer = Response::builder()
                .header("grpc-status", 0)
                .header("principal", peer.spiffe_id.as_str())
                .header("thumbprint", format!("{:?}", peer.certificate_sha256))
                .header("authorization-seen", request.headers().contains_key("authorization").to_string())
                .header("trace", telemetry::trace_context().unwrap_or_default());
            Ok(answer.body(Body::empty()).unwrap())
        })
    }
}

struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// What the tests log, one JSON object a line. Tests share it, because a process has one place for its log.
pub(crate) struct Log(Mutex<Vec<u8>>);

impl Log {
    pub(crate) fn lines_with(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).map(ToOwned::to_owned).collect()
    }
}

impl io::Write for &Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Switches on logs and traces for the test's process.
pub(crate) fn record() -> &'static Log {
    static LOG: LazyLock<Arc<Log>> = LazyLock::new(|| {
        let log = Arc::new(Log(Mutex::default()));
        let lines = fmt::layer().json().with_writer(Arc::clone(&log)).with_filter(LevelFilter::INFO);
        let traces = telemetry::trace_layer("test", &SdkTracerProvider::builder().build());
        tracing_subscriber::registry().with(lines).with(traces).init();
        log
    });
    &LOG
}

/// Calls a method of [`Probe`] and gives the answer, or the status that it ended with.
pub(crate) async fn call<S>(service: &mut S, method: &str) -> Result<Response<Body>, Status>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Status>,
{
    let request = Request::post(format!("/test.Probe/{method}")).header("content-type", "application/grpc");
    let answer = service.call(request.body(Body::empty()).unwrap()).await?;
    match Status::from_header_map(answer.headers()) {
        Some(status) if status.code() != tonic::Code::Ok => Err(status),
        _ => Ok(answer),
    }
}

/// The value of a header of an answer.
pub(crate) fn header<'a>(answer: &'a Response<Body>, name: &str) -> &'a str {
    answer.headers()[name].to_str().unwrap()
}
