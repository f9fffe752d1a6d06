//! What each principal holds at one time, so that nobody can take all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config::LimitsConfig, identity::SpiffeId};

/// Everybody who has a connection.
#[derive(Debug)]
pub(super) struct Principals {
    connections: usize,
    calls: usize,
    known: Mutex<HashMap<SpiffeId, Weak<Principal>>>,
}

/// One of them: the room that is left for connections and calls.
#[derive(Debug)]
pub(super) struct Principal {
    connections: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

impl Principals {
    pub(super) fn new(limits: &LimitsConfig) -> Self {
        let (connections, calls) = (limits.max_connections_per_principal, limits.max_streams_per_principal);
        Self { connections, calls, known: Mutex::default() }
    }

    /// The same for everybody who comes as `id`, whatever the certificate.
    pub(super) fn get(&self, id: &SpiffeId) -> Arc<Principal> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(principal) = known.get(id).and_then(Weak::upgrade) {
            return principal;
        }
        known.retain(|_, principal| principal.strong_count() > 0);
        let principal = Arc::new(Principal {
            connections: Arc::new(Semaphore::new(self.connections)),
            calls: Arc::new(Semaphore::new(self.calls)),
        });
        known.insert(id.clone(), Arc::downgrade(&principal));
        principal
    }
}

impl Principal {
    /// Room for one connection while it lives; none if there is none.
    pub(super) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// Room for one call until its answer has ended; none if there is none.
    pub(super) fn call(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.calls).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_each_principals_own_and_is_given_back() {
        let limits = LimitsConfig { max_connections_per_principal: 1, ..LimitsConfig::default() };
        let principals = Principals::new(&limits);
        let (east, west) =
            ("spiffe://d/east".parse().expect("an id"), "spiffe://d/west".parse().expect("an id"));
        let first = principals.get(&east);
        let held = first.connection().expect("room");
        assert!(principals.get(&east).connection().is_none(), "one connection a principal");
        assert!(principals.get(&west).connection().is_some(), "of which others know nothing");
        drop(held);
        assert!(principals.get(&east).connection().is_some(), "given back");
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let principals = Principals::new(&LimitsConfig::default());
        for number in 0..100 {
            principals.get(&format!("spiffe://d/{number}").parse().expect("an id"));
        }
        assert_eq!(principals.known.lock().expect("unpoisoned").len(), 1);
    }
}
