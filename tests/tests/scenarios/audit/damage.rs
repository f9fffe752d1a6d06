//! Everything that one could do to an export: every byte, every field, every place, and events of another chain.

use std::collections::BTreeMap;

use pullpass::audit::record::Record;
use pullpass_domain::audit::{AuditKey, Event, Mac};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// So many events are damaged in all ways.
pub(super) const LINES: usize = 12;
const OTHER_EPOCH: &str = "00000000-0000-7000-8000-000000000000";

/// Hands out each damaged export with what was done to it.
pub(super) fn each(
    lines: &[&str],
    records: &[Record],
    key: &AuditKey,
    mut found: impl FnMut(&'static str, &[u8]),
) {
    bytes(&lines.concat(), &mut found);
    fields(lines, records, &mut found);
    places(lines, &mut found);
    other_chain(lines, records, key, &mut found);
}

type Found<'a> = &'a mut dyn FnMut(&'static str, &[u8]);

fn bytes(whole: &str, found: Found<'_>) {
    let whole = whole.as_bytes();
    for at in 0..whole.len() {
        for bit in [1, 2, 32] {
            let mut damaged = whole.to_vec();
            damaged[at] ^= bit;
            found("a bit was flipped", &damaged);
        }
        let mut damaged = whole.to_vec();
        damaged.remove(at);
        found("a byte was taken out", &damaged);
        let mut damaged = whole.to_vec();
        damaged.insert(at, b' ');
        found("a blank was put in", &damaged);
    }
    for end in (0..whole.len()).step_by(7) {
        found("it was cut off", &whole[..end]);
    }
}

/// Every field of every event, changed to something of its kind and written just as an export would.
fn fields(lines: &[&str], records: &[Record], found: Found<'_>) {
    type Change = (&'static str, fn(&mut Record, &Record));
    let changes: [Change; 14] = [
        ("another service", |r, _| "grant-manager".clone_into(&mut r.service)),
        ("the next sequence", |r, _| r.sequence += 1),
        ("the sequence before", |r, _| r.sequence -= 1),
        ("a later time", |r, _| r.time = later(&r.time)),
        ("another's principal", |r, _| r.principal.push('x')),
        ("another action", |r, _| r.action.push('s')),
        ("another resource", |r, _| r.resource.push('x')),
        ("another revision", |r, _| r.revision += 1),
        ("a detail more", |r, _| drop(r.details.insert("more".to_owned(), String::new()))),
        ("no details", |r, _| r.details = BTreeMap::from([(String::new(), String::new())])),
        ("another epoch", |r, _| OTHER_EPOCH.clone_into(&mut r.epoch)),
        ("no epoch", |r, _| r.epoch.clear()),
        ("another's mac", |r, other| r.mac.clone_from(&other.mac)),
        ("another's content", |r, other| {
            *r = Record { sequence: r.sequence, mac: r.mac.clone(), ..other.clone() }
        }),
    ];
    for (at, record) in records.iter().enumerate() {
        let other = &records[(at + 1) % records.len()];
        for (kind, change) in changes {
            let mut altered = record.clone();
            change(&mut altered, other);
            replaced(lines, at, &altered, kind, found);
        }
        for key in record.details.keys() {
            let mut altered = record.clone();
            altered.details.remove(key);
            replaced(lines, at, &altered, "a detail less", found);
            altered.details.insert(key.clone(), "another".to_owned());
            replaced(lines, at, &altered, "another detail", found);
        }
    }
}

fn later(time: &str) -> String {
    let later = OffsetDateTime::parse(time, &Rfc3339).expect("a time") + time::Duration::SECOND;
    later.format(&Rfc3339).expect("a time")
}

fn replaced(lines: &[&str], at: usize, record: &Record, kind: &'static str, found: Found<'_>) {
    let line = record.line().expect("a line");
    let mut changed = lines.to_vec();
    changed[at] = &line;
    found(kind, changed.concat().as_bytes());
}

/// Every event deleted, repeated and moved anywhere, every two swapped, every stretch deleted.
fn places(lines: &[&str], found: Found<'_>) {
    let mut tell = |kind, lines: &[&str]| found(kind, lines.concat().as_bytes());
    for from in 0..lines.len() {
        for to in from + 1..=lines.len() {
            tell("a stretch was deleted", &[&lines[..from], &lines[to..]].concat());
        }
        for to in 0..lines.len() {
            let mut repeated = lines.to_vec();
            repeated.insert(to, lines[from]);
            tell("an event was repeated", &repeated);
            let mut moved = lines.to_vec();
            let line = moved.remove(from);
            moved.insert(to, line);
            if from != to {
                tell("an event was moved", &moved);
                let mut swapped = lines.to_vec();
                swapped.swap(from, to);
                tell("two events were swapped", &swapped);
            }
        }
    }
}

/// The same events in a database that never was: another epoch, chained by the very same key; and by another key.
fn other_chain(lines: &[&str], records: &[Record], key: &AuditKey, found: Found<'_>) {
    let strange = AuditKey::from_base64(b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").expect("a key");
    for (key, epoch) in [(key, OTHER_EPOCH), (&strange, &*records[0].epoch)] {
        let other = chain(records, key, epoch);
        let other: Vec<&str> = other.iter().map(String::as_str).collect();
        for from in 0..lines.len() {
            for to in from + 1..=lines.len() {
                let spliced = [&lines[..from], &other[from..to], &lines[to..]].concat();
                found("events of another chain", spliced.concat().as_bytes());
            }
            let both = [&lines[..from], &other[from..=from], &lines[from..]].concat();
            found("an event of another chain was put in", both.concat().as_bytes());
        }
    }
}

fn chain(records: &[Record], key: &AuditKey, epoch: &str) -> Vec<String> {
    let mut last = Mac::START;
    let mut lines = Vec::new();
    for record in records {
        let mut record = Record { epoch: epoch.to_owned(), ..record.clone() };
        let time = OffsetDateTime::parse(&record.time, &Rfc3339).expect("a time");
        let event = Event {
            service: &record.service,
            epoch,
            sequence: record.sequence,
            micros: i64::try_from(time.unix_timestamp_nanos() / 1000).expect("of our days"),
            principal: &record.principal,
            action: &record.action,
            resource: &record.resource,
            details: &record.details,
            revision: record.revision,
        };
        last = key.mac(&event, &last);
        record.mac = last.to_string();
        lines.push(record.line().expect("a line"));
    }
    lines
}
