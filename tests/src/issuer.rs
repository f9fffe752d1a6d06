//! An OIDC issuer of tokens whose keys are in a file, for the services to be told of by `jwks_file`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::KeyPair;
use serde_json::json;
use time::OffsetDateTime;

/// What tokens for the services are for.
pub const AUDIENCE: &str = "pullpass";
const KEY_ID: &str = "e2e";

/// Signs tokens.
pub struct Issuer {
    key: EncodingKey,
    url: String,
    file: PathBuf,
}

impl Issuer {
    /// Makes a key, and writes its public half into `folder`.
    pub fn new(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let pem = KeyPair::generate().context("failed to make the issuer's key")?.serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes())?;
        let mut public = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256)?)?;
        public["kid"] = json!(KEY_ID);
        let file = folder.join(format!("{name}-jwks.json"));
        std::fs::write(&file, json!({"keys": [public]}).to_string())?;
        Ok(Self { key, url: format!("https://{name}.example.org"), file })
    }

    /// The section of a service's configuration for it, by the name `name`.
    pub fn section(&self, name: &str) -> toml::Value {
        let mut section = toml::Table::new();
        for (field, value) in [("name", name), ("issuer", &self.url), ("audience", AUDIENCE)] {
            section.insert(field.to_owned(), value.into());
        }
        section.insert("jwks_file".to_owned(), self.file.display().to_string().into());
        section.into()
    }

    /// A token of `subject` that ends so many seconds from now.
    pub fn token(&self, subject: &str, seconds: i64) -> String {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let claims = json!({
            "iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now - 60, "exp": now + seconds,
        });
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("a token can be signed")
    }
}
