//! The audit trail: what was done or refused, in the transaction that does it, each event chained to the one before.

use std::collections::BTreeMap;

use pullpass_domain::audit::{Event, Mac};
use time::OffsetDateTime;
use tracing::Instrument;

use crate::{Connection, Database, Error, Read, Trail, Write, from_micros, to_micros};

/// What is told of one thing that was done or refused. Never secret material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub time: OffsetDateTime,
    /// SPIFFE id of the caller; the name of the service for what it does by itself.
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
    /// The line of history that it belongs to.
    pub epoch: String,
    /// Chains it to the event before; see [`pullpass_domain::audit`].
    pub mac: String,
}

/// How far a database is. Two copies that agree in all of it have the same history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// UUID of the line of history.
    pub epoch: String,
    /// Of the last change.
    pub revision: i64,
    /// Of the last audit event; 0 before the first.
    pub sequence: i64,
    /// That event's; empty before the first.
    pub mac: String,
    /// That event's.
    pub time: OffsetDateTime,
}

/// Which events are asked for, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// From the oldest on, those after a sequence.
    After(i64),
    /// From the newest on, those before a sequence.
    Before(i64),
}

/// So many are inserted by one statement at most; for each number of them a statement is kept prepared.
pub(crate) const ROWS: usize = 32;

const COLUMNS: &str = "sequence, time, principal, action, resource, details, revision, epoch, mac";

impl Write {
    /// Appends to the audit trail, with the revision of the last [`Write::change`] of this transaction, and gives the
    /// sequence.
    pub async fn audit(&mut self, entry: AuditEntry) -> Result<i64, Error> {
        self.append(entry).await
    }

    /// From here on the history goes by another name. The next event is the first of that epoch, and has to tell of it.
    pub async fn begin_epoch(&mut self, epoch: &str) -> Result<(), Error> {
        let update = sqlx::query("UPDATE history SET epoch = $1").bind(epoch);
        update.execute(self.connection()).await?;
        self.forget_the_end();
        Ok(())
    }

    /// How far the database is in this transaction.
    pub async fn head(&mut self) -> Result<Head, Error> {
        head(self.connection()).await
    }
}

impl Read {
    /// How far the database is in this snapshot.
    pub async fn head(&mut self) -> Result<Head, Error> {
        head(self.connection()).await
    }

    /// Up to `limit` events.
    pub async fn audit_events(&mut self, events: Events, limit: u32) -> Result<Vec<AuditEvent>, Error> {
        self::events(self.connection(), events, limit).await
    }

    /// The first `limit` events after `sequence` of this action that have this cluster among their details.
    pub async fn audit_events_of_cluster(
        &mut self,
        cluster: &str,
        action: &str,
        sequence: i64,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, Error> {
        let select = format!(
            "SELECT {COLUMNS} FROM audit_events \
             WHERE cluster = $1 AND cluster <> '' AND action = $2 AND sequence > $3 ORDER BY sequence LIMIT $4",
        );
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(cluster).bind(action);
        let select = select.bind(sequence).bind(i64::from(limit));
        let rows: Vec<Row> = select.fetch_all(self.connection()).await?;
        rows.into_iter().map(AuditEvent::try_from).collect()
    }

    /// The events that tell of this action, oldest first. Reads the whole trail.
    pub async fn audit_events_of(&mut self, action: &str) -> Result<Vec<AuditEvent>, Error> {
        let select = format!("SELECT {COLUMNS} FROM audit_events WHERE action = $1 ORDER BY sequence");
        let rows: Vec<Row> =
            sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(action).fetch_all(self.connection()).await?;
        rows.into_iter().map(AuditEvent::try_from).collect()
    }

    /// Whether the event at `sequence` is there and carries what our key makes of it and of the event before. True before
    /// the first event.
    pub async fn is_chained(&mut self, sequence: i64) -> Result<bool, Error> {
        if sequence == 0 {
            return Ok(true);
        }
        let pair = self.audit_events(Events::After(sequence - 2), 2).await?;
        let previous =
            pair.iter().find(|event| event.sequence == sequence - 1).map(|event| event.mac.as_str());
        let event = pair.iter().find(|event| event.sequence == sequence);
        Ok(event.is_some_and(|event| {
            let mac = self.trail().mac(event, previous.unwrap_or_default());
            event.mac == mac.to_string()
        }))
    }
}

impl Database {
    /// Appends an event that tells of no change, and waits until it is on disk, with whatever else is written at the same
    /// time. After an error it may have been appended or not; it may be, too, if the caller gives up.
    pub async fn audit(&self, entry: AuditEntry) -> Result<(), Error> {
        self.tell(entry).instrument(tracing::info_span!("database.audit")).await
    }

