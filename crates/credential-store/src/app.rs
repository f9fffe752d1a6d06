//! What credential-store is made of.

use std::sync::Arc;

use pullpass_api::{
    FILE_DESCRIPTOR_SET,
    credential::v1::credential_store_server::CredentialStoreServer,
    service::{CREDENTIAL_STORE, RECOVERY},
};
use pullpass_recovery::Recovery;
use pullpass_runtime::{Clock, Server, Shutdown, Tls};
use tonic::service::Routes;

use crate::{
    config::Config, credentials::Credentials, fetch::Fetch, grpc::Grpc, keys::Keys, lookup::Lookup, metrics,
    rewrap::Rewrap, ticket::Verifier,
};

/// What the audit trail calls this service.
pub(crate) const NAME: &str = "credential-store";

/// Serves until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    metrics::describe();
    let tls = Arc::new(Tls::load(&config.server.tls)?);
    tls.watch(&shutdown);
    let (grpc, recovery) = compose(&config, Clock::system(), &shutdown).await?;
    recovery.keep(&shutdown);
    let keys = grpc.credentials.keys.clone();
    keys.follow(&shutdown);
    let limit = config.server.limits.max_message_bytes;
    let service = CredentialStoreServer::new(grpc).max_decoding_message_size(limit);
    let routes = Routes::new(service).add_service(recovery.service());
    let server = Server::new(&config.server, tls)?.reflect(FILE_DESCRIPTOR_SET);
    let server = server.behind(recovery.gate()).healthy_while(keys.ready());
    server.serve(routes, &[CREDENTIAL_STORE, RECOVERY], &shutdown).await?;
    recovery.close().await;
    Ok(())
}

/// All but the network.
pub(crate) async fn compose(
    config: &Config,
    clock: Clock,
    shutdown: &Shutdown,
) -> anyhow::Result<(Grpc, Recovery)> {
    let tickets = Verifier::load(&config.ticket_public_key)?;
    let Config { audit, database, .. } = config;
    let recovery = Recovery::open(NAME, audit, database, &sqlx::migrate!(), clock.clone()).await?;
    let database = recovery.database().clone();
    let keys = Arc::new(Keys::open(&config.key_encryption, &database, &clock).await?);
    let grpc = Grpc {
        credentials: Credentials { database: database.clone(), keys: keys.clone(), clock: clock.clone() },
        rewrap: Rewrap { database: database.clone(), keys: keys.clone(), clock: clock.clone() },
        fetch: Fetch { lookup: Lookup::new(database.clone()), database, keys, tickets, clock },
        shutdown: shutdown.clone(),
    };
    Ok((grpc, recovery))
}
