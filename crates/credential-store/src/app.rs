//! What credential-store is made of.

use std::sync::Arc;

use pullpass_api::{
    FILE_DESCRIPTOR_SET, credential::v1::credential_store_server::CredentialStoreServer, service,
};
use pullpass_database::Database;
use pullpass_runtime::{Clock, Server, Shutdown, Tls};
use tonic::service::Routes;

use crate::{
    config::Config, credentials::Credentials, fetch::Fetch, grpc::Grpc, keys::Keys, metrics, rewrap::Rewrap,
    ticket::Verifier,
};

/// Serves until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    metrics::describe();
    let tls = Arc::new(Tls::load(&config.server.tls)?);
    tls.watch(&shutdown);
    let grpc = compose(&config, Clock::system(), &shutdown).await?;
    let (database, keys) = (grpc.credentials.database.clone(), grpc.credentials.keys.clone());
    keys.follow(&shutdown);
    let limit = config.server.limits.max_message_bytes;
    let service = CredentialStoreServer::new(grpc).max_decoding_message_size(limit);
    let server = Server::new(&config.server, tls)?.reflect(FILE_DESCRIPTOR_SET).healthy_while(keys.ready());
    server.serve(Routes::new(service), &[service::CREDENTIAL_STORE], &shutdown).await?;
    database.close().await;
    Ok(())
}

/// All but the network.
pub(crate) async fn compose(config: &Config, clock: Clock, shutdown: &Shutdown) -> anyhow::Result<Grpc> {
    let tickets = Verifier::load(&config.ticket_public_key)?;
    let database = Database::open(&config.database, &sqlx::migrate!()).await?;
    let keys = Arc::new(Keys::open(&config.key_encryption, &database, &clock).await?);
    Ok(Grpc {
        credentials: Credentials { database: database.clone(), keys: keys.clone(), clock: clock.clone() },
        rewrap: Rewrap { database: database.clone(), keys: keys.clone(), clock: clock.clone() },
        fetch: Fetch { database, keys, tickets, clock },
        shutdown: shutdown.clone(),
    })
}
