//! Key-encryption keys that a KMS v2 plugin keeps for us, as the API server does it: no call for a record, only one for a key.
//!
//! ```text
//!  Status ─► key id ─┬─ known ──► its key wraps for the next 3 minutes       (asked again every minute)
//!                    └─ new ────► random key ─► Encrypt ─► Decrypt ─► row ─► that one does
//!  rows that are not in memory ─► Decrypt ─► they open
//! ```
//!
//! What is in memory opens whatever becomes of the plugin. Nothing here is done inside a write transaction but the row.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pullpass_database::{AuditEntry, Database};
use pullpass_kms::{Encrypted, Plugin};
use pullpass_runtime::Clock;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::{
    ring::Ring,
    table::{self, Known, Provider},
};
use crate::{
    metrics,
    seal::{self, KEY_BYTES, Kek},
};

/// So long may a key wrap after the plugin was last seen well: `kmsv2PluginWriteDEKSourceMaxTTL` of the API server. After
/// that nobody who changed the plugin's key need fear that the old one is still used.
const COAST: Duration = Duration::minutes(3);

/// What is wrong with the plugin, or with what it keeps for us.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Plugin(#[from] pullpass_kms::Error),
    #[error("Status says that the key is {status:?}, and Encrypt used {used:?}")]
    OtherKeyUsed { status: String, used: String },
    #[error("what the plugin decrypts is not the key {0} that it was given to encrypt")]
    NotTheKey(String),
    #[error("the key {id} cannot be had from the plugin: {source}")]
    Decrypt { id: String, source: pullpass_kms::Error },
    #[error("the key {0} is not in memory")]
    NotHeld(String),
    #[error("failed to make a key")]
    Make(#[source] seal::Error),
    #[error(transparent)]
    Database(#[from] pullpass_database::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// How the plugin was when it was last asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// None if it was well.
    pub(super) problem: Option<String>,
    /// When it was last well.
    pub(super) well: Option<OffsetDateTime>,
}

#[derive(Debug)]
pub(super) struct Kms {
    pub(super) plugin: Plugin,
    pub(super) ring: Arc<Ring>,
    pub(super) database: Database,
    pub(super) clock: Clock,
    /// Whether its keys wrap new data keys, or only open old ones.
    pub(super) seals: bool,
    pub(super) seen: Mutex<Seen>,
    /// One look at a time.
    pub(super) looking: tokio::sync::Mutex<()>,
}

impl Kms {
    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Asks the plugin how it is, fetches the keys that are not in memory, and follows the plugin's key id.
    pub(super) async fn look(&self) -> Result<(), Error> {
        let _one_at_a_time = self.looking.lock().await;
        self.look_and_note().await
    }

    /// The same, unless somebody has just fetched the key `id`.
    pub(super) async fn look_for(&self, id: &str) -> Option<Arc<Kek>> {
        let _one_at_a_time = self.looking.lock().await;
        if self.ring.get(id).is_none() && self.seen().problem.is_none() {
            // What is wrong has been noted.
            let _ = self.look_and_note().await;
        }
        self.ring.get(id)
    }

    async fn look_and_note(&self) -> Result<(), Error> {
        let began = self.clock.now();
        let outcome = self.follow(began).await;
        self.note(began, outcome.as_ref().err());
        outcome
    }

    async fn follow(&self, began: OffsetDateTime) -> Result<(), Error> {
        let key_id = self.plugin.status().await?;
        let fetched = self.fetch().await;
        if self.seals {
            self.seal_with(&key_id, began + COAST).await?;
        }
        fetched
    }

    /// Fetches every key that is not in memory, and drops those that are in the table no more.
    async fn fetch(&self) -> Result<(), Error> {
        let known = self.known().await?;
        self.ring.keep_only(Provider::Kms, &known.keys().map(String::as_str).collect());
        let mut outcome = Ok(());
        for (id, encrypted) in known {
            if self.ring.get(&id).is_none() {
                // One that is lost must not keep us from the others.
                outcome = outcome.and(self.fetch_one(&id, &encrypted).await);
            }
        }
        outcome
    }

    async fn fetch_one(&self, id: &str, encrypted: &Encrypted) -> Result<(), Error> {
        let key = self.plugin.decrypt(&self.uid(), encrypted).await;
        let key = key.map_err(|source| Error::Decrypt { id: id.to_owned(), source })?;
        self.ring.insert(Provider::Kms, the_key(id, &key)?);
        Ok(())
    }

    async fn known(&self) -> Result<BTreeMap<String, Encrypted>, Error> {
        let known = table::all(self.database.read().await?.connection()).await?;
        Ok(known.into_iter().filter_map(|known| Some((known.id, known.encrypted?))).collect())
    }

    async fn seal_with(&self, key_id: &str, until: OffsetDateTime) -> Result<(), Error> {
        let known = self.known().await?;
        let of_key = known.into_iter().find(|(_, encrypted)| encrypted.key_id == key_id);
        let id = match of_key {
            Some((id, _)) => id,
            None => self.make(key_id).await?,
        };
        if self.ring.seal_with(&id, Some(until)) { Ok(()) } else { Err(Error::NotHeld(id)) }
    }

    /// A new key under the plugin's key `key_id`. Before anything hangs on it, the plugin has to give it back once.
    async fn make(&self, key_id: &str) -> Result<String, Error> {
        let (kek, bytes) = Kek::random().map_err(Error::Make)?;
        let encrypted = self.plugin.encrypt(&self.uid(), &*bytes).await?;
        if encrypted.key_id != key_id {
            return Err(Error::OtherKeyUsed { status: key_id.to_owned(), used: encrypted.key_id });
        }
        the_key(kek.id(), &self.plugin.decrypt(&self.uid(), &encrypted).await?)?;
        let known = Known {
            id: kek.id().to_owned(),
            provider: Provider::Kms,
            provider_key_id: key_id.to_owned(),
            encrypted: Some(encrypted),
            create_time: self.clock.now(),
        };
        if self.add(&known).await? {
            self.ring.insert(Provider::Kms, kek);
            return Ok(known.id);
        }
        // Another replica was first: its key counts, and is fetched.
        self.fetch().await?;
        let known = self.known().await?.into_iter().find(|(_, encrypted)| encrypted.key_id == key_id);
        known.map(|(id, _)| id).ok_or(Error::NotHeld(key_id.to_owned()))
    }

    async fn add(&self, known: &Known) -> Result<bool, Error> {
        let mut write = self.database.write().await?;
        if !table::add(write.connection(), known).await? {
            return Ok(false);
        }
        let entry = AuditEntry {
            time: known.create_time,
            principal: super::OURSELVES.to_owned(),
            action: "MakeKeyEncryptionKey".to_owned(),
            resource: super::resource(&known.id),
            details: BTreeMap::from([("provider_key_id".to_owned(), known.provider_key_id.clone())]),
        };
        write.audit(entry).await?;
        write.commit().await?;
        tracing::info!(key = known.id, "made a key-encryption key under the KMS plugin's current key");
        Ok(true)
    }

    /// Logs what is new, not that nothing is.
    fn note(&self, began: OffsetDateTime, error: Option<&Error>) {
        metrics::key_provider(error.is_none());
        let problem = error.map(ToString::to_string);
        let mut seen = self.lock();
        match &problem {
            None if seen.problem.is_some() => tracing::info!("the KMS plugin is well again"),
            Some(problem) if seen.problem.as_ref() != Some(problem) => {
                tracing::warn!(problem, "the KMS plugin is not well; what is in memory goes on opening");
            }
            _ => {}
        }
        if problem.is_none() {
            seen.well = Some(began);
        }
        seen.problem = problem;
    }

    fn uid(&self) -> String {
        self.clock.new_id().to_string()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id is derived from the key, so it tells whether this is it.
fn the_key(id: &str, bytes: &Zeroizing<Vec<u8>>) -> Result<Kek, Error> {
    let bytes: Option<&[u8; KEY_BYTES]> = bytes.as_slice().try_into().ok();
    let kek = bytes.and_then(|bytes| Kek::new(bytes).ok()).filter(|kek| kek.id() == id);
    kek.ok_or_else(|| Error::NotTheKey(id.to_owned()))
}
