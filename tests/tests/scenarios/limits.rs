//! Too many of everything that a client can open, against the real service: others are served meanwhile, and its memory stays
//! bounded.

mod connections;
mod handshakes;
mod resets;
mod streams;

use std::time::{Duration, Instant};

use e2e::Alone;
use pullpass_api::credential::v1::{ListCredentialsRequest, credential_store_client::CredentialStoreClient};
use pullpass_runtime::{Connection, config::TlsConfig};

/// The most memory that an attack of these may cost, in KiB.
const MEMORY: u64 = 128 * 1024;
/// What anybody else may have to wait meanwhile, on two busy cores; who is kept out waits for five seconds at least.
const BEARABLE: Duration = Duration::from_secs(3);

/// The administrator, who wants nothing but an answer.
struct Bystander<'a> {
    alone: &'a Alone,
    caller: TlsConfig,
    memory: u64,
}

impl<'a> Bystander<'a> {
    fn new(alone: &'a Alone) -> Self {
        let caller = alone.state.admin().clone();
        Self { alone, caller, memory: alone.peak_memory() }
    }

    /// Calls so often, each time by a connection of its own, none of which may fail.
    async fn calls(&self, what: &str, times: usize) {
        let mut took = Vec::new();
        for _ in 0..times {
            let began = Instant::now();
            list(&mut self.alone.client(&self.caller))
                .await
                .unwrap_or_else(|status| panic!("{what}: {status:?}"));
            took.push(began.elapsed());
        }
        took.sort();
        let (median, p99) = (took[times / 2], took[times * 99 / 100]);
        println!("{what}: {times} new connections with a call, median {median:?}, p99 {p99:?}");
        assert!(p99 < BEARABLE, "{what}: p99 {p99:?}");
    }

    /// What the service's memory has peaked at since.
    fn memory_is_bounded(&self, what: &str) {
        let (before, peak) = (self.memory, self.alone.peak_memory());
        println!("{what}: peak memory {} MiB, {} MiB before", peak / 1024, before / 1024);
        assert!(peak < before + MEMORY, "{what}: from {before} KiB to {peak} KiB");
    }
}

async fn list(client: &mut CredentialStoreClient<Connection>) -> Result<(), tonic::Status> {
    client.list_credentials(ListCredentialsRequest::default()).await.map(drop)
}
