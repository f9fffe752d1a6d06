//! What both services with a database share: `SQLite` or `PostgreSQL`, changes in commit order, the audit trail, each event
//! of which is chained to the one before.
//!
//! ```text
//!  write()  ─► Write: change(), audit(), first_time(), the service's own SQL ─► commit() ─┐
//!              one at a time; dropped = nothing happened                                  ├─► disk ─► subscribe()
//!  audit()  ─► an event that tells of no change ─────────────────────────────────────────┘    │ several by one COMMIT
//!  read()   ─► Read: a snapshot; many at a time; reader(): the same for one statement         ▼
//!  follow() ─► Follower: every change once, in commit order ◄───────────────────── the table `changes`
//! ```
//!
//! One at a time writes to a database, of all replicas, so revisions and audit sequences are allocated inside the
//! transaction: they have no gaps and their order is the commit order. The table is the truth; notifications only save
//! waiting.
//!
//! The SQL is the same for both databases: placeholders are `$1`; types are `TEXT`, `BLOB`, `BIGINT` and `BOOLEAN`, a
//! boolean is read as `CASE WHEN … THEN 1 ELSE 0 END`; JSON goes in and out as text. `address` and `schema` have all that
//! differs.

mod address;
mod audit;
mod config;
mod error;
mod feed;
mod history;
mod readers;
mod requests;
mod schema;
mod time;
mod transaction;
mod writer;

use std::{sync::Arc, time::Duration};

use sqlx::{AnyConnection, Connection as _, migrate::Migrator};
use tokio::{sync::watch, task::JoinHandle};
use tracing::Instrument;

use crate::{address::Address, readers::Readers, writer::Writer};

pub use crate::{
    audit::{AuditEntry, AuditEvent, Events, Head},
    config::{ConfigError, DatabaseConfig},
    error::Error,
    feed::{Change, Follower},
    history::{Beginning, Trail},
    readers::Reader,
    requests::Request,
    time::{from_micros, to_micros},
    transaction::{Read, Write},
};

/// The connection that a service's own SQL runs on, of either database.
pub type Connection = AnyConnection;

/// How long a statement, or a caller in the queue for the writer, waits before the database counts as busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open database. Clones are the same database.
#[derive(Debug, Clone)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: Address,
    writer: Writer,
    readers: Arc<Readers>,
    latest: watch::Sender<i64>,
    trail: Arc<Trail>,
    poller: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl Database {
    /// Connects, brings the shared schema and the service's own (`migrations`) up to date, and begins its history if it has
    /// none. Needs a running tokio runtime.
    pub async fn open(
        config: &DatabaseConfig,
        migrations: &Migrator,
        trail: Trail,
        beginning: &Beginning,
    ) -> Result<Self, Error> {
        let address = Address::of(config)?;
        let open = |source| Error::Open { database: config.to_string(), source };
        let mut first = address.connect_without_limits().await.map_err(open)?;
        let migrated = schema::migrate(&mut first, &address, migrations).await;
        migrated.map_err(|source| Error::Migrate { database: config.to_string(), source })?;
        let latest = watch::Sender::new(feed::revision(&mut first).await?);
        first.close().await.map_err(open)?;
        let readers = Arc::new(Readers::new(address.clone()).map_err(open)?);
        let poller = tokio::spawn(feed::poll(readers.clone(), latest.clone(), address.poll()));
        let trail = Arc::new(trail);
        let writer = Writer::new(address.clone(), Arc::clone(&trail), latest.clone());
        let database = Self(Arc::new(Inner { address, writer, readers, latest, trail, poller }));
        database.begin(beginning).await?;
        Ok(database)
    }

    /// A snapshot to read from.
    pub async fn read(&self) -> Result<Read, Error> {
        let begin = self.0.readers.begin();
        let begin = begin.instrument(tracing::info_span!("database.read"));
        Ok(Read::new(begin.await?, Arc::clone(&self.0.trail)))
    }

    /// A write; waits until it is its turn.
    pub async fn write(&self) -> Result<Write, Error> {
        let begin = self.0.writer.begin().instrument(tracing::info_span!("database.write"));
        Ok(Write::new(begin.await?, self.clone()))
    }

    /// For one statement that reads: a snapshot by itself.
    pub async fn reader(&self) -> Result<Reader, sqlx::Error> {
        self.0.readers.one().instrument(tracing::info_span!("database.read")).await
    }

    pub(crate) async fn tell(&self, entry: AuditEntry) -> Result<(), Error> {
        self.0.writer.tell(entry).await
    }

    pub(crate) fn trail(&self) -> &Arc<Trail> {
        &self.0.trail
    }

    /// Whether several replicas of a service may use it at the same time.
    pub fn may_be_shared(&self) -> bool {
        matches!(self.0.address, Address::Postgres(_))
    }

    /// Takes what was deleted or overwritten out of the write-ahead log of `SQLite` too. Whoever destroys secrets calls it
    /// after the commit. False if a reader kept it from doing so, in which case a later checkpoint does it.
    ///
    /// `PostgreSQL` offers no such thing: deleted rows stay in its files until a vacuum and what is written later overwrite
    /// them, and in its write-ahead log and archive as long as these are kept.
    pub async fn scrub(&self) -> Result<bool, Error> {
        match self.0.address {
            Address::Postgres(_) => Ok(true),
            Address::Sqlite(_) => {
                let checkpoint = self.0.writer.checkpoint();
                checkpoint.instrument(tracing::info_span!("database.scrub")).await
            }
        }
    }

    /// Closes it after what is under way has ended; whoever asks afterwards gets an error.
    pub async fn close(&self) {
        self.0.poller.abort();
        self.0.readers.close().await;
        self.0.writer.close().await;
    }
}

#[cfg(test)]
mod tests;
