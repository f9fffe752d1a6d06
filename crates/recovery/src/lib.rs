//! What credential-store and grant-manager do about a database that went back to an older copy: they notice it at start by a
//! small file off the database, do not serve, say so, and let an operator decide.
//!
//! ```text
//!  open ─► judge(state file, database) ─► agree ─► serve; the file follows the database
//!                                    └──► not   ─► sealed: health NOT_SERVING, every call refused with the reason
//!  AcceptRollback ─► new epoch + audit event, one transaction ─► state file ─► serve
//! ```
//!
//! Another replica of the same database that is sealed sees that event and goes along.
//!
//! If the database goes back under a service that serves, or another replica begins an epoch, the process ends, so that its
//! streams do, too; started again, it judges anew.

mod accept;
mod config;
mod judge;
mod key;
mod state_file;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pullpass_api::{recovery::v1::recovery_server::RecoveryServer, service};
use pullpass_database::{Beginning, Database, DatabaseConfig, Head, Trail};
use pullpass_runtime::{Clock, Gate, Shutdown};
use sqlx::migrate::Migrator;
use tokio::time::{Instant, MissedTickBehavior};

pub use crate::{accept::wire_head, config::AuditConfig, key::KeyError, state_file::StateError};
use crate::{
    judge::{Discord, judge},
    state_file::{State, StateFile},
};

/// The state file is at most this much behind.
const LOOK: Duration = Duration::from_secs(1);
/// How often the log is told how far the audit trail is, while it moves.
const LOG: Duration = Duration::from_mins(1);

/// Watches over one database. Clones are the same.
#[derive(Debug, Clone)]
pub struct Recovery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    file: StateFile,
    gate: Gate,
    clock: Clock,
    /// Why the service is sealed.
    discord: Mutex<Option<Discord>>,
    /// Of two acceptances at one time the second finds the service open.
    accepting: tokio::sync::Mutex<()>,
}

impl Recovery {
    /// Opens the database of `service` and judges whether it counts. Needs a running tokio runtime.
    pub async fn open(
        service: &'static str,
        audit: &AuditConfig,
        database: &DatabaseConfig,
        migrations: &Migrator,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let trail = Trail { service, key: key::load(&audit.key)? };
        let beginning = Beginning { epoch: clock.new_id().to_string(), now: clock.now() };
        let database = Database::open(database, migrations, trail, &beginning).await?;
        let file = StateFile::new(&audit.state_file, service);
        let mut read = database.read().await?;
        let discord = judge(&mut read, file.read()?.as_ref(), &beginning.epoch).await?;
        let head = read.head().await?;
        drop(read);
        match &discord {
            None => file.write(&State::from(&head))?,
            Some(discord) => tell_sealed(service, file.path(), discord),
        }
        log_head(&head);
        let seal = discord.as_ref().map(|discord| discord.seal(service, file.path()));
        let gate = Gate::new(seal, service::RECOVERY);
        let (discord, accepting) = (Mutex::new(discord), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Inner { database, file, gate, clock, discord, accepting })))
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    /// Closed while the database does not count.
    pub fn gate(&self) -> Gate {
        self.0.gate.clone()
    }

    /// `AcceptRollback`.
    pub fn service(&self) -> RecoveryServer<Self> {
        RecoveryServer::new(self.clone())
    }

    /// Has the state file follow the database until the shutdown.
    pub fn keep(&self, shutdown: &Shutdown) {
        let (this, token) = (self.clone(), shutdown.token());
        shutdown.spawn("state file", async move {
            token.run_until_cancelled(this.follow()).await.unwrap_or(Ok(()))
        });
    }

    /// Notes how far the database is and closes it. For the end, when nothing writes any more.
    pub async fn close(&self) {
        if self.0.gate.is_open() {
            match self.note().await {
                Ok(head) => log_head(&head),
                Err(error) => tracing::warn!("the state file is behind: {error:#}"),
            }
        }
        self.0.database.close().await;
    }

    async fn follow(&self) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut told_at) = (None, Instant::now());
        loop {
            ticks.tick().await;
            if !self.0.gate.is_open() {
                if let Err(error) = self.follow_acceptance().await {
                    tracing::warn!("what another replica was told cannot be looked at: {error:#}");
                }
                continue;
            }
            let head = match self.note().await {
                Ok(head) => head,
                Err(error) if error.is::<WentBack>() => return Err(error),
                Err(error) => {
                    tracing::warn!("the state file is behind: {error:#}");
                    continue;
                }
            };
            if told_at.elapsed() >= LOG && told.as_ref() != Some(&head.mac) {
                log_head(&head);
                (told, told_at) = (Some(head.mac), Instant::now());
            }
        }
    }

    /// Brings the file up to the database, if the database goes on from where the file is.
    async fn note(&self) -> anyhow::Result<Head> {
        let file = &self.0.file;
        let remembered = file.read()?;
        let mut read = self.0.database.read().await?;
        let head = read.head().await?;
        if remembered.as_ref() == Some(&State::from(&head)) {
            return Ok(head);
        }
        let discord = judge(&mut read, remembered.as_ref(), "").await?;
        let other_epoch = remembered.is_some_and(|remembered| remembered.epoch != head.epoch);
        if discord.is_some() || other_epoch {
            return Err(WentBack.into());
        }
        file.write(&State::from(&head))?;
        Ok(head)
    }

    fn discord(&self) -> MutexGuard<'_, Option<Discord>> {
        self.0.discord.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The database changed under the service.
#[derive(Debug, thiserror::Error)]
#[error("the database went back, or its history goes on in another epoch: everything has to begin anew")]
struct WentBack;

fn tell_sealed(service: &str, file: &Path, discord: &Discord) {
    let seal = discord.seal(service, file);
    tracing::error!(reason = seal.reason, "{}", seal.message);
}

/// So that a log store, which is somebody else's, holds what proves the trail up to here.
fn log_head(Head { epoch, revision, sequence, mac, .. }: &Head) {
    tracing::info!(epoch, revision, sequence, mac, "audit head");
}

#[cfg(test)]
mod tests;
