//! The composition: which parts the service is made of.

use std::sync::Arc;

use pullpass_api::grant::v1::grant_manager_server::GrantManagerServer;
use pullpass_runtime::{Clock, Server, Shutdown, Tls};
use tonic::service::Routes;

use crate::{Config, Manager, Service, Signer, metrics};

/// Runs the service until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    metrics::describe();
    let signer = Signer::load(&config.ticket_signing_key)?;
    let tls = Arc::new(Tls::load(&config.server.tls)?);
    let manager = Manager::open(&config.database, signer, Clock::system()).await?;
    tls.watch(&shutdown);
    let service = GrantManagerServer::new(Service::new(manager.clone(), shutdown.clone()))
        .max_decoding_message_size(config.server.limits.max_message_bytes);
    Server::new(&config.server, tls)?
        .reflect(pullpass_api::FILE_DESCRIPTOR_SET)
        .serve(Routes::new(service), &[pullpass_api::service::GRANT_MANAGER], &shutdown)
        .await?;
    manager.close().await;
    Ok(())
}
