//! Tickets: what grant-manager lets one applier fetch, checked without asking anybody.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use pullpass_api::ticket::{AUDIENCE, Claims, ISSUER, LIFETIME_SECONDS};
use pullpass_domain::{
    docker_config::SecretType,
    name::{ClusterName, CredentialName, LinkName},
};
use pullpass_runtime::PeerIdentity;
use time::OffsetDateTime;

/// How far ahead of ours the issuer's clock may be, in seconds.
const CLOCK_SKEW: i64 = 5;

/// Why the issuer's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("failed to read the ticket public key {}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("the ticket public key {} is not an Ed25519 public key in PEM", file.display())]
    Form { file: PathBuf },
}

/// Why a ticket is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no ticket: get one from grant-manager's IssueTicket")]
    Missing,
    #[error("the ticket has expired: get another")]
    Expired,
    #[error("the ticket is not one of grant-manager's for this service: {0}")]
    Invalid(&'static str),
    #[error("the ticket belongs to another applier")]
    NotYours,
    #[error("a ticket is bound to a client certificate: connect with the one that it was issued to")]
    NoCertificate,
    #[error("the ticket is bound to another certificate: get another over a connection with the present one")]
    OtherCertificate,
}

/// What a ticket allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) link: LinkName,
    /// In the order in which they are merged.
    pub(crate) credentials: Vec<CredentialName>,
    pub(crate) secret_type: SecretType,
}

/// Checks tickets with the issuer's public key.
#[derive(Debug)]
pub(crate) struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl Verifier {
    /// Takes the key from its PEM file.
    pub(crate) fn load(file: &Path) -> Result<Self, KeyError> {
        let pem = std::fs::read(file).map_err(|source| KeyError::Read { file: file.to_owned(), source })?;
        let key = DecodingKey::from_ed_pem(&pem).ok();
        let key = key.filter(|key| key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == 32));
        let key = key.ok_or_else(|| KeyError::Form { file: file.to_owned() })?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        // Checked below, by our own clock.
        validation.validate_exp = false;
        Ok(Self { key, validation })
    }

    /// What a ticket of grant-manager's says. Whether it holds here and now is for [`check`].
    #[tracing::instrument(name = "ticket.read", skip_all)]
    pub(crate) fn read(&self, ticket: &str) -> Result<Claims, Refusal> {
        if ticket.is_empty() {
            return Err(Refusal::Missing);
        }
        let read = jsonwebtoken::decode(ticket, &self.key, &self.validation);
        read.map(|token| token.claims).map_err(|e| Refusal::Invalid(reason(e.kind())))
    }
}

/// What the ticket allows `peer` at the time `now`.
pub(crate) fn check(claims: &Claims, peer: &PeerIdentity, now: OffsetDateTime) -> Result<Ticket, Refusal> {
    check_time(claims, now.unix_timestamp())?;
    if claims.sub != peer.spiffe_id.as_str() {
        return Err(Refusal::NotYours);
    }
    let certificate = peer.certificate_sha256.ok_or(Refusal::NoCertificate)?;
    if claims.cnf.certificate_sha256 != BASE64_URL_SAFE_NO_PAD.encode(certificate) {
        return Err(Refusal::OtherCertificate);
    }
    allowed(claims)
}

fn reason(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind as K;
    match kind {
        K::InvalidSignature => "its signature does not fit",
        K::InvalidAlgorithm | K::UnsupportedAlgorithm | K::InvalidAlgorithmName => {
            "it is not signed with EdDSA"
        }
        K::InvalidAudience => "it is for another audience",
        K::InvalidIssuer => "it is by another issuer",
        K::MissingRequiredClaim(_) | K::InvalidClaimFormat(_) | K::Json(_) => "its claims are not a ticket's",
        _ => "it is no JWT",
    }
}

fn check_time(claims: &Claims, now: i64) -> Result<(), Refusal> {
    if claims.exp <= now {
        return Err(Refusal::Expired);
    }
    if claims.iat > now.saturating_add(CLOCK_SKEW) {
        return Err(Refusal::Invalid("it was issued in the future"));
    }
    if claims.exp.saturating_sub(claims.iat) > LIFETIME_SECONDS {
        return Err(Refusal::Invalid("it lives too long"));
    }
    Ok(())
}

fn allowed(claims: &Claims) -> Result<Ticket, Refusal> {
    let bad = |what| move |_| Refusal::Invalid(what);
    let credentials = claims.credentials.iter().map(|name| CredentialName::parse(name));
    let credentials: Vec<_> =
        credentials.collect::<Result<_, _>>().map_err(bad("it names no credential rightly"))?;
    if credentials.is_empty() {
        return Err(Refusal::Invalid("it names no credential"));
    }
    ClusterName::parse(&claims.cluster).map_err(bad("it names no cluster"))?;
    Ok(Ticket {
        link: LinkName::parse(&claims.link).map_err(bad("it names no link"))?,
        secret_type: [SecretType::DockerConfigJson, SecretType::Dockercfg]
            .into_iter()
            .find(|known| known.kubernetes_type() == claims.secret_type)
            .ok_or(Refusal::Invalid("it names no known type of Secret"))?,
        credentials,
    })
}

#[cfg(test)]
mod tests;
