//! From a listening socket to authenticated connections.
//!
//! Handshakes run side by side, each with its time limit, so that a slow or silent client holds up nobody. A connection
//! counts against the maximum from its acceptance to its end.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt, future, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::{
    config::LimitsConfig,
    identity::PeerIdentity,
    tls::{self, Tls},
};

/// How long to wait when the system has no descriptors or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// The authenticated connections that arrive at `listener`; all of them break when `cut` is cancelled.
pub(super) fn connections(
    listener: TcpListener,
    tls: Arc<Tls>,
    limits: &LimitsConfig,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(limits.max_connections));
    let patience = Duration::from_secs(limits.handshake_seconds);
    stream::unfold((listener, room), |(listener, room)| async move {
        let permit = Arc::clone(&room).acquire_owned().await.ok()?;
        let (tcp, address) = accept(&listener).await;
        Some(((tcp, address, permit), (listener, room)))
    })
    .map(move |(tcp, address, permit)| {
        let (tls, cut) = (Arc::clone(&tls), cut.clone());
        tokio::spawn(async move {
            let outcome = tokio::time::timeout(patience, handshake(tcp, &tls)).await;
            let (io, peer) =
                outcome.unwrap_or_else(|e| Err(e.into())).inspect_err(|e| refused(address, e)).ok()?;
            Some(Connection { io, peer, cut: Box::pin(cut.cancelled_owned()), _permit: permit })
        })
    })
    .buffer_unordered(limits.max_connections)
    .filter_map(|finished| future::ready(finished.ok().flatten().map(Ok)))
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

async fn handshake(tcp: TcpStream, tls: &Tls) -> io::Result<(TlsStream<TcpStream>, PeerIdentity)> {
    tcp.set_nodelay(true)?;
    let io = TlsAcceptor::from(tls.server_config()).accept(tcp).await.map_err(tls::plain)?;
    let leaf = io.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let leaf = leaf.ok_or_else(|| io::Error::other("the client sent no certificate"))?;
    let peer = PeerIdentity::from_certificate(leaf, tls.trust_domain()).map_err(io::Error::other)?;
    Ok((io, peer))
}

/// Probes that connect and go away are everyday; whatever else fails is worth a line.
fn refused(address: SocketAddr, error: &io::Error) {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            tracing::debug!(client.address = %address, %error, "connection ended in its handshake");
        }
        _ => tracing::info!(client.address = %address, %error, "connection refused in its handshake"),
    }
}

/// One authenticated connection.
pub(super) struct Connection {
    io: TlsStream<TcpStream>,
    peer: PeerIdentity,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
