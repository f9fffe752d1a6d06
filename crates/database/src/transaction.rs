use std::sync::Arc;

use sqlx::{Any, Transaction};
use tracing::Instrument;

use crate::{AuditEntry, Connection, Database, Error, Trail, feed, writer::Member};

/// A snapshot: everything read through it is of one moment. Keep it short, it holds back the write-ahead log.
#[derive(Debug)]
pub struct Read {
    transaction: Transaction<'static, Any>,
    trail: Arc<Trail>,
}

impl Read {
    pub(crate) fn new(transaction: Transaction<'static, Any>, trail: Arc<Trail>) -> Self {
        Self { transaction, trail }
    }

    pub(crate) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// For the service's own SQL.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.transaction
    }

    /// The revision of this snapshot.
    pub async fn revision(&mut self) -> Result<i64, Error> {
        feed::revision(self.connection()).await
    }
}

/// A write. All or nothing: dropped without [`Write::commit`], it leaves no trace, and no revision or sequence is used up.
///
/// All others wait meanwhile, so nothing but the database is waited for in it. After an error of the database it is given
/// up: nothing more is to be written through it.
#[derive(Debug)]
pub struct Write {
    member: Member,
    /// The flusher ends with it.
    database: Database,
    /// Of the last change in this write; 0 without one.
    revision: i64,
}

impl Write {
    pub(crate) fn new(member: Member, database: Database) -> Self {
        Self { member, database, revision: 0 }
    }

    pub(crate) fn trail(&self) -> &Arc<Trail> {
        self.database.trail()
    }

    /// For the service's own SQL.
    pub fn connection(&mut self) -> &mut Connection {
        self.member.connection()
    }

    pub(crate) async fn append(&mut self, entry: AuditEntry) -> Result<i64, Error> {
        self.member.append(self.database.trail(), self.revision, entry).await
    }

    /// The trail does not end as it did.
    pub(crate) fn forget_the_end(&mut self) {
        self.member.forget_the_end();
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

    /// The revision of the last change in this write; 0 without one.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Makes it durable, with whatever else is written at the same time; the followers are told before this returns. After
    /// an error it may have happened or not.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { member, database, revision } = self;
        let committed = member.commit(revision).instrument(tracing::info_span!("database.commit")).await;
        drop(database);
        committed
    }
}