    /// The first `limit` events after `sequence`, in order.
    pub async fn audit_events(&self, sequence: i64, limit: u32) -> Result<Vec<AuditEvent>, Error> {
        self.read().await?.audit_events(Events::After(sequence), limit).await
    }
}

impl Trail {
    /// What `event` has to carry after one that carries `previous`. What is no mac counts as none: then the event chains to
    /// nothing, which shows where the chain was broken.
    pub(crate) fn mac(&self, event: &AuditEvent, previous: &str) -> Mac {
        let AuditEvent { sequence, revision, entry, epoch, .. } = event;
        let event = Event {
            service: self.service,
            epoch,
            sequence: *sequence,
            micros: to_micros(entry.time),
            principal: &entry.principal,
            action: &entry.action,
            resource: &entry.resource,
            details: &entry.details,
            revision: *revision,
        };
        self.key.mac(&event, &previous.parse().unwrap_or(Mac::START))
    }
}

pub(crate) async fn events(
    connection: &mut Connection,
    events: Events,
    limit: u32,
) -> Result<Vec<AuditEvent>, Error> {
    let (condition, from) = match events {
        Events::After(sequence) => ("sequence > $1 ORDER BY sequence", sequence),
        Events::Before(sequence) => ("sequence < $1 ORDER BY sequence DESC", sequence),
    };
    let select = format!("SELECT {COLUMNS} FROM audit_events WHERE {condition} LIMIT $2");
    let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(from).bind(i64::from(limit));
    let rows: Vec<Row> = select.fetch_all(connection).await?;
    rows.into_iter().map(AuditEvent::try_from).collect()
}

async fn head(connection: &mut Connection) -> Result<Head, Error> {
    let head = sqlx::query_as(
        "SELECT h.epoch, (SELECT coalesce(max(revision), 0) FROM changes), e.sequence, e.mac, e.time FROM history h \
         LEFT JOIN audit_events e ON e.sequence = (SELECT max(sequence) FROM audit_events)",
    );
    let (epoch, revision, sequence, mac, time): (String, i64, Option<i64>, Option<String>, Option<i64>) =
        head.fetch_one(connection).await?;
    Ok(Head {
        epoch,
        revision,
        sequence: sequence.unwrap_or_default(),
        mac: mac.unwrap_or_default(),
        time: from_micros(time.unwrap_or_default()),
    })
}

/// Where the trail ends: what the next event is chained to.
#[derive(Debug)]
pub(crate) struct End {
    epoch: String,
    pub(crate) sequence: i64,
    mac: String,
}

pub(crate) async fn end(connection: &mut Connection) -> Result<End, sqlx::Error> {
    let end = sqlx::query_as(
        "SELECT h.epoch, e.sequence, e.mac FROM history h \
         LEFT JOIN audit_events e ON e.sequence = (SELECT max(sequence) FROM audit_events)",
    );
    let (epoch, sequence, mac): (String, Option<i64>, Option<String>) = end.fetch_one(connection).await?;
    Ok(End { epoch, sequence: sequence.unwrap_or_default(), mac: mac.unwrap_or_default() })
}

/// Appends events that tell of the change `revision`, 0 for none; gives the new end.
pub(crate) async fn append(
    connection: &mut Connection,
    trail: &Trail,
    mut end: End,
    revision: i64,
    entries: Vec<AuditEntry>,
) -> Result<End, sqlx::Error> {
    let mut events = Vec::with_capacity(entries.len());
    for entry in entries {
        end.sequence += 1;
        let (sequence, epoch) = (end.sequence, end.epoch.clone());
        let mut event = AuditEvent { sequence, revision, entry, epoch, mac: String::new() };
        event.mac = trail.mac(&event, &end.mac).to_string();
        end.mac.clone_from(&event.mac);
        events.push(event);
    }
    for events in events.chunks(ROWS) {
        insert(connection, events).await?;
    }
    Ok(end)
}

async fn insert(connection: &mut Connection, events: &[AuditEvent]) -> Result<(), sqlx::Error> {
    let mut insert = sqlx::query(sqlx::AssertSqlSafe(insertion(events.len())));
    for AuditEvent { sequence, revision, entry, epoch, mac } in events {
        let details = serde_json::to_string(&entry.details).map_err(|e| sqlx::Error::Encode(e.into()))?;
        insert = insert
            .bind(sequence)
            .bind(to_micros(entry.time))
            .bind(&entry.principal)
            .bind(&entry.action)
            .bind(&entry.resource)
            .bind(details)
            .bind(revision)
            .bind(epoch)
            .bind(mac)
            .bind(cluster(entry));
    }
    insert.execute(connection).await.map(drop)
}

/// The statement that inserts so many events: `… VALUES ($1, …, $10), ($11, …, $20)`.
fn insertion(rows: usize) -> String {
    let row = |first: usize| {
        let places: Vec<_> = (first + 1..=first + 10).map(|place| format!("${place}")).collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(|number| row(10 * number)).collect();
    format!("INSERT INTO audit_events ({COLUMNS}, cluster) VALUES {}", rows.join(", "))
}

pub(crate) fn cluster(entry: &AuditEntry) -> &str {
    entry.details.get("cluster").map_or("", String::as_str)
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
    epoch: String,
    mac: String,
}

impl TryFrom<Row> for AuditEvent {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let entry = AuditEntry {
            time: from_micros(row.time),
            principal: row.principal,
            action: row.action,
            resource: row.resource,
            details: serde_json::from_str(&row.details).map_err(|e| sqlx::Error::Decode(e.into()))?,
        };
        let Row { sequence, revision, epoch, mac, .. } = row;
        Ok(Self { sequence, revision, entry, epoch, mac })
    }
}
