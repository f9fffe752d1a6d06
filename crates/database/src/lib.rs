//! What both services with a database share: one `SQLite` file, its changes in commit order, its audit trail.
//!
//! ```text
//!  write() ─► Write: change(), audit(), first_time(), the service's own SQL ─► commit() ─► disk ─► subscribe()
//!             one at a time; dropped = nothing happened                                      │
//!  read()  ─► Read: a snapshot; many at a time                                               ▼
//!  follow() ─► Follower: every change once, in commit order ◄──────────────── the table `changes`
//! ```
//!
//! There is one writer, so revisions and audit sequences are allocated inside its transaction: they have no gaps and
//! their order is the commit order. The table is the truth; notifications only save waiting.

mod audit;
mod error;
mod feed;
mod requests;
mod time;
mod transaction;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::{
    Connection as _, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{sync::watch, task::JoinHandle};
use tracing::Instrument;

pub use crate::{
    audit::{AuditEntry, AuditEvent},
    error::Error,
    feed::{Change, Follower},
    requests::Request,
    time::{from_micros, to_micros},
    transaction::{Read, Write},
};

/// The connection that a service's own SQL runs on.
pub type Connection = sqlx::SqliteConnection;

/// How long a statement, or a caller in the queue for the writer, waits before the database counts as busy.
const PATIENCE: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// The `SQLite` file; made, readable by its owner alone, if it does not exist. Its folder must exist.
    pub path: PathBuf,
}

/// An open database. Clones are the same database.
#[derive(Debug, Clone)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: SqlitePool,
    readers: SqlitePool,
    latest: watch::Sender<i64>,
    poller: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl Database {
    /// Opens the file, brings the shared schema and the service's own (`migrations`) up to date. Needs a running tokio
    /// runtime.
    pub async fn open(config: &DatabaseConfig, migrations: &Migrator) -> Result<Self, Error> {
        let path = &config.path;
        create(path)?;
        let writer = open_writer(path).await.map_err(|source| Error::Open { path: path.clone(), source })?;
        migrate(&writer, migrations).await.map_err(|source| Error::Migrate { path: path.clone(), source })?;
        let readers = readers(path);
        let revision = feed::revision(&mut *readers.acquire().await?).await?;
        let latest = watch::Sender::new(revision);
        let poller = tokio::spawn(feed::poll(readers.clone(), latest.clone()));
        Ok(Self(Arc::new(Inner { writer, readers, latest, poller })))
    }

    /// A snapshot to read from.
    pub async fn read(&self) -> Result<Read, Error> {
        let begin = self.0.readers.begin().instrument(tracing::info_span!("database.read"));
        Ok(Read::new(begin.await?))
    }

    /// The one write transaction; waits until it is free.
    pub async fn write(&self) -> Result<Write, Error> {
        let begin = self.0.writer.begin_with("BEGIN IMMEDIATE");
        let begin = begin.instrument(tracing::info_span!("database.write"));
        Ok(Write::new(begin.await?, self.0.latest.clone()))
    }

    /// Takes what was deleted or overwritten out of the write-ahead log too. Whoever destroys secrets calls it after the
    /// commit. False if a reader kept it from doing so, in which case a later checkpoint does it.
    pub async fn scrub(&self) -> Result<bool, Error> {
        let checkpoint = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)");
        let blocked = checkpoint.fetch_one(&self.0.writer);
        let blocked = blocked.instrument(tracing::info_span!("database.scrub"));
        Ok(blocked.await? == 0)
    }

    /// Closes the file after what is under way has ended; whoever asks afterwards gets an error.
    pub async fn close(&self) {
        self.0.poller.abort();
        self.0.readers.close().await;
        self.0.writer.close().await;
    }
}

fn create(path: &Path) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map(drop).map_err(|source| Error::Create { path: path.to_owned(), source })
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(PATIENCE)
}

async fn open_writer(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("secure_delete", "ON");
    let pool = pool(1).before_acquire(|connection, _| {
        // SQLite ends a transaction by itself when the disk is full, and sqlx would believe it open for ever.
        Box::pin(async move { Ok(!connection.is_in_transaction()) })
    });
    pool.connect_with(options).await
}

fn readers(path: &Path) -> SqlitePool {
    pool(READERS).connect_lazy_with(options(path).read_only(true))
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
}

async fn migrate(writer: &SqlitePool, own: &Migrator) -> Result<(), sqlx::migrate::MigrateError> {
    let mut shared = sqlx::migrate!();
    shared.dangerous_set_table_name("_shared_migrations");
    shared.run(writer).await?;
    own.run(writer).await
}

#[cfg(test)]
mod tests;
