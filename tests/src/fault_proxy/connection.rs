//! One connection of the applier, and the one to the API server behind it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1::Builder,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::config::Kubeconfig;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
};
use tokio_rustls::TlsConnector;

use super::{Asked, Body, Exchange, Fault, Shared, fault, lock};

/// Between attempts to accept after one that failed.
const BREATH: Duration = Duration::from_millis(10);

/// How a connection is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Cut,
    Half,
}

/// The API server.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Upstream {
    pub(super) fn of(kubeconfig: &Path) -> anyhow::Result<Self> {
        let content = Kubeconfig::read_from(kubeconfig)?;
        let cluster = content.clusters.into_iter().next().and_then(|named| named.cluster);
        let cluster = cluster.context("the kubeconfig names no cluster")?;
        let url = cluster.server.clone().unwrap_or_default();
        let address = url.trim_start_matches("https://").parse().context("not an address")?;
        let authority = BASE64_STANDARD.decode(cluster.certificate_authority_data.unwrap_or_default())?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&authority) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { address, config: Arc::new(config) })
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Incoming>> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::from(self.address.ip());
        let tls = TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => drop(tokio::spawn(serve(Arc::clone(&shared), tcp))),
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}

async fn serve(shared: Arc<Shared>, tcp: TcpStream) {
    let Ok(tls) = shared.acceptor.accept(tcp).await else { return };
    let (ends, mut ended) = mpsc::unbounded_channel();
    let line = Arc::new(Line { shared, ends, sender: Mutex::default() });
    let service = service_fn(|request| {
        let line = Arc::clone(&line);
        async move { Ok::<_, Infallible>(line.treat(request).await) }
    });
    let mut connection = Builder::new().serve_connection(TokioIo::new(tls), service);
    let end = tokio::select! {
        _ = &mut connection => return,
        end = ended.recv() => end,
    };
    if end == Some(End::Half) {
        let mut tls = connection.into_parts().io.into_inner();
        let _ = tls.shutdown().await;
        let _ = tokio::io::copy(&mut tls, &mut tokio::io::sink()).await;
    }
}

/// What belongs to one connection.
struct Line {
    shared: Arc<Shared>,
    ends: mpsc::UnboundedSender<End>,
    sender: Mutex<Option<SendRequest<Incoming>>>,
}

impl Line {
    /// Does to a request what the rule says, and notes it.
    async fn treat(&self, request: Request<Incoming>) -> Response<Body> {
        let asked = Asked::of(&request);
        let fault = lock(&self.shared.rule).as_mut().and_then(|rule| rule(&asked));
        let exchange = Exchange { asked, at: Instant::now(), fault, answered: Arc::default() };
        let answered = Arc::clone(&exchange.answered);
        lock(&self.shared.record).push(exchange);
        let response = self.answer(request, fault).await;
        let _ = answered.set((Instant::now(), response.status().as_u16()));
        response
    }

    async fn answer(&self, request: Request<Incoming>, fault: Option<Fault>) -> Response<Body> {
        match fault {
            Some(Fault::Refuse { code, retry_after }) => return fault::refusal(code, retry_after),
            Some(Fault::Forgotten) => return fault::forgotten(),
            Some(Fault::CutBefore) => return self.end(End::Cut).await,
            _ => {}
        }
        let Ok(response) = self.pass_on(request).await else { return self.end(End::Cut).await };
        match fault {
            Some(Fault::CutAfter) => self.end(End::Cut).await,
            Some(Fault::HalfClose) => self.end(End::Half).await,
            Some(Fault::Stall(pause)) => {
                tokio::time::sleep(pause).await;
                response
            }
            Some(Fault::CutLater(pause)) => {
                let ends = self.ends.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    let _ = ends.send(End::Cut);
                });
                response
            }
            _ => response,
        }
    }

    async fn pass_on(&self, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
        let mut sender = self.sender.lock().await;
        let ready = match sender.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            *sender = Some(self.shared.upstream.connect().await?);
        }
        let sender = sender.as_mut().context("just connected")?;
        Ok(sender.send_request(request).await?.map(Incoming::boxed))
    }

    /// Ends the connection, and never answers.
    async fn end(&self, end: End) -> Response<Body> {
        let _ = self.ends.send(end);
        std::future::pending().await
    }
}
