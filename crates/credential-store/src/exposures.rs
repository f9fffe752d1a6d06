//! What the applier of a cluster was given, from the audit trail: the list to rotate after that cluster was broken into.

use std::collections::BTreeMap;

use pullpass_database::{AuditEntry, Database, Read};
use pullpass_domain::name::CredentialName;
use time::OffsetDateTime;

use crate::{
    error::Error,
    fetch::{ACTION, VERSIONS},
    store::{self, Credential},
};

const BATCH: u32 = 1000;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Since {
    /// Resource name of the cluster.
    pub(crate) cluster: String,
    /// Nothing that was given before counts.
    pub(crate) time: Option<OffsetDateTime>,
}

/// What has become of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Current,
    Superseded,
    Destroyed,
    Deleted,
}

/// One version of a credential that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exposure {
    /// Resource name.
    pub(crate) credential: String,
    pub(crate) version: i64,
    pub(crate) fate: Fate,
    pub(crate) first: OffsetDateTime,
    pub(crate) last: OffsetDateTime,
    pub(crate) fetches: i64,
}

struct Given {
    first: OffsetDateTime,
    last: OffsetDateTime,
    fetches: i64,
}

/// All of them, in order of credential and version. Of a moment: the events and what has become of the versions.
pub(crate) async fn exposures(database: &Database, since: &Since) -> Result<Vec<Exposure>, Error> {
    let mut read = database.read().await?;
    let mut exposures = Vec::new();
    let mut credential: (String, Option<Credential>) = Default::default();
    for ((name, version), given) in given(&mut read, since).await? {
        if credential.0 != name {
            let known = match CredentialName::parse(&name) {
                Ok(parsed) => store::find(read.connection(), &parsed).await?,
                Err(_) => None,
            };
            credential = (name.clone(), known);
        }
        let fate = fate(credential.1.as_ref(), version, given.last);
        let Given { first, last, fetches } = given;
        exposures.push(Exposure { credential: name, version, fate, first, last, fetches });
    }
    Ok(exposures)
}

async fn given(read: &mut Read, since: &Since) -> Result<BTreeMap<(String, i64), Given>, Error> {
    let (mut all, mut sequence) = (BTreeMap::new(), 0);
    loop {
        let events = read.audit_events_of_cluster(&since.cluster, ACTION, sequence, BATCH).await?;
        let Some(last) = events.last() else { return Ok(all) };
        sequence = last.sequence;
        for event in &events {
            note(&mut all, &event.entry, since.time);
        }
    }
}

fn note(all: &mut BTreeMap<(String, i64), Given>, entry: &AuditEntry, since: Option<OffsetDateTime>) {
    let time = entry.time;
    if since.is_some_and(|since| time < since) {
        return;
    }
    let versions = entry.details.get(VERSIONS).map_or("", String::as_str).split(',');
    for (name, version) in versions.filter_map(|version| version.rsplit_once('@')) {
        let Ok(version) = version.parse() else { continue };
        let given = all.entry((name.to_owned(), version));
        let given = given.or_insert(Given { first: time, last: time, fetches: 0 });
        (given.first, given.last) = (given.first.min(time), given.last.max(time));
        given.fetches += 1;
    }
}

/// A credential that was made anew counts its versions from 1 again: one that was added after the last time is not the one
/// that was given.
fn fate(credential: Option<&Credential>, version: i64, last: OffsetDateTime) -> Fate {
    let Some(credential) = credential else { return Fate::Deleted };
    let known = credential.versions.iter().find(|known| known.number == version);
    match known.filter(|known| known.create_time <= last) {
        None => Fate::Deleted,
        Some(_) if version == credential.record.version => Fate::Current,
        Some(known) if known.destroy_time.is_some() => Fate::Destroyed,
        Some(_) => Fate::Superseded,
    }
}

#[cfg(test)]
mod tests;
