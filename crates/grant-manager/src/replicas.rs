//! Several replicas on one database: each tells the others, through the database, which appliers it is connected with and
//! that it stored news, so that the status is the same whichever is asked.
//!
//! ```text
//!  Presence here ─► tell, when something changed, at most every second ─► tables replicas, presence
//!  Presence elsewhere, watchers of the status ◄─ hear, every second ◄──────────┘
//! ```
//!
//! Their clocks may differ by a few seconds: one that was not seen for longer counts as gone, with all its streams.

use std::{collections::HashMap, time::Duration};

use pullpass_database::Database;
use pullpass_runtime::Clock;
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    error::Error,
    presence::{Appliers, Presence},
    store::replicas,
};

const BEAT: Duration = Duration::from_secs(1);
/// Without a change, so often a replica says that it is there.
const REFRESH: time::Duration = time::Duration::seconds(5);
/// Not seen for so long, a replica is gone.
const ABSENT: time::Duration = time::Duration::seconds(20);

/// One replica's talk with the others.
#[derive(Debug)]
pub(crate) struct Replica {
    name: String,
    database: Database,
    clock: Clock,
    presence: Presence,
    /// What the others were told, and when.
    told: (Appliers, i64),
    seen: Option<OffsetDateTime>,
    /// How many reports with news each of the others had stored.
    news: HashMap<String, i64>,
}

impl Replica {
    pub(crate) fn new(database: Database, clock: Clock, presence: Presence) -> Self {
        let name = clock.new_id().to_string();
        let (told, seen, news) = Default::default();
        Self { name, database, clock, presence, told, seen, news }
    }

    /// Talks until it is dropped.
    pub(crate) async fn talk(mut self) {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            for done in [self.tell().await, self.hear().await] {
                if let Err(error) = done {
                    tracing::warn!(%error, "talking with the other replicas failed");
                }
            }
        }
    }

    async fn tell(&mut self) -> Result<(), Error> {
        let (here, news) = self.presence.here();
        let now = self.clock.now();
        let due = self.seen.is_none_or(|seen| now - seen >= REFRESH);
        if !due && (&here, news) == (&self.told.0, self.told.1) {
            return Ok(());
        }
        let mut write = self.database.write().await?;
        let all = replicas::see(write.connection(), &self.name, now, news).await?;
        for (uid, applier) in &here {
            if all || self.told.0.get(uid) != Some(applier) {
                replicas::put(write.connection(), &self.name, uid, *applier).await?;
            }
        }
        replicas::forget(write.connection(), now - ABSENT).await?;
        write.commit().await?;
        (self.told, self.seen) = ((here, news), Some(now));
        Ok(())
    }

    async fn hear(&mut self) -> Result<(), Error> {
        let mut read = self.database.read().await?;
        let news = replicas::others(read.connection(), &self.name).await?;
        let elsewhere = replicas::elsewhere(read.connection(), &self.name, self.clock.now() - ABSENT).await?;
        drop(read);
        let new = news != self.news;
        self.news = news;
        self.presence.hear(elsewhere, new);
        Ok(())
    }
}
