//! The beginning of a chain: a database gets a name for its history, and what was written before is chained.

use pullpass_domain::audit::{AuditKey, BEGIN_CHAIN};
use time::OffsetDateTime;

use crate::{AuditEntry, AuditEvent, Database, Error, Events, Write, audit};

const BATCH: u32 = 1000;

/// Whose audit trail it is, and how it is chained.
#[derive(Debug, Clone)]
pub struct Trail {
    /// The service, as in `credential-store`.
    pub service: &'static str,
    /// The key of its chain.
    pub key: AuditKey,
}

/// How a history is to begin, in a database that has none yet.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// UUID to name it by.
    pub epoch: String,
    /// The time now.
    pub now: OffsetDateTime,
}

impl Database {
    /// Nothing if there is a history. Else events from before there was a chain are chained as they are, and an event says
    /// how many there were.
    pub(crate) async fn begin(&self, beginning: &Beginning) -> Result<(), Error> {
        let known = sqlx::query_scalar::<_, String>("SELECT epoch FROM history");
        if known.fetch_optional(self.read().await?.connection()).await?.is_some() {
            return Ok(());
        }
        let mut write = self.write().await?;
        let insert =
            sqlx::query("INSERT INTO history (one, epoch) VALUES (1, $1) ON CONFLICT (one) DO NOTHING");
        let inserted = insert.bind(&beginning.epoch).execute(write.connection()).await?;
        if inserted.rows_affected() == 0 {
            return Ok(()); // another replica was faster
        }
        let chained = write.chain_all(&beginning.epoch).await?;
        if chained > 0 {
            tracing::info!(events = chained, "the audit events that were there are chained");
            write.audit(begun(self.trail().service, chained, beginning.now)).await?;
        }
        write.commit().await
    }
}

impl Write {
    async fn chain_all(&mut self, epoch: &str) -> Result<i64, Error> {
        let mut last = (0, String::new());
        loop {
            let events = audit::events(self.connection(), Events::After(last.0), BATCH).await?;
            if events.is_empty() {
                self.forget_the_end();
                return Ok(last.0);
            }
            for mut event in events {
                epoch.clone_into(&mut event.epoch);
                event.mac = self.trail().mac(&event, &last.1).to_string();
                self.chain(&event).await?;
                last = (event.sequence, event.mac);
            }
        }
    }

    async fn chain(&mut self, event: &AuditEvent) -> Result<(), Error> {
        let update =
            sqlx::query("UPDATE audit_events SET epoch = $2, mac = $3, cluster = $4 WHERE sequence = $1");
        let update = update.bind(event.sequence).bind(&event.epoch).bind(&event.mac);
        update.bind(audit::cluster(&event.entry)).execute(self.connection()).await?;
        Ok(())
    }
}

fn begun(service: &str, events: i64, time: OffsetDateTime) -> AuditEntry {
    AuditEntry {
        time,
        principal: service.to_owned(),
        action: BEGIN_CHAIN.to_owned(),
        resource: String::new(),
        details: [("events".to_owned(), events.to_string())].into(),
    }
}

#[cfg(test)]
mod tests;
