//! The key-encryption keys: which one wraps the data keys of new material, and which ones open what is stored.
//!
//! ```text
//!  key files ──────────────► Ring ─► sealing()    new versions, re-wrapping
//!  KMS v2 plugin ─► kms ──────┘  └─► opening(id)  fetches, re-wrapping
//!                    └─ table key_encryption_keys
//! ```
//!
//! Both are answered from memory. Without a key at hand there is an error that passes by itself, never a plain text.

pub(crate) mod file;
mod kms;
mod ring;
pub(crate) mod table;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use pullpass_database::Database;
use pullpass_kms::Plugin;
use pullpass_runtime::{Clock, Shutdown};
use time::OffsetDateTime;
use tokio::sync::watch;

pub(crate) use self::table::{Known, Provider};
use self::{kms::Kms, ring::Ring};
use crate::{
    config::{KeyEncryptionConfig, KeyProvider},
    seal::Kek,
};

/// Who is named in the audit trail for what the service does by itself.
const OURSELVES: &str = "credential-store";
/// How often a plugin that is well is asked, and one that is not: `kmsv2PluginHealthzPositiveInterval` and `…Negative…` of
/// the API server. The first of those that are not come sooner.
const ASK: Duration = Duration::from_mins(1);
const ASK_AGAIN: Duration = Duration::from_millis(250);
const ASK_AGAIN_AT_MOST: Duration = Duration::from_secs(10);

/// Why a key is not at hand. It passes when the provider is back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("new material cannot be sealed, because the key provider is not available: {0}")]
    Sealing(String),
    #[error("the key-encryption key {id} is not at hand: {problem}")]
    Opening { id: String, problem: String },
    #[error("the key provider is not available: {0}")]
    Provider(String),
}

/// How the provider of the key that seals is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) provider: Provider,
    /// Empty while no key seals.
    pub(crate) sealing: String,
    /// Empty if all is well.
    pub(crate) problem: String,
    /// When it was last well.
    pub(crate) well: Option<OffsetDateTime>,
}

#[derive(Debug)]
pub(crate) struct Keys {
    ring: Arc<Ring>,
    kms: Option<Kms>,
    provider: Provider,
    clock: Clock,
    database: Database,
    /// Whether everything that is stored could be opened, and something new be sealed, at least once.
    ready: watch::Sender<bool>,
}

impl Keys {
    /// Reads the key files, and makes sure that nothing hangs on a key that the configuration does not lead to. A plugin
    /// is not asked yet.
    pub(crate) async fn open(
        config: &KeyEncryptionConfig,
        database: &Database,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        config.check()?;
        let ring = Arc::new(Ring::default());
        for file in &config.others {
            ring.insert(Provider::File, file::load(file)?);
        }
        let provider = match config.provider {
            KeyProvider::File => Provider::File,
            KeyProvider::Kms => Provider::Kms,
        };
        if let Some(file) = &config.file {
            let kek = file::load(file)?;
            let id = kek.id().to_owned();
            ring.insert(Provider::File, kek);
            if provider == Provider::File {
                make_known(&id, database, clock).await?;
                ring.seal_with(&id, None);
            }
        }
        let kms = config.socket.as_ref().map(|socket| Kms {
            plugin: Plugin::new(socket, Duration::from_secs(config.timeout_seconds)),
            ring: Arc::clone(&ring),
            database: database.clone(),
            clock: clock.clone(),
            seals: provider == Provider::Kms,
            seen: std::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        });
        let (clock, database, ready) = (clock.clone(), database.clone(), watch::Sender::new(false));
        let keys = Self { ring, kms, provider, clock, database, ready };
        keys.check_database().await?;
        keys.note_ready().await;
        Ok(keys)
    }

    /// The key that wraps new data keys.
    pub(crate) fn sealing(&self) -> Result<Arc<Kek>, Unavailable> {
        let problem = || Unavailable::Sealing(self.problem());
        let sealing = self.ring.sealing().ok_or_else(problem)?;
        match sealing.until {
            Some(until) if until < self.clock.now() => Err(problem()),
            _ => Ok(sealing.kek),
        }
    }

    /// The key that opens what hangs on it. One that another replica made a moment ago is fetched; not to be called inside
    /// a write transaction.
    pub(crate) async fn opening(&self, id: &str) -> Result<Arc<Kek>, Unavailable> {
        if let Some(kek) = self.ring.get(id) {
            return Ok(kek);
        }
        let fetched = match &self.kms {
            Some(kms) => kms.look_for(id).await,
            None => None,
        };
        fetched.ok_or_else(|| Unavailable::Opening { id: id.to_owned(), problem: self.problem() })
    }

