use sqlx::{Sqlite, Transaction};
use tokio::sync::watch;
use tracing::Instrument;

use crate::{Connection, Error, feed};

/// A snapshot: everything read through it is of one moment. Keep it short, it holds back the write-ahead log.
#[derive(Debug)]
pub struct Read(Transaction<'static, Sqlite>);

impl Read {
    pub(crate) fn new(transaction: Transaction<'static, Sqlite>) -> Self {
        Self(transaction)
    }

    /// For the service's own SQL.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.0
    }

    /// The revision of this snapshot.
    pub async fn revision(&mut self) -> Result<i64, Error> {
        feed::revision(self.connection()).await
    }
}

/// The write transaction. All or nothing: dropped without [`Write::commit`], it leaves no trace, and no revision or
/// sequence is used up.
#[derive(Debug)]
pub struct Write {
    transaction: Transaction<'static, Sqlite>,
    latest: watch::Sender<i64>,
    /// Of the last change in this transaction; 0 without one.
    revision: i64,
}

impl Write {
    pub(crate) fn new(transaction: Transaction<'static, Sqlite>, latest: watch::Sender<i64>) -> Self {
        Self { transaction, latest, revision: 0 }
    }

    /// For the service's own SQL.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.transaction
    }

    /// Appends to the feed that the resource `name` of this `kind` has changed or is gone, and gives the revision.
    /// `trace_context` is the W3C `traceparent` of the call that does it.
    pub async fn change(
        &mut self,
        kind: &str,
        name: &str,
        deleted: bool,
        trace_context: Option<&str>,
    ) -> Result<i64, Error> {
        self.revision = feed::append(self.connection(), kind, name, deleted, trace_context).await?;
        Ok(self.revision)
    }

    /// The revision of the last change in this transaction; 0 without one.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Makes it durable, then tells the followers.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { transaction, latest, revision } = self;
        transaction.commit().instrument(tracing::info_span!("database.commit")).await?;
        feed::announce(&latest, revision);
        Ok(())
    }
}
