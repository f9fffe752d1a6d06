//! Re-wraps data keys: what hangs on other key-encryption keys comes to hang on the one that seals. Batch by batch, each a
//! small transaction with its audit event, so that writers go on and it can be cut off at any moment. Material is not touched.

use std::{collections::BTreeMap, sync::Arc};

use pullpass_database::{AuditEntry, Database, Write};
use pullpass_runtime::Clock;
use time::OffsetDateTime;

use crate::{
    credentials,
    error::Error,
    keys::{self, Health, Keys, Known, Provider, table},
    seal::{Kek, Place},
    store::{self, Wrapped},
};

/// How many data keys one call re-wraps: a few milliseconds of the writer.
const BATCH: i64 = 256;

#[derive(Debug)]
pub(crate) struct Rewrap {
    pub(crate) database: Database,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clock: Clock,
}

/// What one call did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) rewrapped: i32,
    /// The key that they hang on now.
    pub(crate) key_id: String,
    /// Nothing hangs on another one.
    pub(crate) done: bool,
    /// The keys that were removed, because nothing hung on them.
    pub(crate) removed: Vec<Known>,
}

/// Which keys there are, and what hangs on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) health: Health,
    /// Oldest first.
    pub(crate) keys: Vec<KeyState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyState {
    pub(crate) known: Known,
    /// Whether it is in memory.
    pub(crate) held: bool,
    pub(crate) versions: i64,
}

impl Rewrap {
    /// What holds now: the provider is asked. How it is is part of the answer, so that is no error.
    pub(crate) async fn state(&self) -> Result<State, Error> {
        let _told_by_health = self.keys.ask().await;
        let mut read = self.database.read().await?;
        let (known, counts) = (table::all(read.connection()).await?, table::counts(read.connection()).await?);
        let (health, held) = (self.keys.health(), self.keys.held());
        let state = |known: Known| KeyState {
            held: held.contains(&known.id),
            versions: counts.get(&known.id).copied().unwrap_or_default(),
            known,
        };
        // The ids of files that nobody uses or names any more are history.
        let matters = |key: &KeyState| key.held || key.versions > 0 || key.known.provider == Provider::Kms;
        Ok(State { health, keys: known.into_iter().map(state).filter(matters).collect() })
    }

    /// One batch. Whoever calls until it is done has everything hang on the key that the provider names then.
    pub(crate) async fn step(&self, principal: &str) -> Result<Progress, Error> {
        let mut to = self.keys.sealing()?;
        let mut batch = self.next(&to).await?;
        if batch.is_empty() {
            // The provider's key may have changed a moment ago, and then this is not the end.
            self.keys.ask().await?;
            to = self.keys.sealing()?;
            batch = self.next(&to).await?;
        }
        match batch.first() {
            None => self.finish(principal, &to).await,
            Some(first) => {
                let from = self.keys.opening(&first.key_id).await?;
                self.apply(principal, &from, &to, batch).await
            }
        }
    }

    /// Data keys that hang on one other key than `to`.
    async fn next(&self, to: &Kek) -> Result<Vec<Wrapped>, Error> {
        let mut read = self.database.read().await?;
        for id in table::in_use(read.connection()).await? {
            if id != to.id() {
                return Ok(store::wrapped_by(read.connection(), &id, BATCH).await?);
            }
        }
        Ok(Vec::new())
    }

    async fn apply(
        &self,
        principal: &str,
        from: &Kek,
        to: &Kek,
        batch: Vec<Wrapped>,
    ) -> Result<Progress, Error> {
        let batch = rewrapped(from, to, batch)?;
        let mut write = self.database.write().await?;
        let mut count = 0;
        for (before, data_key) in &batch {
            let done = store::rewrap(write.connection(), before, to.id(), data_key).await;
            count += i32::from(done.map_err(Error::of_key)?);
        }
        let details = [("from", from.id().to_owned()), ("rewrapped", count.to_string())];
        self.audit(&mut write, principal, to, details).await?;
        write.commit().await?;
        Ok(Progress { rewrapped: count, key_id: to.id().to_owned(), done: false, removed: Vec::new() })
    }

    /// Done, unless a writer that began earlier was faster; then the next call goes on.
    async fn finish(&self, principal: &str, to: &Kek) -> Result<Progress, Error> {
        let mut write = self.database.write().await?;
        let used = table::in_use(write.connection()).await?;
        let key_id = to.id().to_owned();
        if used.iter().any(|id| *id != key_id) || self.keys.sealing()?.id() != key_id {
            return Ok(Progress { rewrapped: 0, key_id, done: false, removed: Vec::new() });
        }
        let known = table::all(write.connection()).await?;
        let unused = known.into_iter().filter(|known| known.provider == Provider::Kms && known.id != key_id);
        let removed: Vec<_> = unused.filter(|known| !used.contains(&known.id)).collect();
        for known in &removed {
            table::remove(write.connection(), &known.id).await.map_err(Error::of_key)?;
        }
        let ids: Vec<_> = removed.iter().map(|known| known.id.as_str()).collect();
        let details = [("removed", ids.join(",")), ("rewrapped", "0".to_owned())];
        self.audit(&mut write, principal, to, details).await?;
        write.commit().await?;
        self.keys.forget(&removed);
        credentials::scrub(&self.database).await;
        Ok(Progress { rewrapped: 0, key_id, done: true, removed })
    }

    async fn audit(
        &self,
        write: &mut Write,
        principal: &str,
        to: &Kek,
        details: [(&str, String); 2],
    ) -> Result<(), Error> {
        let time: OffsetDateTime = self.clock.now();
        let details = details.into_iter().map(|(key, value)| (key.to_owned(), value));
        let entry = AuditEntry {
            time,
            principal: principal.to_owned(),
            action: "RewrapDataKeys".to_owned(),
            resource: keys::resource(to.id()),
            details: details.filter(|(_, value)| !value.is_empty()).collect::<BTreeMap<_, _>>(),
        };
        write.audit(entry).await?;
        Ok(())
    }
}

/// Those that open; what does not must not hold up the others, and is told when nothing else is left.
fn rewrapped(from: &Kek, to: &Kek, batch: Vec<Wrapped>) -> Result<Vec<(Wrapped, Vec<u8>)>, Error> {
    let (mut good, mut bad) = (Vec::with_capacity(batch.len()), None);
    for wrapped in batch {
        let place = Place { uid: &wrapped.uid, name: &wrapped.name, version: wrapped.version };
        match from.rewrap(place, &wrapped.data_key, to) {
            Ok(data_key) => good.push((wrapped, data_key)),
            Err(source) => {
                bad = bad.or(Some(Error::Seal { name: wrapped.name, version: wrapped.version, source }));
            }
        }
    }
    match bad {
        Some(error) if good.is_empty() => Err(error),
        _ => Ok(good),
    }
}