    /// Asks the provider now: what holds after this is no older than the call.
    pub(crate) async fn ask(&self) -> Result<(), Unavailable> {
        let Some(kms) = &self.kms else { return Ok(()) };
        let outcome = kms.look().await;
        self.note_ready().await;
        outcome.map_err(|error| Unavailable::Provider(error.to_string()))
    }

    /// Asks the provider from now on until the shutdown.
    pub(crate) fn follow(self: &Arc<Self>, shutdown: &Shutdown) {
        let (this, stop) = (Arc::clone(self), shutdown.token());
        if this.kms.is_none() {
            return;
        }
        shutdown.spawn("key-provider", async move {
            let mut again = ASK_AGAIN;
            loop {
                let outcome = tokio::select! {
                    () = stop.cancelled() => return,
                    outcome = this.ask() => outcome,
                };
                let pause = if outcome.is_ok() { ASK } else { again };
                again = if pause == ASK { ASK_AGAIN } else { (again * 2).min(ASK_AGAIN_AT_MOST) };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        });
    }

    /// Whether keys were ever at hand since the start. What is in memory stays there.
    pub(crate) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    pub(crate) fn health(&self) -> Health {
        let seen = self.kms.as_ref().map(Kms::seen).unwrap_or_default();
        Health {
            provider: self.provider,
            sealing: self.ring.sealing().map(|sealing| sealing.kek.id().to_owned()).unwrap_or_default(),
            problem: seen.problem.unwrap_or_default(),
            well: if self.kms.is_some() { seen.well } else { Some(self.clock.now()) },
        }
    }

    /// The ids of the keys in memory.
    pub(crate) fn held(&self) -> BTreeSet<String> {
        self.ring.ids()
    }

    /// Takes keys of a KMS out of memory that were removed from the database.
    pub(crate) fn forget(&self, removed: &[Known]) {
        for known in removed {
            self.ring.remove(&known.id);
        }
    }

    fn problem(&self) -> String {
        match &self.kms {
            None => "key_encryption in the configuration names no file with it".to_owned(),
            Some(kms) => kms.seen().problem.unwrap_or_else(|| match self.provider {
                Provider::Kms => "the KMS plugin has not been asked yet".to_owned(),
                Provider::File => "neither a file in the configuration nor the KMS plugin has it".to_owned(),
            }),
        }
    }

    /// Refuses a database that hangs on keys which the configuration does not lead to: better no start than one after which
    /// fetches fail.
    async fn check_database(&self) -> anyhow::Result<()> {
        let strangers = self.strangers().await.context("failed to read which keys are in use")?;
        let lost = strangers.iter().filter(|known| known.provider == Provider::File || self.kms.is_none());
        let lost: Vec<_> = lost.map(describe).collect();
        anyhow::ensure!(
            lost.is_empty(),
            "key_encryption in the configuration does not fit the database: credentials are sealed under {}, and neither \
             `file` nor `others` nor `socket` leads to it",
            lost.join(", "),
        );
        Ok(())
    }

    /// Keys in use that are not in memory.
    async fn strangers(&self) -> Result<Vec<Known>, pullpass_database::Error> {
        let mut read = self.database.read().await?;
        let used: BTreeSet<_> = table::in_use(read.connection()).await?.into_iter().collect();
        let known = table::all(read.connection()).await?;
        let held = self.held();
        Ok(known.into_iter().filter(|known| used.contains(&known.id) && !held.contains(&known.id)).collect())
    }

    async fn note_ready(&self) {
        let complete = self.strangers().await.is_ok_and(|strangers| strangers.is_empty());
        if complete && self.sealing().is_ok() {
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
    }
}

/// The resource name of a key-encryption key in the audit trail.
pub(crate) fn resource(id: &str) -> String {
    format!("keyEncryptionKeys/{id}")
}

fn describe(known: &Known) -> String {
    match known.provider {
        Provider::File => format!("the file key {}", known.id),
        Provider::Kms => format!("the key {} of the KMS key {:?}", known.id, known.provider_key_id),
    }
}

/// What seals has to be in the table before anything can hang on it.
async fn make_known(id: &str, database: &Database, clock: &Clock) -> Result<(), pullpass_database::Error> {
    let known = table::all(database.read().await?.connection()).await?;
    if known.iter().any(|known| known.id == id) {
        return Ok(());
    }
    let (id, create_time) = (id.to_owned(), clock.now());
    let known =
        Known { provider_key_id: id.clone(), id, provider: Provider::File, encrypted: None, create_time };
    let mut write = database.write().await?;
    table::add(write.connection(), &known).await?;
    write.commit().await
}
