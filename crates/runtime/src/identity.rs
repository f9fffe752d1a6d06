//! Who is calling: SPIFFE ids, patterns over them, and the identity that a request carries.
//!
//! An identity comes from the peer's certificate, or from a token whose issuer's signature was verified; the layer in
//! `authenticate` puts it into a request's extensions as [`PeerIdentity`]. Nothing else a caller sends can set or change it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;

use crate::status;

const SCHEME: &str = "spiffe://";
const MAX_LENGTH: usize = 2048;
/// The first path segment of principals that were proved by a token. No certificate may claim it.
pub(crate) const RESERVED: &str = "jwt";

/// Why a text or a certificate is no usable identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a SPIFFE id of a workload.
    #[error("{text:?} is not a SPIFFE id: {reason}")]
    Malformed {
        /// The text as it was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The certificate is not valid DER or its extensions contradict themselves.
    #[error("the certificate cannot be parsed: {0}")]
    Certificate(String),
    /// The certificate has no URI name, or several.
    #[error("the certificate has {0} URI names, exactly one SPIFFE id is required")]
    UriNames(usize),
    /// The certificate claims to be somebody whom only a token can prove.
    #[error("{0} is an identity of a token's subject, and cannot be that of a certificate")]
    Reserved(SpiffeId),
    /// The certificate belongs to somebody else's trust domain.
    #[error("{id} is not in the trust domain {expected}")]
    TrustDomain {
        /// The identity in the certificate.
        id: SpiffeId,
        /// The trust domain that was required.
        expected: String,
    },
}

/// A SPIFFE id of a workload, such as `spiffe://example.org/applier/east`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(String);

impl SpiffeId {
    /// The trust domain: `example.org` of `spiffe://example.org/applier/east`.
    pub fn trust_domain(&self) -> &str {
        self.split().0
    }

