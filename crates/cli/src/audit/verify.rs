//! Whether an export is whole: one pass over its lines, one chain for each service in it. The first thing that is wrong ends
//! it, for what comes after hangs on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, BufRead},
    str::FromStr,
};

use pullpass_domain::audit::{ACCEPT_ROLLBACK, AuditKey, BEGIN_CHAIN, Mac};

use super::record::Record;

/// A place in a chain, as in `30:5f0c…`: the sequence and the mac of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Sequence of the event.
    pub sequence: i64,
    /// Its mac.
    pub mac: Mac,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(sequence, mac)| {
            Some(Self { sequence: sequence.parse().ok()?, mac: mac.parse().ok()? })
        });
        parts.ok_or_else(|| {
            format!("`{text}` is not of the form SEQUENCE:MAC, as `pullpass audit head` tells it")
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.mac)
    }
}

/// What is known of the chains from elsewhere.
#[derive(Debug, Default)]
pub struct Known {
    /// The keys that the events may be chained with.
    pub keys: Vec<AuditKey>,
    /// Events that must be there, so that nothing was cut off after the export before.
    pub heads: Vec<Place>,
    /// The last events of what was exported before: where chains that do not begin with event 1 may begin.
    pub from: Vec<Place>,
}

/// A chain that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Whose it is.
    pub service: String,
    /// Sequence of the first event in the export.
    pub first: i64,
    /// The last event in the export.
    pub last: Place,
    /// The epochs, in order. More than one: an older copy of the database was accepted.
    pub epochs: Vec<String>,
    /// So many events, from the first on, were chained only when the service was upgraded: nothing tells whether they had been
    /// altered before.
    pub chained_later: i64,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The export cannot be read.
    #[error("failed to read the export")]
    Read(#[from] io::Error),
    /// There is nothing in it.
    #[error("the export holds no event")]
    Empty,
    /// A line is no event.
    #[error("line {line} is not an event as `pullpass audit export` writes it: it was altered or cut off")]
    Line {
        /// Which.
        line: u64,
    },
    /// An event is at fault.
    #[error("line {line}: event {sequence} of {service} {fault}")]
    Event {
        /// Where it stands.
        line: u64,
        /// Whose it is.
        service: String,
        /// Its place in the chain.
        sequence: i64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// An event that must be there is not.
    #[error(
        "no chain of the export has the event {0}: events at the end are missing, or it is of another database"
    )]
    NoHead(Place),
}

/// What is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not the one that should come.
    #[error("stands where event {0} should: events are missing, repeated or out of order")]
    NotNext(i64),
    /// The export begins with it.
    #[error(
        "is the first: the events before it are missing; if they were exported before, name the last of them with `--from`"
    )]
    Beginning,
    /// The mac does not fit.
    #[error("was altered, or does not follow the one before: its mac does not fit{}", if *.0 { "; or none of the keys is the one of this chain" } else { "" })]
    Mac(bool),
    /// An epoch begins without an acceptance.
    #[error(
        "is of another epoch than the one before, and is not the acceptance of an older database that begins one"
    )]
    Epoch,
}

/// All chains of an export, if they are whole.
pub fn verify(mut export: impl BufRead, known: &Known) -> Result<Vec<Chain>, Problem> {
    let mut chains = BTreeMap::<String, Links<'_>>::new();
    let mut missing: BTreeSet<usize> = (0..known.heads.len()).collect();
    let (mut line, mut text) = (0, Vec::new());
    loop {
        text.clear();
        if export.read_until(b'\n', &mut text)? == 0 {
            break;
        }
        line += 1;
        let record = Record::parse(&text).ok_or(Problem::Line { line })?;
        let added = match chains.get_mut(&record.service) {
            Some(links) => links.add(&record, known),
            None => Links::begin(&record, known).map(|links| {
                chains.insert(record.service.clone(), links);
            }),
        };
        let (service, sequence) = (&record.service, record.sequence);
        added.map_err(|fault| Problem::Event { line, service: service.clone(), sequence, fault })?;
        let place = chains[service].chain.last;
        missing.retain(|head| known.heads[*head] != place);
    }
    if chains.is_empty() {
        return Err(Problem::Empty);
    }
    match missing.first() {
        Some(head) => Err(Problem::NoHead(known.heads[*head])),
        None => Ok(chains.into_values().map(|links| links.chain).collect()),
    }
}

/// A chain under way.
struct Links<'k> {
    chain: Chain,
    key: &'k AuditKey,
}

impl<'k> Links<'k> {
    fn begin(record: &Record, known: &'k Known) -> Result<Self, Fault> {
        let start = Place { sequence: 0, mac: Mac::START };
        let before = std::iter::once(&start).chain(&known.from);
        let mut before = before.filter(|before| before.sequence + 1 == record.sequence).peekable();
        if before.peek().is_none() {
            return Err(Fault::Beginning);
        }
        let linked = before.find_map(|before| key_of(record, &before.mac, &known.keys));
        let (key, mac) = linked.ok_or(Fault::Mac(true))?;
        let chain = Chain {
            service: record.service.clone(),
            first: record.sequence,
            last: Place { sequence: record.sequence, mac },
            epochs: vec![record.epoch.clone()],
            chained_later: 0,
        };
        Ok(Self { chain, key })
    }

    fn add(&mut self, record: &Record, known: &'k Known) -> Result<(), Fault> {
        let Place { sequence, mac: before } = self.chain.last;
        if record.sequence != sequence + 1 {
            return Err(Fault::NotNext(sequence + 1));
        }
        let begins_epoch = self.chain.epochs.last() != Some(&record.epoch);
        if begins_epoch && record.action != ACCEPT_ROLLBACK {
            return Err(Fault::Epoch);
        }
        // An acceptance may be one of another key.
        let keys: &'k [AuditKey] = if begins_epoch { &known.keys } else { std::slice::from_ref(self.key) };
        let (key, mac) = key_of(record, &before, keys).ok_or(Fault::Mac(begins_epoch))?;
        if begins_epoch {
            self.chain.epochs.push(record.epoch.clone());
        }
        self.key = key;
        if record.action == BEGIN_CHAIN {
            self.chain.chained_later = record.sequence - 1;
        }
        self.chain.last = Place { sequence: record.sequence, mac };
        Ok(())
    }
}

/// The key by which this is the mac of the event, and that mac.
fn key_of<'k>(record: &Record, before: &Mac, keys: &'k [AuditKey]) -> Option<(&'k AuditKey, Mac)> {
    let (event, mac) = (record.event()?, record.mac()?);
    keys.iter().find(|key| key.mac(&event, before) == mac).map(|key| (key, mac))
}

#[cfg(test)]
mod tests;
