//! One write: whatever changes, the change feed, the audience of the change and the audit trail change with it, or
//! nothing does.

use pullpass_database::{AuditEntry, Connection, Request, Write};
use pullpass_runtime::{PeerIdentity, telemetry};
use time::OffsetDateTime;

use crate::{error::Error, store};

/// Who calls what.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) identity: PeerIdentity,
    /// The RPC.
    pub(crate) action: &'static str,
}

/// What a reader of the audit trail needs beside who did what to which resource.
pub(crate) type Details = Vec<(&'static str, String)>;

/// A write on behalf of a caller. Dropped without [`Self::commit`], it has not happened.
#[derive(Debug)]
pub(crate) struct Transaction {
    write: Write,
    caller: Caller,
    now: OffsetDateTime,
}

impl Transaction {
    pub(crate) fn new(write: Write, caller: Caller, now: OffsetDateTime) -> Self {
        Self { write, caller, now }
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        self.write.connection()
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.now
    }

    /// Announces that a resource changes, to the appliers of the clusters in `audience`, and gives the revision.
    pub(crate) async fn change(
        &mut self,
        kind: &str,
        name: &str,
        deleted: bool,
        audience: &[String],
        details: Details,
    ) -> Result<i64, Error> {
        let trace = telemetry::trace_context();
        let revision = self.write.change(kind, name, deleted, trace.as_deref()).await?;
        for cluster in audience {
            store::feed::address(self.connection(), cluster, revision).await?;
        }
        self.audit(name, details).await?;
        Ok(revision)
    }

    /// Tells of something that is not a change, or of the change that was just announced.
    pub(crate) async fn audit(&mut self, resource: &str, details: Details) -> Result<(), Error> {
        let entry = AuditEntry {
            time: self.now,
            principal: self.caller.identity.spiffe_id.to_string(),
            action: self.caller.action.to_owned(),
            resource: resource.to_owned(),
            details: details.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        };
        self.write.audit(entry).await?;
        Ok(())
    }

    /// False if this very attempt has succeeded before. Attempts without an id are always new.
    pub(crate) async fn is_new(&mut self, request_id: &str, resource: &str) -> Result<bool, Error> {
        if request_id.is_empty() {
            return Ok(true);
        }
        let request = Request {
            principal: self.caller.identity.spiffe_id.as_str(),
            request_id,
            method: self.caller.action,
            resource,
            now: self.now,
        };
        Ok(self.write.first_time(request).await?)
    }

    /// Makes it durable, unless it was only to be checked.
    pub(crate) async fn commit(self, validate_only: bool) -> Result<(), Error> {
        if validate_only { Ok(()) } else { Ok(self.write.commit().await?) }
    }
}
