//! From a listening socket to authenticated connections.
//!
//! Handshakes run side by side, each with its time limit, so that a slow or silent client holds up nobody. There is room
//! for a number of them; where that is used up the one that has taken longest gives way to the newest, so that nobody
//! can keep others out by connecting and saying nothing. Who has come in is counted, against the maximum of all and of its
//! principal, until its connection ends.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    connection::Connection,
    principals::{Holder, Principal, Principals},
};
use crate::{
    config::LimitsConfig,
    identity::PeerIdentity,
    tls::{Clients, Refused, Tls},
};

/// How long to wait when the system has no descriptors or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(100);
/// How long somebody may take to read why there is no room, and to hang up.
const FAREWELL: Duration = Duration::from_secs(1);
/// Those without a certificate may have one half of all connections together: addresses are easy to come by.
const UNCERTIFIED: usize = 2;
const HANDSHAKES: &str = "tls_handshakes_total";

/// A listener and the handshakes that go on.
#[derive(Debug)]
pub(super) struct Entrance {
    listener: TcpListener,
    rules: Arc<Rules>,
    handshakes: JoinSet<Option<Connection>>,
    /// The same, the oldest first; those that have ended stay until room is wanted.
    lobby: VecDeque<AbortHandle>,
    max_handshakes: usize,
}

#[derive(Debug)]
struct Rules {
    tls: Arc<Tls>,
    clients: Clients,
    patience: Duration,
    principals: Principals,
    max_per_principal: usize,
    all: Arc<Semaphore>,
    uncertified: Arc<Semaphore>,
}

/// The place that a connection takes.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) holder: Holder,
    pub(super) principal: Arc<Principal>,
    _uncertified: Option<OwnedSemaphorePermit>,
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Entrance {
    pub(super) fn new(listener: TcpListener, tls: Arc<Tls>, clients: Clients, limits: &LimitsConfig) -> Self {
        metrics::describe_counter!(
            HANDSHAKES,
            "Connections by how their handshake ended: ok, refused, no_room, or given_way to a newer one"
        );
        let rules = Rules {
            tls,
            clients,
            patience: Duration::from_secs(limits.handshake_seconds),
            principals: Principals::new(limits),
            max_per_principal: limits.max_connections_per_principal,
            all: Arc::new(Semaphore::new(limits.max_connections)),
            uncertified: Arc::new(Semaphore::new(limits.max_connections / UNCERTIFIED)),
        };
        Self {
            listener,
            rules: Arc::new(rules),
            handshakes: JoinSet::new(),
            lobby: VecDeque::new(),
            max_handshakes: limits.max_handshakes,
        }
    }

    /// The next authenticated connection for which there is room. Nothing is lost if it is not waited for.
    pub(super) async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = ended {
                        return connection;
                    }
                }
                (tcp, address) = accept(&self.listener) => self.receive(tcp, address),
            }
        }
    }

    fn receive(&mut self, tcp: TcpStream, address: SocketAddr) {
        if self.lobby.len() >= self.max_handshakes {
            self.lobby.retain(|handshake| !handshake.is_finished());
        }
        if self.lobby.len() >= self.max_handshakes
            && let Some(oldest) = self.lobby.pop_front()
        {
            metrics::counter!(HANDSHAKES, "outcome" => "given_way").increment(1);
            oldest.abort();
        }
        let rules = Arc::clone(&self.rules);
        self.lobby.push_back(self.handshakes.spawn(async move { rules.admit(tcp, address).await }));
    }
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

impl Rules {
    async fn admit(&self, tcp: TcpStream, address: SocketAddr) -> Option<Connection> {
        let patience = tokio::time::Instant::now() + self.patience;
        let outcome = tokio::time::timeout_at(patience, handshake(tcp, &self.tls, self.clients)).await;
        let (mut io, peer) =
            outcome.unwrap_or_else(|e| Err(e.into())).inspect_err(|e| refused(address, e)).ok()?;
        let holder = Holder::of(peer.as_ref(), address.ip());
        match self.room(&holder, patience).await {
            Ok(room) => {
                metrics::counter!(HANDSHAKES, "outcome" => "ok").increment(1);
                Some(Connection { io, peer, room })
            }
            Err(reason) => {
                metrics::counter!(HANDSHAKES, "outcome" => "no_room").increment(1);
                tracing::warn!(client.address = %address, principal = %holder, reason, "connection refused");
                // Whoever does not listen need not be told.
                let _ = tokio::time::timeout(FAREWELL, turn_away(&mut io, &reason)).await;
                None
            }
        }
    }

