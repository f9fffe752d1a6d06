//! The feed: every committed change once, in commit order, from any revision on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{Connection, Database, Error, readers::Readers};

const BATCH: u32 = 256;

/// One committed change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place: 1, 2, 3 …
    pub revision: i64,
    /// What kind of resource changed.
    pub kind: String,
    /// Which one.
    pub name: String,
    /// Whether it is gone.
    pub deleted: bool,
    /// W3C `traceparent` of the call that did it.
    pub trace_context: Option<String>,
}

impl Database {
    /// The revision of the last committed change; 0 before the first.
    pub async fn revision(&self) -> Result<i64, Error> {
        revision(&mut *self.reader().await?).await
    }

    /// The first `limit` changes after `revision`, in order.
    pub async fn changes_after(&self, revision: i64, limit: u32) -> Result<Vec<Change>, Error> {
        // sqlx cannot read a boolean of either database as one of both.
        let changes = sqlx::query_as(
            "SELECT revision, kind, name, CASE WHEN deleted THEN 1 ELSE 0 END AS deleted, trace_context \
             FROM changes WHERE revision > $1 ORDER BY revision LIMIT $2",
        );
        let changes = changes.bind(revision).bind(i64::from(limit));
        let rows: Vec<Row> = changes.fetch_all(&mut *self.reader().await?).await?;
        Ok(rows.into_iter().map(Change::from).collect())
    }

    /// The revision of the last committed change, as it moves.
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.0.latest.subscribe()
    }

    /// Every change after `revision`, as it comes.
    pub fn follow(&self, revision: i64) -> Follower {
        Follower { database: self.clone(), latest: self.subscribe(), seen: revision, batch: VecDeque::new() }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    revision: i64,
    kind: String,
    name: String,
    deleted: i64,
    trace_context: Option<String>,
}

impl From<Row> for Change {
    fn from(Row { revision, kind, name, deleted, trace_context }: Row) -> Self {
        Self { revision, kind, name, deleted: deleted != 0, trace_context }
    }
}

/// Hands out every change once, in commit order.
#[derive(Debug)]
pub struct Follower {
    database: Database,
    latest: watch::Receiver<i64>,
    seen: i64,
    batch: VecDeque<Change>,
}

impl Follower {
    /// The next change; waits for it. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.batch.pop_front() {
                self.seen = change.revision;
                return Ok(change);
            }
            let seen = self.seen;
            // It fails only when the database is gone, and we hold it.
            let _ = self.latest.wait_for(|latest| *latest > seen).await;
            self.batch = self.database.changes_after(seen, BATCH).await?.into();
        }
    }
}

pub(crate) async fn revision(connection: &mut Connection) -> Result<i64, Error> {
    let revision = sqlx::query_scalar("SELECT coalesce(max(revision), 0) FROM changes");
    Ok(revision.fetch_one(connection).await?)
}

pub(crate) async fn append(
    connection: &mut Connection,
    kind: &str,
    name: &str,
    deleted: bool,
    trace_context: Option<&str>,
) -> Result<i64, Error> {
    let insert = sqlx::query_scalar(
        "INSERT INTO changes (revision, kind, name, deleted, trace_context) \
         SELECT coalesce(max(revision), 0) + 1, $1, $2, $3, $4 FROM changes RETURNING revision",
    );
    let insert = insert.bind(kind).bind(name).bind(deleted).bind(trace_context);
    Ok(insert.fetch_one(connection).await?)
}

/// Moves the latest revision on; never back.
pub(crate) fn announce(latest: &watch::Sender<i64>, revision: i64) {
    latest.send_if_modified(|latest| {
        let newer = revision > *latest;
        *latest = revision.max(*latest);
        newer
    });
}

pub(crate) async fn poll(readers: Arc<Readers>, latest: watch::Sender<i64>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match look(&readers).await {
            Ok(revision) => announce(&latest, revision),
            Err(error) => tracing::warn!(%error, "looking for changes failed"),
        }
    }
}

async fn look(readers: &Readers) -> Result<i64, Error> {
    revision(&mut *readers.one().await?).await
}
