//! Stands between the applier and the API server, breaks what it is told to break, and keeps a record of it all.
//!
//! ```text
//!  applier ─ TLS, HTTP/1.1 ─► FaultProxy ─ rule ─┬─► API server     one connection there for each here
//!                                                └─► Fault: refuse, cut, half-close, stall, forget
//! ```
//!
//! It speaks with a certificate of its own and passes the bearer's token on, so the API server sees who really asks.

mod connection;
mod fault;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::body::Bytes;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use connection::Upstream;
pub use fault::{Asked, Fault};

type Body = http_body_util::combinators::BoxBody<Bytes, hyper::Error>;
type Rule = Box<dyn FnMut(&Asked) -> Option<Fault> + Send>;

/// A request and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What was asked.
    pub asked: Asked,
    /// When it came.
    pub at: Instant,
    /// What was done to it; none if it was passed on.
    pub fault: Option<Fault>,
    answered: Arc<OnceLock<(Instant, u16)>>,
}

impl Exchange {
    /// When it was answered, and the HTTP status; none if it was not answered, or not yet.
    pub fn answered(&self) -> Option<(Instant, u16)> {
        self.answered.get().copied()
    }
}

/// The running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: Upstream,
    acceptor: TlsAcceptor,
    rule: Mutex<Option<Rule>>,
    record: Mutex<Vec<Exchange>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// Listens on a free port in front of the API server of `kubeconfig`. Gives a kubeconfig file for the same user by way
    /// of the proxy.
    pub fn start(kubeconfig: &Path) -> anyhow::Result<(Self, PathBuf)> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to bind")?;
        listener.set_nonblocking(true)?;
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let through = file_through(kubeconfig, listener.local_addr()?, &own.cert.pem())?;
        let mut tls = rustls::ServerConfig::builder_with_provider(connection::provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![own.cert.der().clone()],
                PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into(),
            )?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let shared = Arc::new(Shared {
            upstream: Upstream::of(kubeconfig)?,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            rule: Mutex::default(),
            record: Mutex::default(),
        });
        let task = tokio::spawn(connection::accept(Arc::clone(&shared), TcpListener::from_std(listener)?));
        Ok((Self { shared, task }, through))
    }

    /// From now on every request is done to as `rule` says; none is to pass it on.
    pub fn break_by(&self, rule: impl FnMut(&Asked) -> Option<Fault> + Send + 'static) {
        *lock(&self.shared.rule) = Some(Box::new(rule));
    }

    /// From now on everything is passed on.
    pub fn mend(&self) {
        *lock(&self.shared.rule) = None;
    }

    /// All requests since this was last asked.
    pub fn take_record(&self) -> Vec<Exchange> {
        std::mem::take(&mut lock(&self.shared.record))
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The same kubeconfig, which is JSON, with the proxy in the API server's place.
fn file_through(kubeconfig: &Path, proxy: SocketAddr, certificate: &str) -> anyhow::Result<PathBuf> {
    let mut content: Value = serde_json::from_str(&fs::read_to_string(kubeconfig)?)?;
    content["clusters"][0]["cluster"] = json!({
        "server": format!("https://{proxy}"), "certificate-authority-data": BASE64_STANDARD.encode(certificate),
    });
    let file = kubeconfig.with_extension("through-the-proxy");
    fs::write(&file, content.to_string()).context("failed to write the kubeconfig")?;
    Ok(file)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
