//! What credential-store is made of.

use std::sync::Arc;

use pullpass_api::{
    FILE_DESCRIPTOR_SET, credential::v1::credential_store_server::CredentialStoreServer, service,
};
use pullpass_database::Database;
use pullpass_runtime::{Clock, Server, Shutdown, Tls};
use tonic::service::Routes;

use crate::{
    config::Config, credentials::Credentials, fetch::Fetch, grpc::Grpc, metrics, seal::Sealer, store,
    ticket::Verifier,
};

/// Serves until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    metrics::describe();
    let tls = Arc::new(Tls::load(&config.server.tls)?);
    tls.watch(&shutdown);
    let grpc = compose(&config, Clock::system(), &shutdown).await?;
    let database = grpc.credentials.database.clone();
    let limit = config.server.limits.max_message_bytes;
    let service = CredentialStoreServer::new(grpc).max_decoding_message_size(limit);
    let server = Server::new(&config.server, tls)?.reflect(FILE_DESCRIPTOR_SET);
    server.serve(Routes::new(service), &[service::CREDENTIAL_STORE], &shutdown).await?;
    database.close().await;
    Ok(())
}

/// All but the network.
pub(crate) async fn compose(config: &Config, clock: Clock, shutdown: &Shutdown) -> anyhow::Result<Grpc> {
    let sealer = Arc::new(Sealer::load(&config.key_encryption_key)?);
    let tickets = Verifier::load(&config.ticket_public_key)?;
    let database = Database::open(&config.database, &sqlx::migrate!()).await?;
    if let Some(other) = store::other_key(database.read().await?.connection(), sealer.key_id()).await? {
        anyhow::bail!(
            "the key-encryption key {} does not fit the database {}: it has the id {}, and credentials are sealed under {other}",
            config.key_encryption_key.display(),
            config.database.path.display(),
            sealer.key_id(),
        );
    }
    Ok(Grpc {
        credentials: Credentials { database: database.clone(), sealer: sealer.clone(), clock: clock.clone() },
        fetch: Fetch { database, sealer, tickets, clock },
        shutdown: shutdown.clone(),
    })
}
