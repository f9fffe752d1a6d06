//! An issuer's public keys (RFC 7517). Each says by its own type which algorithms it is for; secrets and unknown types are
//! no keys to us, whatever a token says.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Keys of one issuer. Real ones have two to five.
const MOST: usize = 64;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// A public key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    kid: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) verifies: DecodingKey,
}

/// The keys of one issuer.
#[derive(Debug, Clone)]
pub(super) struct Keys(Vec<Key>);

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

impl Keys {
    /// Takes what is usable: a set may hold keys for other purposes, and of types to come.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let jwks: Jwks = serde_json::from_slice(json).map_err(|e| format!("it is no key set (JWKS): {e}"))?;
        if jwks.keys.len() > MOST {
            return Err(format!("it has {} keys, and {MOST} are the most that are taken", jwks.keys.len()));
        }
        let keys: Vec<Key> = jwks.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err("it has no key that is usable: RSA, P-256, P-384 or Ed25519, with a `kid`".to_owned());
        }
        Ok(Self(keys))
    }

    /// The key with this id.
    pub(super) fn find(&self, kid: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.kid == kid)
    }
}

fn usable(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|o| o == "verify"));
    if !signs {
        return None;
    }
    let (key, algorithms) = match (jwk.kty.as_str(), jwk.crv.as_str()) {
        ("RSA", _) => (DecodingKey::from_rsa_components(&jwk.n, &jwk.e), RSA),
        ("EC", "P-256") => (DecodingKey::from_ec_components(&jwk.x, &jwk.y), &[Algorithm::ES256][..]),
        ("EC", "P-384") => (DecodingKey::from_ec_components(&jwk.x, &jwk.y), &[Algorithm::ES384][..]),
        ("OKP", "Ed25519") => (DecodingKey::from_ed_components(&jwk.x), &[Algorithm::EdDSA][..]),
        _ => return None,
    };
    let named = |algorithm: &&Algorithm| jwk.alg.as_ref().is_none_or(|alg| *alg == format!("{algorithm:?}"));
    let algorithms: Vec<Algorithm> = algorithms.iter().filter(named).copied().collect();
    (!algorithms.is_empty()).then_some(Key { kid: jwk.kid, algorithms, verifies: key.ok()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The algorithms of the one key in a set; none if it is not taken.
    fn algorithms(jwk: &Value) -> Option<Vec<Algorithm>> {
        let keys = Keys::parse(json!({"keys": [jwk]}).to_string().as_bytes()).ok()?;
        Some(keys.find("k").expect("it is called k").algorithms.clone())
    }

    #[test]
    fn the_type_of_a_key_says_what_it_is_for() {
        let rsa = json!({"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"});
        assert_eq!(algorithms(&rsa).unwrap(), RSA);
        let with = |base: &Value, field: &str, value: Value| {
            let mut changed = base.clone();
            changed[field] = value;
            algorithms(&changed)
        };
        assert_eq!(with(&rsa, "alg", json!("RS256")), Some(vec![Algorithm::RS256]));
        for (field, value) in [
            ("alg", json!("HS256")),
            ("alg", json!("none")),
            ("alg", json!("ES256")),
            ("use", json!("enc")),
            ("key_ops", json!(["sign"])),
            ("kty", json!("oct")),
            ("kty", json!(7)),
            ("n", json!("not base64!")),
            ("kid", Value::Null),
        ] {
            assert_eq!(with(&rsa, field, value.clone()), None, "{field} = {value}");
        }
        let ec = json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": "AQAB", "y": "AQAB", "use": "sig"});
        assert_eq!(algorithms(&ec), Some(vec![Algorithm::ES256]));
        assert_eq!(with(&ec, "crv", json!("P-384")), Some(vec![Algorithm::ES384]));
        assert_eq!(with(&ec, "crv", json!("secp256k1")), None);
        let ed = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "AQAB"});
        assert_eq!(algorithms(&ed), Some(vec![Algorithm::EdDSA]));
        assert_eq!(with(&ed, "crv", json!("X25519")), None);
        assert_eq!(algorithms(&json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0"})), None);
    }

    #[test]
    fn a_set_without_use_or_bounds_is_refused_and_says_why() {
        let many: Vec<_> = (0..=MOST)
            .map(|n| json!({"kty": "RSA", "kid": n.to_string(), "n": "AQAB", "e": "AQAB"}))
            .collect();
        for (set, problem) in [
            (json!({"keys": many}), "65 keys"),
            (json!({"keys": []}), "no key that is usable"),
            (json!({"key": []}), "no key set"),
            (json!([]), "no key set"),
        ] {
            let refused = Keys::parse(set.to_string().as_bytes()).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
