//! Whether the database is what the service last wrote: of the same history, not behind, and with the same last event.

use std::path::Path;

use pullpass_database::{Error, Events, Head, Read};
use pullpass_domain::audit::ACCEPT_ROLLBACK;
use pullpass_runtime::Seal;

use crate::state_file::State;

/// What the event of an acceptance says of where the history was before, as the database had it and as it was expected.
pub(crate) const FOUND_EPOCH: &str = "found_epoch";
pub(crate) const EXPECTED_EPOCH: &str = "expected_epoch";

/// Why the database does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Discord {
    /// It is behind what is remembered, or of another history.
    RolledBack { expected: State, found: Head },
    /// It has a history, and nothing is remembered.
    NothingRemembered { found: Head },
    /// Its last event does not carry what our key makes of it.
    ChainBroken { found: Head },
}

/// None if the database counts. `new_epoch` is the name that a history would have got that begins just now.
pub(crate) async fn judge(
    read: &mut Read,
    remembered: Option<&State>,
    new_epoch: &str,
) -> Result<Option<Discord>, Error> {
    let found = read.head().await?;
    let Some(expected) = remembered else {
        let nothing_lost = found.epoch == new_epoch || (found.revision, found.sequence) == (0, 0);
        return Ok((!nothing_lost).then_some(Discord::NothingRemembered { found }));
    };
    if !continues(read, expected, &found).await? {
        return Ok(Some(Discord::RolledBack { expected: expected.clone(), found }));
    }
    if !read.is_chained(found.sequence).await? {
        return Ok(Some(Discord::ChainBroken { found }));
    }
    Ok(None)
}

async fn continues(read: &mut Read, expected: &State, found: &Head) -> Result<bool, Error> {
    if found.epoch != expected.epoch {
        return leads_to(read, &expected.epoch, &found.epoch).await;
    }
    let mac = match expected.sequence {
        0 => String::new(),
        sequence => {
            let event = read.audit_events(Events::After(sequence - 1), 1).await?.pop();
            event.filter(|event| event.sequence == sequence).map(|event| event.mac).unwrap_or_default()
        }
    };
    Ok(found.revision >= expected.revision && mac == expected.mac)
}

/// Whether somebody accepted that the history goes on from one epoch as the other, perhaps over several more. Only an event
/// that is chained by our key counts.
async fn leads_to(read: &mut Read, from: &str, to: &str) -> Result<bool, Error> {
    let mut at = from.to_owned();
    for event in read.audit_events_of(ACCEPT_ROLLBACK).await? {
        let before = [FOUND_EPOCH, EXPECTED_EPOCH].map(|key| event.entry.details.get(key));
        if before.contains(&Some(&at)) && read.is_chained(event.sequence).await? {
            at = event.epoch;
        }
    }
    Ok(at == to)
}

impl Discord {
    pub(crate) fn found(&self) -> &Head {
        match self {
            Self::RolledBack { found, .. }
            | Self::NothingRemembered { found }
            | Self::ChainBroken { found } => found,
        }
    }

    pub(crate) fn expected(&self) -> Option<&State> {
        match self {
            Self::RolledBack { expected, .. } => Some(expected),
            Self::NothingRemembered { .. } | Self::ChainBroken { .. } => None,
        }
    }

    /// `ErrorInfo.reason`: part of the API.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::RolledBack { .. } => "DATABASE_ROLLED_BACK",
            Self::NothingRemembered { .. } => "STATE_FILE_MISSING",
            Self::ChainBroken { .. } => "AUDIT_CHAIN_BROKEN",
        }
    }

    /// What callers and the log are told.
    pub(crate) fn seal(&self, service: &str, state_file: &Path) -> Seal {
        let found = self.found();
        let state = State::from(found);
        let (file, has) = (state_file.display(), written(&state));
        let problem = match self {
            Self::RolledBack { expected, .. } => format!(
                "{service} is sealed: its database is not the one that it last wrote. The state file {file} has {}; the \
                 database has {has}. It is an older copy, or another one: put the right database back and restart",
                written(expected)
            ),
            Self::NothingRemembered { .. } => format!(
                "{service} is sealed: its database has {has}, and there is no state file {file} that says whether that is \
                 the newest copy. Put the state file back (for a new replica: a copy of another replica's) and restart"
            ),
            Self::ChainBroken { .. } => format!(
                "{service} is sealed: the last event of the audit trail does not carry what `audit.key` makes of it. The \
                 database has {has}. It was altered, or the key is another one: put the right ones back and restart"
            ),
        };
        let remedy = format!(
            "or, if the database shall count as it is, run `pullpass accept-rollback {service} --expect {}`",
            found.revision
        );
        let mut metadata = values(["foundEpoch", "foundRevision", "foundSequence", "foundMac"], &state);
        if let Some(expected) = self.expected() {
            let keys = ["expectedEpoch", "expectedRevision", "expectedSequence", "expectedMac"];
            metadata.extend(values(keys, expected));
        }
        Seal { reason: self.reason(), message: format!("{problem}, {remedy}"), metadata }
    }
}

fn written(State { epoch, revision, sequence, mac }: &State) -> String {
    let mac = mac.get(..12).unwrap_or("none");
    format!("epoch {epoch}, revision {revision}, audit event {sequence} (mac {mac}…)")
}

fn values(keys: [&'static str; 4], state: &State) -> Vec<(&'static str, String)> {
    let State { epoch, revision, sequence, mac } = state.clone();
    keys.into_iter().zip([epoch, revision.to_string(), sequence.to_string(), mac]).collect()
}