    /// Room for one more connection of this principal; where all room is taken, it may wait for as long as it could have
    /// taken for its handshake.
    async fn room(&self, holder: &Holder, patience: tokio::time::Instant) -> Result<Room, String> {
        let principal = self.principals.get(holder);
        let own = principal.connection().ok_or_else(|| {
            let most = self.max_per_principal;
            format!("{holder} has {most} connections open and may not have more (server.limits.max_connections_per_principal)")
        })?;
        let uncertified = match holder {
            Holder::Certified(_) => None,
            Holder::From(_) => Some(self.uncertified()?),
        };
        let of_all = tokio::time::timeout_at(patience, Arc::clone(&self.all).acquire_owned()).await;
        let full = "the server has as many connections open as it may have (server.limits.max_connections)";
        let of_all = of_all.ok().and_then(Result::ok).ok_or_else(|| full.to_owned())?;
        let holder = holder.clone();
        Ok(Room { holder, principal, _uncertified: uncertified, _own: own, _of_all: of_all })
    }

    fn uncertified(&self) -> Result<OwnedSemaphorePermit, String> {
        let full = "those without a certificate have half of the connections open that the server may have, and may not \
                    have more (server.limits.max_connections)";
        Arc::clone(&self.uncertified).try_acquire_owned().map_err(|_| full.to_owned())
    }
}

/// TLS, and the first words of HTTP/2: after them the server's own keepalive watches over the connection.
async fn handshake(
    tcp: TcpStream,
    tls: &Tls,
    clients: Clients,
) -> io::Result<(TlsStream<TcpStream>, Option<PeerIdentity>)> {
    tcp.set_nodelay(true)?;
    let refused = Refused::default();
    let config = Arc::new(tls.server_config(clients, &refused).map_err(io::Error::other)?);
    let mut io = TlsAcceptor::from(config).accept(tcp).await.map_err(|error| refused.explain(error))?;
    let peer = certified(&io, tls.trust_domain())?;
    if peer.is_none() && clients == Clients::Certified {
        return Err(io::Error::other("the client sent no certificate"));
    }
    if io.fill_buf().await?.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((io, peer))
}

/// Who the client is by its certificate, if it has one.
fn certified(io: &TlsStream<TcpStream>, trust_domain: &str) -> io::Result<Option<PeerIdentity>> {
    let leaf = io.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = leaf.map(|leaf| PeerIdentity::from_certificate(leaf, trust_domain));
    peer.transpose().map_err(io::Error::other)
}

/// Tells in HTTP/2 why there is no room: the server's empty SETTINGS, and a GOAWAY with `ENHANCE_YOUR_CALM` (RFC 9113, 6.8).
async fn turn_away(io: &mut TlsStream<TcpStream>, reason: &str) -> io::Result<()> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: [u8; 6] = [7, 0, 0, 0, 0, 0];
    const NO_STREAM_ENHANCE_YOUR_CALM: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0xb];
    let length = u32::try_from(NO_STREAM_ENHANCE_YOUR_CALM.len() + reason.len()).unwrap_or_default();
    let frame =
        [&SETTINGS[..], &length.to_be_bytes()[1..], &GOAWAY, &NO_STREAM_ENHANCE_YOUR_CALM, reason.as_bytes()];
    io.write_all(&frame.concat()).await?;
    io.shutdown().await?;
    // A socket that is closed with something unread in it takes back what was said last.
    tokio::io::copy(io, &mut tokio::io::sink()).await.map(drop)
}

/// Probes that connect and go away are everyday; whatever else fails is worth a line.
fn refused(address: SocketAddr, error: &io::Error) {
    metrics::counter!(HANDSHAKES, "outcome" => "refused").increment(1);
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            tracing::debug!(client.address = %address, %error, "connection ended in its handshake");
        }
        _ => tracing::info!(client.address = %address, %error, "connection refused in its handshake"),
    }
}
