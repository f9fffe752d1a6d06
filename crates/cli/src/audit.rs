//! `pullpass audit`: the trails of both services as one.

use std::collections::VecDeque;

use clap::{Args, Subcommand};
use pullpass_api::{audit::v1::AuditEvent, credential::v1 as credential, grant::v1 as grant};

use crate::{
    client::{Grants, PAGE_SIZE, Session, Store},
    failure::CallError,
    output::{self, Resource},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass audit list
  pullpass audit list --limit 1000 -o json";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the newest events of credential-store and grant-manager, the oldest of them first
    #[command(after_help = EXAMPLES)]
    List(List),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// How many at most; 0 is all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let Self::List(List { limit }) = self;
        let limit = if limit == 0 { usize::MAX } else { limit };
        let (store, grants) = (session.store(), session.grants());
        let (store, grants) = tokio::try_join!(stored(&store, limit), granted(&grants, limit))?;
        output::emit(&output::list(session.format, &merge(store, grants, limit))?)
    }
}

/// In order of time; within one service in its own order, which is the truth.
fn merge(store: VecDeque<AuditEvent>, grants: VecDeque<AuditEvent>, limit: usize) -> Vec<AuditEvent> {
    let time = |event: &AuditEvent| event.time.as_ref().map(|time| (time.seconds, time.nanos));
    let mut all: Vec<_> = store.into_iter().chain(grants).collect();
    all.sort_by_key(time);
    all.drain(..all.len().saturating_sub(limit));
    all
}

async fn stored(store: &Store, limit: usize) -> Result<VecDeque<AuditEvent>, CallError> {
    newest(limit, async |page_token| {
        let request =
            credential::ListAuditEventsRequest { page_size: PAGE_SIZE, page_token, ..Default::default() };
        let page = store.call("list audit events", async |mut c| c.list_audit_events(request).await).await?;
        Ok((page.events, page.next_page_token))
    })
    .await
}

async fn granted(grants: &Grants, limit: usize) -> Result<VecDeque<AuditEvent>, CallError> {
    newest(limit, async |page_token| {
        let request =
            grant::ListAuditEventsRequest { page_size: PAGE_SIZE, page_token, ..Default::default() };
        let page = grants.call("list audit events", async |mut c| c.list_audit_events(request).await).await?;
        Ok((page.events, page.next_page_token))
    })
    .await
}

/// The last `limit` events; the services tell them from the first on.
async fn newest<F>(limit: usize, mut fetch: F) -> Result<VecDeque<AuditEvent>, CallError>
where
    F: AsyncFnMut(String) -> Result<(Vec<AuditEvent>, String), CallError>,
{
    let mut kept = VecDeque::new();
    let mut token = String::new();
    loop {
        let (events, next) = fetch(token).await?;
        kept.extend(events);
        kept.drain(..kept.len().saturating_sub(limit));
        if next.is_empty() {
            return Ok(kept);
        }
        token = next;
    }
}

impl Resource for AuditEvent {
    const NAME: &'static str = "pullpass.audit.v1.AuditEvent";
    const HEADERS: &'static [&'static str] =
        &["TIME", "SERVICE", "SEQUENCE", "PRINCIPAL", "ACTION", "RESOURCE", "DETAILS"];

    fn cells(&self) -> Vec<String> {
        vec![
            output::time(self.time.as_ref()),
            self.service.clone(),
            self.sequence.to_string(),
            self.principal.clone(),
            self.action.clone(),
            self.resource.clone(),
            details(self).join(" "),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let labels = ["Time", "Service", "Sequence", "Principal", "Action", "Resource", "Details"];
        labels.into_iter().zip(self.cells()).collect()
    }
}

fn details(event: &AuditEvent) -> Vec<String> {
    let mut details: Vec<_> = event.details.iter().map(|(key, value)| format!("{key}={value}")).collect();
    details.sort();
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(service: &str, sequence: i64, seconds: i64) -> AuditEvent {
        let time = Some(prost_types::Timestamp { seconds, nanos: 0 });
        AuditEvent { service: service.into(), sequence, time, ..Default::default() }
    }

    #[test]
    fn trails_are_merged_by_time_and_the_newest_stay() {
        let store: VecDeque<_> = [event("s", 1, 10), event("s", 2, 10), event("s", 3, 30)].into();
        let grants: VecDeque<_> = [event("g", 1, 5), event("g", 2, 20)].into();
        let merged = merge(store, grants, 4);
        let order: Vec<_> = merged.iter().map(|e| format!("{}{}", e.service, e.sequence)).collect();
        assert_eq!(order, ["s1", "s2", "g2", "s3"]);
    }
}
