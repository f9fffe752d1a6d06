//! The composition: which parts the service is made of.

use std::sync::Arc;

use pullpass_api::{
    FILE_DESCRIPTOR_SET,
    grant::v1::grant_manager_server::GrantManagerServer,
    service::{GRANT_MANAGER, RECOVERY},
};
use pullpass_recovery::Recovery;
use pullpass_runtime::{Clock, Server, Shutdown, Tls};
use tonic::service::Routes;

use crate::{Config, Manager, Service, Signer, manager::NAME, metrics};

/// Runs the service until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    metrics::describe();
    let signer = Signer::load(&config.ticket_signing_key)?;
    let tls = Arc::new(Tls::load(&config.server.tls)?);
    let clock = Clock::system();
    let Config { audit, database, server, .. } = &config;
    let recovery = Recovery::open(NAME, audit, database, Manager::migrations(), clock.clone()).await?;
    let manager = Manager::new(recovery.database().clone(), signer, clock);
    tls.watch(&shutdown);
    recovery.keep(&shutdown);
    let service = GrantManagerServer::new(Service::new(manager, shutdown.clone()))
        .max_decoding_message_size(server.limits.max_message_bytes);
    Server::new(server, tls)?
        .reflect(FILE_DESCRIPTOR_SET)
        .behind(recovery.gate())
        .serve(Routes::new(service).add_service(recovery.service()), &[GRANT_MANAGER, RECOVERY], &shutdown)
        .await?;
    recovery.close().await;
    Ok(())
}
