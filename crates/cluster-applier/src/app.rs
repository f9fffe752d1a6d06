//! The composition: which part talks to whom.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use pullpass_api::{
    FILE_DESCRIPTOR_SET, applier::v1::cluster_applier_server::ClusterApplierServer,
    credential::v1::credential_store_client::CredentialStoreClient,
    grant::v1::grant_manager_client::GrantManagerClient, service,
};
use pullpass_runtime::{Clock, Server, Shutdown, Tls, connect};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    apply::Applier,
    cluster::{client::Cluster, watch},
    config::Config,
    fetch::Fetcher,
    follow::{self, CredentialStream, DesiredStream, Stream},
    grpc,
    lease::{Candidate, Turn},
    metrics, reconcile, report,
    state::{Shared, State},
};

/// How often what the cluster permitted by itself is asked about again.
const ASK_AGAIN: Duration = Duration::from_mins(10);

/// Runs the service until the shutdown.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let tls = Arc::new(Tls::load(&config.server.tls)?);
    tls.watch(&shutdown);
    let server = Server::new(&config.server, Arc::clone(&tls))?.reflect(FILE_DESCRIPTOR_SET);
    let turn = if config.lease.is_some() { Turn::not_yet() } else { Turn::always() };
    let cluster = Cluster::connect(config.kubeconfig.as_deref(), config.in_flight, turn).await;
    let cluster = Arc::new(cluster.context("failed to set up the way to the Kubernetes API server")?);
    let shared = Arc::new(Shared::new(watch::CACHES));
    let at_rest = CancellationToken::new();
    take_turns(&config, &cluster, &shared, &shutdown, &at_rest);
    watch::start(&cluster, &shared, &shutdown);
    follow_wishes(&config, &tls, &shared, &shutdown);
    let applier = Applier { cluster, shared: Arc::clone(&shared) };
    // The other half of the budget is for the calls under way and the telemetry.
    let grace = Duration::from_secs(config.server.shutdown_seconds) / 2;
    let working = reconcile::run(applier, config.in_flight, shutdown.token(), grace);
    let at_rest = at_rest.drop_guard();
    shutdown.spawn("reconcile", async move {
        working.await;
        drop(at_rest);
    });
    spawn("ask again", &shutdown, ask_again(Arc::clone(&shared)));
    let handlers = ClusterApplierServer::new(grpc::Service { shared, shutdown: shutdown.clone() })
        .max_decoding_message_size(config.server.limits.max_message_bytes);
    server.serve(Routes::new(handlers), &[service::CLUSTER_APPLIER], &shutdown).await?;
    Ok(())
}

/// Writes to the cluster only while it is our turn, and ends the turn when the last write is over.
fn take_turns(
    config: &Config,
    cluster: &Cluster,
    shared: &Arc<Shared>,
    shutdown: &Shutdown,
    at_rest: &CancellationToken,
) {
    let Some(lease) = &config.lease else { return metrics::active(true) };
    let news = watch::lease(cluster, lease, shared, shutdown);
    let candidate = Candidate::new(lease, cluster, news, Arc::clone(shared), Clock::system());
    shutdown.spawn("lease", candidate.run(at_rest.clone()));
}

/// Everything that talks to the other two services.
fn follow_wishes(config: &Config, tls: &Arc<Tls>, shared: &Arc<Shared>, shutdown: &Shutdown) {
    let grant_manager = GrantManagerClient::new(connect(tls, &config.grant_manager));
    let credential_store = CredentialStoreClient::new(connect(tls, &config.credential_store));
    let state = || Arc::clone(shared);
    let wishes = DesiredStream { client: grant_manager.clone(), shared: state() };
    spawn(DesiredStream::WHAT, shutdown, follow::keep(wishes));
    let versions = CredentialStream { client: credential_store.clone(), shared: state() };
    spawn(CredentialStream::WHAT, shutdown, follow::keep(versions));
    spawn("report", shutdown, report::run(grant_manager.clone(), state()));
    spawn("fetch", shutdown, Fetcher { grant_manager, credential_store, shared: state() }.run());
}

async fn ask_again(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(ASK_AGAIN).await;
        shared.with(State::ask_again);
    }
}

/// Runs a task that has no end of its own until the shutdown begins.
fn spawn(name: &'static str, shutdown: &Shutdown, task: impl Future<Output = ()> + Send + 'static) {
    let token = shutdown.token();
    shutdown.spawn(name, async move {
        token.run_until_cancelled(task).await;
    });
}
