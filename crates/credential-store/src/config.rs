//! The configuration. `example.toml` beside `src/` shows all of it.

use std::path::PathBuf;

use anyhow::ensure;
use pullpass_database::DatabaseConfig;
use pullpass_recovery::AuditConfig;
use pullpass_runtime::config::ServerConfig;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// What credential-store needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the keys come from that wrap the data keys.
    pub key_encryption: KeyEncryptionConfig,
    /// PEM file with the Ed25519 public key of the one who issues tickets.
    pub ticket_public_key: PathBuf,
    /// Where sealed credentials are kept.
    pub database: DatabaseConfig,
    /// How the audit trail is chained, and how an older copy of the database is noticed.
    pub audit: AuditConfig,
    /// Address, TLS, roles, telemetry.
    pub server: ServerConfig,
    /// What `key_encryption` was before there were several keys; it says what to write instead.
    #[serde(skip_serializing)]
    pub key_encryption_key: Option<Moved>,
}

/// Where the keys come from that wrap the data keys. All that is named here opens; `provider` seals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEncryptionConfig {
    /// Who wraps the data keys of new material, and re-wraps all others on `pullpass keys rotate`.
    pub provider: KeyProvider,
    /// File with a key: 32 random bytes in base64. Nobody but its owner, and perhaps its group, may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Further such files, which only open: the former key until `pullpass keys rotate` is done, and where several replicas
    /// run, the coming one before any of them seals with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<PathBuf>,
    /// Unix socket of a Kubernetes KMS v2 plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Seconds that a call of the plugin may take.
    #[serde(default = "three")]
    pub timeout_seconds: u64,
}

/// Who wraps data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyProvider {
    /// The key in `file`.
    File,
    /// Keys that the KMS v2 plugin at `socket` keeps for us.
    Kms,
}

impl KeyEncryptionConfig {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let (file, kms) = (self.provider == KeyProvider::File, self.provider == KeyProvider::Kms);
        ensure!(
            !file || self.file.is_some(),
            "key_encryption.file is missing: provider = \"file\" needs the file with the key"
        );
        ensure!(
            !kms || self.socket.is_some(),
            "key_encryption.socket is missing: provider = \"kms\" needs the Unix socket of the KMS v2 plugin"
        );
        ensure!(self.timeout_seconds > 0, "key_encryption.timeout_seconds must be at least 1");
        Ok(())
    }
}

fn three() -> u64 {
    3
}

/// A field that nobody can have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {}

impl<'de> Deserialize<'de> for Moved {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = String::deserialize(deserializer)?;
        Err(D::Error::custom(format!(
            "key_encryption_key has become a section: write `[key_encryption]` with `provider = \"file\"` and \
             `file = {file:?}`"
        )))
    }
}

impl AsRef<ServerConfig> for Config {
    fn as_ref(&self) -> &ServerConfig {
        &self.server
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn example() -> String {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
        std::fs::read_to_string(example).unwrap()
    }

    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        pullpass_runtime::config::load(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn the_shipped_example_is_a_configuration_and_comes_back_as_it_was() {
        let config = load(&example()).unwrap();
        config.key_encryption.check().unwrap();
        assert_eq!(config.server.roles.len(), 3);
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&written).unwrap(), config);
    }

    #[test]
    fn the_field_of_before_says_what_to_write_instead() {
        let error = load(&format!("key_encryption_key = \"/k\"\n{}", example())).unwrap_err();
        assert!(error.contains("[key_encryption]") && error.contains("file = \"/k\""), "{error}");
        let start = example().find("[key_encryption]").unwrap();
        let end = start + example()[start..].find("\n\n").unwrap();
        let before = example().replace(&example()[start..end], "");
        let error = load(&format!("key_encryption_key = \"/k\"\n{before}")).unwrap_err();
        assert!(error.contains("file = \"/k\""), "also alone: {error}");
    }

    #[test]
    fn a_provider_without_what_it_needs_is_named() {
        let config = |text: &str| toml::from_str::<KeyEncryptionConfig>(text).unwrap();
        for (text, field) in [
            ("provider = \"file\"", "key_encryption.file"),
            ("provider = \"file\"\nsocket = \"/s\"", "key_encryption.file"),
            ("provider = \"kms\"\nfile = \"/k\"", "key_encryption.socket"),
            ("provider = \"kms\"\nsocket = \"/s\"\ntimeout_seconds = 0", "key_encryption.timeout_seconds"),
        ] {
            let error = config(text).check().unwrap_err().to_string();
            assert!(error.starts_with(field), "{text}: {error}");
        }
        config("provider = \"kms\"\nsocket = \"/s\"\nfile = \"/k\"\nothers = [\"/o\"]").check().unwrap();
        assert!(toml::from_str::<KeyEncryptionConfig>("provider = \"vault\"").is_err());
    }

    #[test]
    fn the_example_shows_every_field_of_an_issuer() {
        let (_, issuer) = include_str!("../example.toml").split_once("# [[server.issuers]]").unwrap();
        let fields: Vec<_> = issuer.lines().filter_map(|line| line.strip_prefix("# ")).collect();
        let fields: Vec<_> = fields.into_iter().filter(|line| line.contains(" = ")).collect();
        let issuer: pullpass_runtime::token::IssuerConfig = toml::from_str(&fields.join("\n")).unwrap();
        assert_eq!((issuer.name.as_str(), fields.len()), ("cluster-a", 6));
        assert!(issuer.jwks_uri.is_some() && issuer.jwks_file.is_some() && issuer.authorities.is_some());
    }
}
