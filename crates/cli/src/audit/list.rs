//! `pullpass audit list` and `head`: the newest events, and how far the trails are.

use clap::Args;
use pullpass_api::audit::v1::{AuditEvent, AuditHead};
use serde_json::Value;

use super::trail::{Asked, page};
use crate::{
    client::Session,
    failure::CallError,
    json,
    output::{self, Format, Resource},
    values::Keeper,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  pullpass audit list
  pullpass audit list --limit 1000 -o json";

#[derive(Debug, Args)]
pub(crate) struct List {
    /// How many at most; 0 is all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl List {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let newest = async |keeper| newest(session, keeper, limit).await;
        let (store, grants) =
            tokio::try_join!(newest(Keeper::CredentialStore), newest(Keeper::GrantManager))?;
        output::emit(&output::list(session.format, &merge(store, grants, limit))?)
    }
}

pub(super) async fn head(session: &Session) -> anyhow::Result<()> {
    let head = async |keeper| {
        let asked = Asked { newest_first: true, size: 1, ..Asked::default() };
        page(session, keeper, asked).await.map(|page| (keeper, page.head))
    };
    let (store, grants) = tokio::try_join!(head(Keeper::CredentialStore), head(Keeper::GrantManager))?;
    output::emit(&render(session.format, &[store, grants])?)
}

/// In JSON an array of heads, each with the name of its service added.
fn render(format: Format, heads: &[(Keeper, AuditHead)]) -> anyhow::Result<String> {
    if format == Format::Table {
        let headers = ["SERVICE", "EPOCH", "REVISION", "HEAD", "TIME"];
        let row = |(keeper, head): &(Keeper, AuditHead)| {
            let place = format!("{}:{}", head.sequence, head.mac);
            let revision = head.revision.to_string();
            vec![keeper.to_string(), head.epoch.clone(), revision, place, output::time(head.time.as_ref())]
        };
        return Ok(output::table(&headers, heads.iter().map(row)));
    }
    let value = |(keeper, head): &(Keeper, AuditHead)| {
        let mut value = json::value("pullpass.audit.v1.AuditHead", head)?;
        if let Value::Object(fields) = &mut value {
            fields.insert("service".to_owned(), Value::String(keeper.to_string()));
        }
        Ok(value)
    };
    let values: anyhow::Result<Vec<_>> = heads.iter().map(value).collect();
    output::structured(format, &Value::Array(values?))
}

/// The last `limit` events, the oldest of them first.
async fn newest(session: &Session, keeper: Keeper, limit: usize) -> Result<Vec<AuditEvent>, CallError> {
    let mut events = Vec::new();
    let mut asked = Asked { newest_first: true, ..Asked::default() };
    loop {
        let page = page(session, keeper, asked.clone()).await?;
        events.extend(page.events);
        if page.next.is_empty() || events.len() >= limit {
            break;
        }
        asked.page_token = page.next;
    }
    events.truncate(limit);
    events.reverse();
    Ok(events)
}

/// In order of time; within one service in its own order, which is the truth.
fn merge(store: Vec<AuditEvent>, grants: Vec<AuditEvent>, limit: usize) -> Vec<AuditEvent> {
    let time = |event: &AuditEvent| event.time.as_ref().map(|time| (time.seconds, time.nanos));
    let mut all: Vec<_> = store.into_iter().chain(grants).collect();
    all.sort_by_key(time);
    all.drain(..all.len().saturating_sub(limit));
    all
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
        let store = vec![event("s", 1, 10), event("s", 2, 10), event("s", 3, 30)];
        let grants = vec![event("g", 1, 5), event("g", 2, 20)];
        let merged = merge(store, grants, 4);
        let order: Vec<_> = merged.iter().map(|e| format!("{}{}", e.service, e.sequence)).collect();
        assert_eq!(order, ["s1", "s2", "g2", "s3"]);
    }
}
