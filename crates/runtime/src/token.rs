//! JWTs of OIDC issuers: a second way for people and pipelines to say who they are, where they have no certificate.
//!
//! ```text
//!  configured issuers ─► fetch (https, bounded) ─► keys (cached, bounded) ─┐
//!  authorization: Bearer … ─► header: issuer, kid, alg ──────────────────── verify ─► principal ─► SPIFFE id
//! ```
//!
//! A token says nothing that its issuer's configuration does not confirm: the key decides which algorithms there are, the
//! name in our configuration (not the issuer's URL) becomes part of the id, and the roles apply to that as to any other.

mod claims;
mod fetch;
mod issuer;
mod keys;
mod principal;

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tonic::{Code, Status};

use crate::{clock::Clock, identity::SpiffeId, shutdown::Shutdown, status};
use claims::Unverified;
use issuer::{Issuer, Pace};

/// Bytes of a token; those of Kubernetes have about 1,000.
const LONGEST: usize = 8 * 1024;
/// When to come back to a service that cannot reach an issuer.
const LATER: Duration = Duration::from_secs(5);

/// Whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What we call it: the part of its principals' ids after `/jwt/`, as in
    /// `spiffe://example.org/jwt/cluster-a/system/serviceaccount/ci/deployer`. Lower-case letters, digits and '-'.
    pub name: String,
    /// Its URL, exactly as its tokens have it in `iss`. It must begin with https.
    pub issuer: String,
    /// Who a token must be for (`aud`): that is us.
    pub audience: String,
    /// Where its keys are (https). Without it the issuer's `/.well-known/openid-configuration` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// A file with its keys instead, for an issuer that cannot be reached from here; it is read again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// PEM file with the authorities that its https is checked by. Without it: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
}

/// Why the issuers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field says something impossible.
    #[error("server.issuers[{index}].{field}: {problem}")]
    Field {
        /// Which issuer, counted from 0.
        index: usize,
        /// The field.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// Why a token does not say who is calling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the token is not to be believed: {0}")]
    Invalid(&'static str),
    #[error("the token has expired: get another")]
    Expired,
    #[error("the token's issuer is none of those in the service's configuration (server.issuers)")]
    UnknownIssuer,
    #[error("the token is for somebody else: ask its issuer for one with the audience {0:?}")]
    OtherAudience(String),
    #[error("the token is signed with a key that issuer {0:?} does not have (any more): get another")]
    UnknownKey(String),
    #[error("the keys of issuer {0:?} are not known: it could not be reached lately")]
    Unavailable(String),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, reason) = match refusal {
            Refusal::Invalid(_) => (Code::Unauthenticated, "TOKEN_INVALID"),
            Refusal::Expired => (Code::Unauthenticated, "TOKEN_EXPIRED"),
            Refusal::UnknownIssuer => (Code::Unauthenticated, "TOKEN_ISSUER_UNKNOWN"),
            Refusal::OtherAudience(_) => (Code::Unauthenticated, "TOKEN_OTHER_AUDIENCE"),
            Refusal::UnknownKey(_) => (Code::Unauthenticated, "TOKEN_KEY_UNKNOWN"),
            Refusal::Unavailable(_) => (Code::Unavailable, "ISSUER_UNAVAILABLE"),
        };
        match code {
            Code::Unavailable => status::retry(code, reason, refusal.to_string(), LATER),
            _ => status::with_reason(code, reason, refusal.to_string(), []),
        }
    }
}

/// Who a token speaks for, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) ends: OffsetDateTime,
}

/// All issuers whose tokens are accepted. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Issuers {
    all: Arc<[Issuer]>,
    trust_domain: Arc<str>,
    clock: Clock,
}

impl Issuers {
    /// Checks the configuration; asks nobody yet.
    pub(crate) fn new(configs: &[IssuerConfig], trust_domain: &str, clock: Clock) -> Result<Self, Error> {
        Self::with_pace(configs, trust_domain, clock, Pace::USUAL)
    }

    fn with_pace(
        configs: &[IssuerConfig],
        trust_domain: &str,
        clock: Clock,
        pace: Pace,
    ) -> Result<Self, Error> {
        let mut all = Vec::with_capacity(configs.len());
        for (index, config) in configs.iter().enumerate() {
            let field = |(field, problem)| Error::Field { index, field, problem };
            all.push(Issuer::new(config, pace).map_err(field)?);
            let twice = |same: fn(&IssuerConfig) -> &str| {
                configs[..index].iter().any(|other| same(other) == same(config))
            };
            if twice(|config| &config.name) {
                return Err(field(("name", format!("{:?} is another issuer's already", config.name))));
            }
            if twice(|config| &config.issuer) {
                let problem =
                    format!("{} is configured already, and a token would be of both", config.issuer);
                return Err(field(("issuer", problem)));
            }
        }
        Ok(Self { all: all.into(), trust_domain: trust_domain.into(), clock })
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Keeps the keys of all of them fresh until the shutdown.
    pub(crate) fn watch(&self, shutdown: &Shutdown) {
        for index in 0..self.all.len() {
            let (all, token) = (Arc::clone(&self.all), shutdown.token());
            shutdown.spawn("keys of a token issuer", async move {
                token.run_until_cancelled(all[index].refresh_forever()).await;
            });
        }
    }

    /// Who `token` speaks for. Waits a moment for keys that are just being fetched, and no longer.
    pub(crate) async fn verify(&self, token: &str) -> Result<Verified, Refusal> {
        if token.len() > LONGEST {
            return Err(Refusal::Invalid("it is longer than 8192 bytes"));
        }
        let unverified = Unverified::read(token)?;
        let issuer = self.all.iter().find(|issuer| issuer.config.issuer == unverified.issuer);
        let issuer = issuer.ok_or(Refusal::UnknownIssuer)?;
        let key = issuer.key(&unverified.kid).await?;
        let claims = unverified.verify(token, &key, &issuer.config, self.clock.now())?;
        let spiffe_id = principal::spiffe_id(&self.trust_domain, &issuer.config.name, &claims.sub);
        let spiffe_id = spiffe_id.map_err(|_| Refusal::Invalid("its subject is too long"))?;
        Ok(Verified { spiffe_id, ends: claims.ends() })
    }
}

#[cfg(test)]
pub(crate) mod tests;
