//! What cannot be seen from outside: how fetches end, and how many watch. Calls are counted by the runtime.

use crate::error::Error;

const FETCHES: &str = "credential_store_fetches_total";
const WATCHERS: &str = "credential_store_watchers";
const KEY_PROVIDER: &str = "credential_store_key_provider_well";

pub(crate) fn describe() {
    metrics::describe_counter!(
        FETCHES,
        "Fetches of a rendered Secret, by outcome: OK or the reason of the refusal"
    );
    metrics::describe_gauge!(WATCHERS, "Open WatchCredentials streams");
    metrics::describe_gauge!(KEY_PROVIDER, "Whether the KMS plugin was well when it was last asked: 1 or 0");
}

pub(crate) fn fetched(refused: Option<&Error>) {
    let outcome = refused.map_or("OK", |error| error.contract().1);
    metrics::counter!(FETCHES, "outcome" => outcome).increment(1);
}

pub(crate) fn key_provider(well: bool) {
    metrics::gauge!(KEY_PROVIDER).set(if well { 1.0 } else { 0.0 });
}

/// Counts as a watcher while it lives.
pub(crate) struct Watcher(());

impl Watcher {
    pub(crate) fn new() -> Self {
        metrics::gauge!(WATCHERS).increment(1);
        Self(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        metrics::gauge!(WATCHERS).decrement(1);
    }
}
