//! What a certificate says of itself: for log lines that name the one that is meant, and for the watch over its end.

use std::fmt;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use crate::identity::SpiffeId;

/// Whose certificate it is, which one of theirs, and from when to when it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    holder: String,
    serial: String,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

impl Facts {
    /// None if it cannot be parsed.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            holder: holder(&certificate),
            serial: certificate.raw_serial_as_string(),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
        })
    }

    /// Why it is of no use at this time, if it is of none.
    pub(crate) fn unusable(&self, now: OffsetDateTime) -> Option<String> {
        if now > self.not_after {
            Some(format!("expired {}", moment(self.not_after)))
        } else if now < self.not_before {
            Some(format!("is not valid before {}", moment(self.not_before)))
        } else {
            None
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holder, serial, not_before, not_after } = self;
        let (from, to) = (moment(*not_before), moment(*not_after));
        write!(f, "{holder}, serial {serial}, valid from {from} to {to}")
    }
}

/// What somebody else's certificate says in a log line; it may say anything.
pub(crate) fn describe(der: &[u8]) -> String {
    Facts::of(der).map_or_else(|| "unreadable".to_owned(), |facts| facts.to_string())
}

/// The SPIFFE id, or else the subject, quoted because its holder chose it.
fn holder(certificate: &X509Certificate<'_>) -> String {
    let names = certificate.subject_alternative_name().ok().flatten();
    let mut names = names.iter().flat_map(|names| &names.value.general_names);
    let id = names.find_map(|name| match name {
        GeneralName::URI(uri) => uri.parse::<SpiffeId>().ok(),
        _ => None,
    });
    id.map_or_else(|| format!("subject {:?}", certificate.subject().to_string()), |id| id.to_string())
}

fn moment(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
