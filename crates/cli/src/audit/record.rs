//! One event as a line of an export: JSON with the names of protobuf JSON, in one form only, so that every byte counts.

use std::collections::BTreeMap;

use pullpass_api::audit::v1::AuditEvent;
use pullpass_domain::audit::{Event, Mac};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The line of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The service that keeps it.
    pub service: String,
    /// Its place: 1, 2, 3 …
    pub sequence: i64,
    /// When, in RFC 3339.
    pub time: String,
    /// Who.
    pub principal: String,
    /// Did what.
    pub action: String,
    /// To what.
    pub resource: String,
    /// With which particulars.
    pub details: BTreeMap<String, String>,
    /// Which change it was; 0 for none.
    pub revision: i64,
    /// The line of history that it belongs to.
    pub epoch: String,
    /// Chains it to the event before.
    pub mac: String,
}

impl Record {
    /// None for a time that no calendar has.
    pub fn of(event: AuditEvent) -> Option<Self> {
        let time = pullpass_api::convert::time(event.time.as_ref()?)?;
        Some(Self {
            service: event.service,
            sequence: event.sequence,
            time: written(time)?,
            principal: event.principal,
            action: event.action,
            resource: event.resource,
            details: event.details.into_iter().collect(),
            revision: event.revision,
            epoch: event.epoch,
            mac: event.mac,
        })
    }

    /// The line, with its end.
    pub fn line(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// What a line says, if it is just as [`Self::line`] would write it. Several forms of the same would let readers differ
    /// about what it says.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(line).ok()?;
        let time = written(OffsetDateTime::parse(&record.time, &Rfc3339).ok()?)?;
        (time == record.time && record.line().ok()?.as_bytes() == line).then_some(record)
    }

    /// As the chain sees it.
    pub(super) fn event(&self) -> Option<Event<'_>> {
        let time = OffsetDateTime::parse(&self.time, &Rfc3339).ok()?;
        Some(Event {
            service: &self.service,
            epoch: &self.epoch,
            sequence: self.sequence,
            micros: i64::try_from(time.unix_timestamp_nanos() / 1000).ok()?,
            principal: &self.principal,
            action: &self.action,
            resource: &self.resource,
            details: &self.details,
            revision: self.revision,
        })
    }

    pub(super) fn mac(&self) -> Option<Mac> {
        self.mac.parse().ok()
    }
}

/// As protobuf JSON writes it: no, 3 or 6 digits after the second. The services tell no more than microseconds.
fn written(time: OffsetDateTime) -> Option<String> {
    let whole = time.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()?;
    let whole = whole.strip_suffix('Z')?;
    let (micros, nanos) = (time.microsecond(), time.nanosecond());
    match (micros, micros.is_multiple_of(1000)) {
        _ if nanos != micros * 1000 => None,
        (0, _) => Some(format!("{whole}Z")),
        (_, true) => Some(format!("{whole}.{:03}Z", micros / 1000)),
        (_, false) => Some(format!("{whole}.{micros:06}Z")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn event(nanos: i32) -> AuditEvent {
        AuditEvent {
            sequence: 3,
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos }),
            service: "credential-store".into(),
            principal: "spiffe://d/platform/\"ci\"".into(),
            action: "FetchPullSecret".into(),
            resource: "secretLinks/wéb".into(),
            details: [("versions".into(), "credentials/quay@1".into()), ("cluster".into(), "c".into())]
                .into(),
            revision: 0,
            epoch: "an-epoch".into(),
            mac: "ab".into(),
        }
    }

    #[test]
    fn a_line_is_the_event_in_protobuf_json_and_comes_back() {
        for nanos in [0, 120_000_000, 123_456_000, 1_000] {
            let record = Record::of(event(nanos)).unwrap();
            let line = record.line().unwrap();
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value, json::value("pullpass.audit.v1.AuditEvent", &event(nanos)).unwrap());
            assert_eq!(Record::parse(line.as_bytes()), Some(record));
        }
        assert_eq!(Record::of(event(1)), None, "nobody measures nanoseconds");
    }

    #[test]
    fn what_says_the_same_in_another_form_is_not_a_line() {
        let line = Record::of(event(120_000_000)).unwrap().line().unwrap();
        for (from, to) in [
            ("\n", ""),
            ("\n", " \n"),
            ("{\"service", "{ \"service"),
            (".120Z", ".12Z"),
            (".120Z", ".120000Z"),
            (".120Z", ".120+00:00"),
            ("2023-11-14T22", "2023-11-14t22"),
            ("é", "\\u00e9"),
            ("\"revision\":0", "\"revision\":-0"),
            ("\"action\"", "\"action\":\"x\",\"action\""),
            ("\"cluster\":\"c\"", "\"cluster\":\"x\",\"cluster\":\"c\""),
            ("{\"service\"", "{\"more\":1,\"service\""),
            ("\"sequence\":3,", ""),
        ] {
            let other = line.replacen(from, to, 1);
            assert_ne!(other, line, "{from}");
            assert_eq!(Record::parse(other.as_bytes()), None, "{other}");
        }
    }
}
