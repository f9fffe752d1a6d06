//! What a token says, before and after it is verified (RFC 7519, and RFC 8725 for what to beware of).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use serde::{Deserialize, de::DeserializeOwned};
use time::OffsetDateTime;

use super::{IssuerConfig, Refusal, keys::Key};

/// How far our clock and the issuer's may be apart, in seconds.
const LEEWAY: i64 = 30;
/// A token may live this long; one that is stolen is of use for no longer.
pub(super) const LONGEST_LIFE: i64 = 24 * 60 * 60;

/// What decides by which key and which configuration a token is verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unverified {
    algorithm: Algorithm,
    pub(super) kid: String,
    pub(super) issuer: String,
}

/// What a verified token says.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct IssuerClaim {
    iss: String,
}

impl Unverified {
    pub(super) fn read(token: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, _] = parts[..] else { return Err(Refusal::Invalid("it is no signed JWT")) };
        let header: Header = part(header)?;
        if header.crit.is_some() {
            return Err(Refusal::Invalid("it has critical extensions (`crit`), and none is known"));
        }
        let kid = header.kid.ok_or(Refusal::Invalid("it does not name its key (`kid`)"))?;
        let IssuerClaim { iss: issuer } = part(payload)?;
        Ok(Self { algorithm: algorithm(&header.alg)?, kid, issuer })
    }

    /// The claims of `token`, from which `self` was read, if all of it holds at the time `now`.
    pub(super) fn verify(
        &self,
        token: &str,
        key: &Key,
        config: &IssuerConfig,
        now: OffsetDateTime,
    ) -> Result<Claims, Refusal> {
        if !key.algorithms.contains(&self.algorithm) {
            return Err(Refusal::Invalid("its algorithm is not one of its key"));
        }
        let mut validation = Validation::new(self.algorithm);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.set_audience(&[&config.audience]);
        validation.set_issuer(&[&config.issuer]);
        // Checked below, by our own clock.
        validation.validate_exp = false;
        let decoded = jsonwebtoken::decode::<Claims>(token, &key.verifies, &validation);
        let claims = decoded.map_err(|e| refusal(e.kind(), config))?.claims;
        claims.check_time(now.unix_timestamp())?;
        Ok(claims)
    }
}

impl Claims {
    /// From when on the token is of no use any more.
    pub(super) fn ends(&self) -> OffsetDateTime {
        let ends = OffsetDateTime::from_unix_timestamp(self.exp.saturating_add(LEEWAY));
        ends.unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    fn check_time(&self, now: i64) -> Result<(), Refusal> {
        if self.exp.saturating_add(LEEWAY) <= now {
            return Err(Refusal::Expired);
        }
        let latest = now.saturating_add(LEEWAY);
        if self.iat > latest || self.nbf.is_some_and(|nbf| nbf > latest) {
            return Err(Refusal::Invalid("it does not hold yet"));
        }
        if self.exp.saturating_sub(self.iat) > LONGEST_LIFE {
            return Err(Refusal::Invalid("it lives longer than 24 hours"));
        }
        Ok(())
    }
}

/// The algorithms that a verifier needs only a public key for. `none` and HMAC are none of them.
fn algorithm(name: &str) -> Result<Algorithm, Refusal> {
    match name {
        "RS256" => Ok(Algorithm::RS256),
        "RS384" => Ok(Algorithm::RS384),
        "RS512" => Ok(Algorithm::RS512),
        "PS256" => Ok(Algorithm::PS256),
        "PS384" => Ok(Algorithm::PS384),
        "PS512" => Ok(Algorithm::PS512),
        "ES256" => Ok(Algorithm::ES256),
        "ES384" => Ok(Algorithm::ES384),
        "EdDSA" => Ok(Algorithm::EdDSA),
        _ => Err(Refusal::Invalid("its algorithm is none of RS, PS, ES and EdDSA")),
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or(Refusal::Invalid("it is no signed JWT"))
}

fn refusal(kind: &ErrorKind, config: &IssuerConfig) -> Refusal {
    match kind {
        ErrorKind::InvalidSignature => Refusal::Invalid("its signature does not fit"),
        ErrorKind::InvalidAudience => Refusal::OtherAudience(config.audience.clone()),
        ErrorKind::InvalidIssuer => Refusal::UnknownIssuer,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => {
            Refusal::Invalid(
                "it lacks one of the claims `sub`, `aud`, `exp` and `iat`, or has it in another form",
            )
        }
        _ => Refusal::Invalid("it cannot be verified"),
    }
}
