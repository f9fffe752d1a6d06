//! The serving side: accepts mTLS connections and puts trace, metrics and authorization before the handlers.

mod accept;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{authorize::Authorize, config::ServerConfig, observe::Observe, shutdown::Shutdown, tls::Tls};

const KEEPALIVE: Duration = Duration::from_secs(30);

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
    /// A file descriptor set is not one.
    #[error("failed to set up reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The HTTP/2 server gave up.
    #[error("failed to serve")]
    Serve(#[from] tonic::transport::Error),
}

/// A gRPC server that is bound to its address but does not serve yet.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    tls: Arc<Tls>,
    listener: TcpListener,
    address: SocketAddr,
    descriptors: Vec<&'static [u8]>,
}

impl Server {
    /// Binds the configured address. Needs a running tokio runtime.
    pub fn new(config: &ServerConfig, tls: Arc<Tls>) -> Result<Self, Error> {
        let bind = |source| Error::Bind { address: config.listen, source };
        let listener = std::net::TcpListener::bind(config.listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let listener = TcpListener::from_std(listener).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self { config: config.clone(), tls, listener, address, descriptors: Vec::new() })
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

    /// Serves `routes` until the shutdown, and reports the named `services` as healthy while it does.
    ///
    /// Once the shutdown begins, calls at hand may finish; whatever still runs at its hard end is cut off.
    pub async fn serve(self, routes: Routes, services: &[&str], shutdown: &Shutdown) -> Result<(), Error> {
        let (health, health_service) = tonic_health::server::health_reporter();
        for service in services {
            health.set_service_status(service, ServingStatus::Serving).await;
        }
        let routes = self.with_reflection(routes.add_service(health_service))?.prepare();
        let handler = Observe::new(Authorize::new(routes, &self.config), services);
        let hard = shutdown.hard_token();
        let connections = accept::connections(self.listener, self.tls, &self.config.limits, hard.clone());
        tracing::info!(server.address = %self.address, ?services, "serving");
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .serve_with_incoming_shutdown(handler, connections, stopped(shutdown, health, services));
        tokio::select! {
            ended = serving => ended?,
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

/// Waits for the shutdown to begin, and then tells whoever asks or watches that we are not healthy any more.
async fn stopped(shutdown: &Shutdown, mut health: HealthReporter, services: &[&str]) {
    shutdown.token().cancelled().await;
    for service in services.iter().chain(&[""]) {
        health.set_service_status(service, ServingStatus::NotServing).await;
        // Forgetting a service ends the streams that watch it, after they have told the last status.
        health.clear_service_status(service).await;
    }
}

#[cfg(test)]
mod tests;