    /// The path without its leading slash: `applier/east` of `spiffe://example.org/applier/east`.
    pub fn path(&self) -> &str {
        self.split().1
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn split(&self) -> (&str, &str) {
        self.0[SCHEME.len()..].split_once('/').unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        check(text, valid_segment).map(|()| Self(text.to_owned()))
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of SPIFFE ids: one id in which `*` stands for any one path segment, as in `spiffe://example.org/applier/*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Whether `id` is in the set.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        let (mut wanted, mut given) = (self.0.split('/'), id.as_str().split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(w), Some(g)) if w == "*" || w == g => {}
                _ => return false,
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        check(text, |segment| segment == "*" || valid_segment(segment)).map(|()| Self(text.to_owned()))
    }
}

impl TryFrom<String> for Pattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl From<SpiffeId> for Pattern {
    fn from(id: SpiffeId) -> Self {
        Self(id.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The authenticated caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Who it is: the one SPIFFE id in the peer's certificate.
    pub spiffe_id: SpiffeId,
    /// SHA-256 of the DER form of the peer's certificate: a JWT's `cnf.x5t#S256`. None if it has no certificate: then
    /// whatever has to be bound to one must be refused.
    pub certificate_sha256: Option<[u8; 32]>,
}

impl PeerIdentity {
    /// Reads the identity out of a DER certificate whose chain has already been verified.
    pub(crate) fn from_certificate(der: &[u8], trust_domain: &str) -> Result<Self, Error> {
        let spiffe_id = spiffe_id_of(der)?;
        if spiffe_id.trust_domain() != trust_domain {
            return Err(Error::TrustDomain { id: spiffe_id, expected: trust_domain.to_owned() });
        }
        if spiffe_id.path().split('/').next() == Some(RESERVED) {
            return Err(Error::Reserved(spiffe_id));
        }
        let mut certificate_sha256 = [0; 32];
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        certificate_sha256.copy_from_slice(digest.as_ref());
        Ok(Self { spiffe_id, certificate_sha256: Some(certificate_sha256) })
    }
}

/// A door for the fuzz targets of `fuzz/`: the identity in a certificate, whoever signed it.
#[cfg(fuzzing)]
pub fn of_certificate(der: &[u8], trust_domain: &str) -> Result<PeerIdentity, Error> {
    PeerIdentity::from_certificate(der, trust_domain)
}

/// Whom the certificate of a connection names, if it has one. What the acceptor puts into each request.
#[derive(Debug, Clone)]
pub(crate) struct Certified(pub(crate) Option<PeerIdentity>);

/// The caller of `request`. An error only when the request did not come through [`crate::Server`].
pub fn peer<T>(request: &tonic::Request<T>) -> Result<&PeerIdentity, tonic::Status> {
    request.extensions().get().ok_or_else(unauthenticated)
}

/// What a call without an identity is answered.
pub(crate) fn unauthenticated() -> tonic::Status {
    status::with_reason(
        tonic::Code::Unauthenticated,
        "NO_IDENTITY",
        "nothing says who is calling: connect with a certificate that names one SPIFFE id, or send a token of a \
         configured issuer as `authorization: Bearer …`",
        [],
    )
}

fn spiffe_id_of(der: &[u8]) -> Result<SpiffeId, Error> {
    let unparsable = |e: &dyn fmt::Display| Error::Certificate(e.to_string());
    let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|e| unparsable(&e))?;
    let names = certificate.subject_alternative_name().map_err(|e| unparsable(&e))?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris[..] {
        [uri] => uri.parse(),
        _ => Err(Error::UriNames(uris.len())),
    }
}

fn check(text: &str, segment: impl Fn(&str) -> bool) -> Result<(), Error> {
    let malformed = |reason| Err(Error::Malformed { text: text.to_owned(), reason });
    if text.len() > MAX_LENGTH {
        return malformed("it is longer than 2048 bytes");
    }
    let Some(rest) = text.strip_prefix(SCHEME) else {
        return malformed("it must begin with spiffe://");
    };
    let Some((domain, path)) = rest.split_once('/') else {
        return malformed("it must have a path, as in spiffe://example.org/name");
    };
    let of_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(of_domain) {
        return malformed("its trust domain must be 1 to 255 of a-z, 0-9, '-', '.', '_'");
    }
    if !path.split('/').all(segment) {
        return malformed(
            "its path segments must be made of a-z, A-Z, 0-9, '-', '.', '_', and not be '.' or '..'",
        );
    }
    Ok(())
}

fn valid_segment(segment: &str) -> bool {
    let of_path = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(of_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_apart() {
        let id: SpiffeId = "spiffe://example.org/applier/east".parse().unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("example.org", "applier/east"));
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "",
            "https://example.org/a",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///a",
            "spiffe://Example.org/a",
            "spiffe://example.org:443/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org/a/",
            "spiffe://example.org/a//b",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a%20b",
            "spiffe://example.org/*",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?} was accepted");
        }
        assert!(format!("spiffe://a/{}", "b".repeat(2048)).parse::<SpiffeId>().is_err());
    }

    #[test]
    fn a_star_stands_for_exactly_one_segment() {
        for (pattern, id, expected) in [
            ("spiffe://d/applier/*", "spiffe://d/applier/east", true),
            ("spiffe://d/applier/*", "spiffe://d/applier", false),
            ("spiffe://d/applier/*", "spiffe://d/applier/east/x", false),
            ("spiffe://d/applier/*", "spiffe://other/applier/east", false),
            ("spiffe://d/*/east", "spiffe://d/applier/east", true),
            ("spiffe://d/*/east", "spiffe://d/applier/west", false),
            ("spiffe://d/applier", "spiffe://d/applier", true),
            ("spiffe://d/applier", "spiffe://d/applier2", false),
        ] {
            let (pattern, id): (Pattern, SpiffeId) = (pattern.parse().unwrap(), id.parse().unwrap());
            assert_eq!(pattern.matches(&id), expected, "{pattern} on {id}");
        }
    }

    #[test]
    fn a_pattern_names_its_trust_domain_and_whole_segments() {
        for text in ["spiffe://*/applier", "spiffe://d/app*", "spiffe://d/**", "*"] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?} was accepted");
        }
    }
}
