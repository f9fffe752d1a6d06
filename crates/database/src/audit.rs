//! The audit trail: what was done or refused, in the transaction that does it.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::{Database, Error, Write, from_micros, to_micros};

/// What is told of one thing that was done or refused. Never secret material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub time: OffsetDateTime,
    /// SPIFFE id of the caller.
    pub principal: String,
    /// The RPC, as in `FetchPullSecret`.
    pub action: String,
    /// Resource name of what it was done to.
    pub resource: String,
    /// What a reader needs beside that.
    pub details: BTreeMap<String, String>,
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Its place: 1, 2, 3 …
    pub sequence: i64,
    /// The revision of the change that it tells of; 0 for reads and refusals.
    pub revision: i64,
    /// What is told.
    pub entry: AuditEntry,
}

impl Write {
    /// Appends to the audit trail, with the revision of the last [`Write::change`] of this transaction, and gives the
    /// sequence.
    pub async fn audit(&mut self, entry: AuditEntry) -> Result<i64, Error> {
        let insert = sqlx::query_scalar(
            "INSERT INTO audit_events (sequence, time, principal, action, resource, details, revision) \
             SELECT coalesce(max(sequence), 0) + 1, $1, $2, $3, $4, $5, $6 FROM audit_events RETURNING sequence",
        );
        let insert = insert
            .bind(to_micros(entry.time))
            .bind(entry.principal)
            .bind(entry.action)
            .bind(entry.resource)
            .bind(as_text(&entry.details)?)
            .bind(self.revision());
        Ok(insert.fetch_one(self.connection()).await?)
    }
}

impl Database {
    /// The first `limit` events after `sequence`, in order.
    pub async fn audit_events(&self, sequence: i64, limit: u32) -> Result<Vec<AuditEvent>, Error> {
        let events = sqlx::query_as(
            "SELECT sequence, time, principal, action, resource, details, revision FROM audit_events \
             WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        );
        let rows: Vec<Row> =
            events.bind(sequence).bind(i64::from(limit)).fetch_all(self.read().await?.connection()).await?;
        rows.into_iter().map(AuditEvent::try_from).collect()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    sequence: i64,
    time: i64,
    principal: String,
    action: String,
    resource: String,
    details: String,
    revision: i64,
}

fn as_text(details: &BTreeMap<String, String>) -> Result<String, Error> {
    serde_json::to_string(details).map_err(|error| sqlx::Error::Encode(error.into()).into())
}

impl TryFrom<Row> for AuditEvent {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let details =
            serde_json::from_str(&row.details).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let entry = AuditEntry {
            time: from_micros(row.time),
            principal: row.principal,
            action: row.action,
            resource: row.resource,
            details,
        };
        Ok(Self { sequence: row.sequence, revision: row.revision, entry })
    }
}
