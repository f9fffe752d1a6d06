//! The configuration. `example.toml` beside `src/` shows all of it.

use std::path::PathBuf;

use pullpass_database::DatabaseConfig;
use pullpass_runtime::config::ServerConfig;
use serde::{Deserialize, Serialize};

/// What credential-store needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File with the key that wraps all data keys: 32 random bytes in base64. Nobody but its owner, and perhaps its
    /// group, may read it. Without it no credential can be opened: keep a copy apart from the database's backups.
    pub key_encryption_key: PathBuf,
    /// PEM file with the Ed25519 public key of the one who issues tickets.
    pub ticket_public_key: PathBuf,
    /// Where sealed credentials are kept.
    pub database: DatabaseConfig,
    /// Address, TLS, roles, telemetry.
    pub server: ServerConfig,
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

    #[test]
    fn the_shipped_example_is_a_configuration_and_comes_back_as_it_was() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
        let config: Config = pullpass_runtime::config::load(&example).unwrap();
        assert_eq!(config.server.roles.len(), 2);
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&written).unwrap(), config);
    }
}
