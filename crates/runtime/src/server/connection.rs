//! One authenticated connection, from the end of its handshake to its own.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use http::{Request, Response};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{body::Body, transport::server::Connected};
use tower::Service;

use super::{accept::Room, calls::Calls};
use crate::{
    cut::Cut,
    identity::{Certified, PeerIdentity},
    tls::{Tls, trust},
};

/// A connection for which there is room. Its peer is known, or has no certificate.
pub(super) struct Connection {
    pub(super) io: TlsStream<TcpStream>,
    pub(super) peer: Option<PeerIdentity>,
    pub(super) room: Room,
}

/// What all connections of a server have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) http2: tonic::transport::Server,
    pub(super) tls: Arc<Tls>,
    pub(super) idle: Duration,
    /// Everybody shall finish.
    pub(super) soft: CancellationToken,
    /// Everybody is cut off.
    pub(super) hard: CancellationToken,
}

impl Connection {
    /// Serves its calls by what `handler` makes for them, until it ends by itself, is asked to, or has to.
    pub(super) async fn serve<S>(self, common: Common, handler: impl FnOnce(Calls) -> S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let (closed, leaving) = (CancellationToken::new(), CancellationToken::new());
        let calls = Calls::new(Arc::clone(&self.room.principal), leaving.clone());
        let chain = self.io.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let holder = self.room.holder.clone();
        let held =
            Held { peer: Certified(self.peer), _room: self.room, _closed: closed.clone().drop_guard() };
        let socket = Cut::new(self.io, broken(common.hard, leaving.clone()), held);
        let handler = handler(calls.clone());
        let end = async move {
            tokio::select! {
                () = common.soft.cancelled() => {}
                () = closed.cancelled() => {}
                () = calls.idle(common.idle) => {
                    tracing::debug!(principal = %holder, "idle connection ended");
                    leaving.cancel();
                }
                reason = distrusted(&common.tls, &chain) => {
                    tracing::info!(principal = %holder, reason, "a client is not trusted any more, its connection is ended");
                    leaving.cancel();
                }
            }
        };
        // Without an end of its own, because the server would take leave of all connections at the end of their stream.
        let alone = stream::iter([Ok::<_, io::Error>(socket)]).chain(stream::pending());
        if let Err(error) = common.http2.serve_with_incoming_shutdown(handler, alone, end).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a connection could not be served");
        }
    }
}

async fn distrusted(tls: &Tls, chain: &[CertificateDer<'static>]) -> String {
    trust::distrusted(tls, chain, |chain| tls.accepts_client(chain)).await
}

/// Waits until the connection has to be broken: at the hard end, or when there was time enough to leave.
async fn broken(hard: CancellationToken, leaving: CancellationToken) -> io::Error {
    let left = async {
        leaving.cancelled().await;
        tokio::time::sleep(trust::GRACE).await;
    };
    tokio::select! {
        () = hard.cancelled() => {}
        () = left => {}
    }
    io::ErrorKind::ConnectionAborted.into()
}

/// What a connection holds until it is closed.
struct Held {
    peer: Certified,
    _room: Room,
    _closed: DropGuard,
}

impl Connected for Cut<TlsStream<TcpStream>, Held> {
    type ConnectInfo = Certified;

    fn connect_info(&self) -> Certified {
        self.held.peer.clone()
    }
}
