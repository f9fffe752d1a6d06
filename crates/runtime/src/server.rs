//! The serving side: accepts TLS connections and puts trace, metrics, authentication, authorization and the gate before
//! the handlers.

mod accept;
mod calls;
mod connection;
mod principals;

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::select_all;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

use self::{accept::Entrance, calls::Counted, connection::Common};
use crate::{
    authenticate::Authenticate,
    authorize::Authorize,
    clock::Clock,
    config::{LimitsConfig, ServerConfig},
    gate::{Gate, Gated},
    observe::Observe,
    shutdown::Shutdown,
    tls::{Clients, Tls},
    token::{self, Issuers},
};

/// A silent connection is asked for a sign of life after this time…
const KEEPALIVE: Duration = Duration::from_secs(30);
/// … and given up when none comes in this time.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
/// All headers of one call together, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;
/// How much may be sent ahead of what is read: by one call, and by all calls of one connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Calls that their client has reset before we took them up, and calls that we had to reset ourselves: with more of them
/// at one time a connection is ended (CVE-2023-44487, and CVE-2025-8671).
const MAX_RESET: usize = 20;
const MAX_RESET_BY_US: usize = 256;

/// Why a server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("failed to listen on {address}")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The issuers of tokens are not well configured.
    #[error(transparent)]
    Issuers(#[from] token::Error),
    /// A file descriptor set is not one.
    #[error("failed to set up reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A gRPC server that is bound to its address but does not serve yet.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    tls: Arc<Tls>,
    listener: TcpListener,
    address: SocketAddr,
    descriptors: Vec<&'static [u8]>,
    conditions: Vec<watch::Receiver<bool>>,
    gate: Gate,
    issuers: Issuers,
}

impl Server {
    /// Binds the configured address. Needs a running tokio runtime.
    pub fn new(config: &ServerConfig, tls: Arc<Tls>) -> Result<Self, Error> {
        let issuers = Issuers::new(&config.issuers, tls.trust_domain(), Clock::system())?;
        let bind = |source| Error::Bind { address: config.listen, source };
        let listener = std::net::TcpListener::bind(config.listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let listener = TcpListener::from_std(listener).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            config: config.clone(),
            tls,
            listener,
            address,
            descriptors: Vec::new(),
            conditions: Vec::new(),
            gate: Gate::default(),
            issuers,
        })
    }

    /// The address that the server listens on; the real port where the configuration says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Adds an encoded file descriptor set to what reflection serves, where reflection is switched on.
    #[must_use]
    pub fn reflect(mut self, descriptors: &'static [u8]) -> Self {
        self.descriptors.push(descriptors);
        self
    }

    /// Reports the services as healthy only while `condition` holds, and all others that were named. Calls are answered
    /// in any case: which of them cannot be served is the service's to say.
    #[must_use]
    pub fn healthy_while(mut self, condition: watch::Receiver<bool>) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Has `gate` say whether calls are let through; without, they are. While it is closed the services are not healthy.
    #[must_use]
    pub fn behind(mut self, gate: Gate) -> Self {
        self.conditions.push(gate.opening());
        self.gate = gate;
        self
    }

    /// Serves `routes` until the shutdown, and reports the named `services` as healthy while it does.
    ///
    /// Once the shutdown begins, calls at hand may finish; whatever still runs at its hard end is cut off.
    pub async fn serve(
        mut self,
        routes: Routes,
        services: &[&str],
        shutdown: &Shutdown,
    ) -> Result<(), Error> {
        let conditions = std::mem::take(&mut self.conditions);
        let (health, health_service) = tonic_health::server::health_reporter();
        tell(&health, services, &conditions).await;
        let routes = self.with_reflection(routes.add_service(health_service))?.prepare();
        let clients = if self.issuers.is_empty() { Clients::Certified } else { Clients::CertifiedOrNot };
        self.issuers.watch(shutdown);
        let authorized = Authorize::new(Gated::new(routes, self.gate.clone()), &self.config);
        let handler = Authenticate::new(authorized, self.issuers, Clock::system());
        let (soft, hard) = (CancellationToken::new(), shutdown.hard_token());
        let common = Common {
            http2: http2(&self.config.limits),
            tls: Arc::clone(&self.tls),
            idle: Duration::from_secs(self.config.limits.idle_seconds),
            soft: soft.clone(),
            hard: hard.clone(),
        };
        let mut entrance = Entrance::new(self.listener, self.tls, clients, &self.config.limits);
        let names: Vec<String> = services.iter().map(ToString::to_string).collect();
        tracing::info!(server.address = %self.address, ?services, "serving");
        let open = TaskTracker::new();
        let accepting =
            async {
                loop {
                    let connection = entrance.next().await;
                    let (handler, names) = (handler.clone(), names.clone());
                    open.spawn(connection.serve(common.clone(), move |calls| {
                        Observe::new(Counted::new(handler, calls), &names)
                    }));
                }
            };
        tokio::select! {
            () = accepting => {}
            () = report(shutdown, health, services, conditions) => {}
        }
        drop(entrance);
        soft.cancel();
        open.close();
        tokio::select! {
            () = open.wait() => {}
            () = hard.cancelled() => tracing::warn!("calls were still running at the end of the shutdown and are cut off"),
        }
        Ok(())
    }

    fn with_reflection(&self, routes: Routes) -> Result<Routes, Error> {
        if !self.config.reflection {
            return Ok(routes);
        }
        let builder = tonic_reflection::server::Builder::configure();
        let builder =
            self.descriptors.iter().fold(builder, |b, set| b.register_encoded_file_descriptor_set(set));
        Ok(routes.add_service(builder.build_v1()?))
    }
}

/// How HTTP/2 is spoken with every client.
fn http2(limits: &LimitsConfig) -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(SIGN_OF_LIFE))
        .max_concurrent_streams(limits.max_streams_per_connection)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESET))
        .http2_max_local_error_reset_streams(Some(MAX_RESET_BY_US))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// Tells whoever asks or watches whether we are healthy, until the shutdown begins; then that we are not any more.
async fn report(
    shutdown: &Shutdown,
    mut health: HealthReporter,
    services: &[&str],
    mut conditions: Vec<watch::Receiver<bool>>,
) {
    let token = shutdown.token();
    loop {
        tokio::select! {
            () = token.cancelled() => break,
            () = any_changes(&mut conditions) => tell(&health, services, &conditions).await,
        }
    }
    for service in services.iter().chain(&[""]) {
        health.set_service_status(service, ServingStatus::NotServing).await;
        // Forgetting a service ends the streams that watch it, after they have told the last status.
        health.clear_service_status(service).await;
    }
}

async fn tell(health: &HealthReporter, services: &[&str], conditions: &[watch::Receiver<bool>]) {
    let all = conditions.iter().all(|condition| *condition.borrow());
    let status = if all { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in services.iter().chain(&[""]) {
        health.set_service_status(service, status).await;
    }
}

/// A condition that nobody can change any more stays as it is.
async fn any_changes(conditions: &mut [watch::Receiver<bool>]) {
    let changes = conditions.iter_mut().map(|condition| {
        Box::pin(async {
            if condition.changed().await.is_err() {
                pending::<()>().await;
            }
        })
    });
    let changes: Vec<_> = changes.collect();
    if changes.is_empty() {
        return pending().await;
    }
    select_all(changes).await;
}

#[cfg(test)]
mod tests;
