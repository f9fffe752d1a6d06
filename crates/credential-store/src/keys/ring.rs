//! The key-encryption keys in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use time::OffsetDateTime;

use super::table::Provider;
use crate::seal::Kek;

#[derive(Debug, Default)]
pub(super) struct Ring(RwLock<Held>);

#[derive(Debug, Default)]
struct Held {
    keys: BTreeMap<String, (Provider, Arc<Kek>)>,
    sealing: Option<Sealing>,
}

/// The key that wraps new data keys.
#[derive(Debug, Clone)]
pub(super) struct Sealing {
    pub(super) kek: Arc<Kek>,
    /// When it may do so no more; none if it always may.
    pub(super) until: Option<OffsetDateTime>,
}

impl Ring {
    pub(super) fn get(&self, id: &str) -> Option<Arc<Kek>> {
        self.read().keys.get(id).map(|(_, kek)| Arc::clone(kek))
    }

    pub(super) fn insert(&self, provider: Provider, kek: Kek) {
        self.write().keys.insert(kek.id().to_owned(), (provider, Arc::new(kek)));
    }

    pub(super) fn sealing(&self) -> Option<Sealing> {
        self.read().sealing.clone()
    }

    /// False if it is not there.
    pub(super) fn seal_with(&self, id: &str, until: Option<OffsetDateTime>) -> bool {
        let mut held = self.write();
        let Some((_, kek)) = held.keys.get(id) else { return false };
        held.sealing = Some(Sealing { kek: Arc::clone(kek), until });
        true
    }

    /// Drops the keys of `provider` that are not among these.
    pub(super) fn keep_only(&self, provider: Provider, ids: &BTreeSet<&str>) {
        self.write().keys.retain(|id, (of, _)| *of != provider || ids.contains(id.as_str()));
    }

    pub(super) fn remove(&self, id: &str) {
        self.write().keys.remove(id);
    }

    pub(super) fn ids(&self) -> BTreeSet<String> {
        self.read().keys.keys().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
