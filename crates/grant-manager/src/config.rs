//! What the service has to be told.

use std::path::PathBuf;

use pullpass_database::DatabaseConfig;
use pullpass_recovery::AuditConfig;
use pullpass_runtime::config::ServerConfig;
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The Ed25519 key in PKCS #8 PEM that signs tickets. The file must be readable by its owner alone, or also by a group
    /// if it belongs to root.
    pub ticket_signing_key: PathBuf,
    /// Where links, grants, clusters and the audit trail are kept.
    pub database: DatabaseConfig,
    /// How the audit trail is chained, and how an older copy of the database is noticed.
    pub audit: AuditConfig,
    /// Listening, TLS, roles, telemetry and limits.
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
    fn the_example_is_a_configuration() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
        let config: Config = pullpass_runtime::config::load(&file).unwrap();
        let roles = &config.server.roles;
        let methods: Vec<&String> = roles.iter().flat_map(|role| &role.methods).collect();
        let service = pullpass_api::service::GRANT_MANAGER;
        let mut named: Vec<&str> =
            methods.iter().filter_map(|m| m.strip_prefix(service)?.strip_prefix('/')).collect();
        named.sort_unstable();
        named.dedup();
        assert_eq!(named.len(), 22, "the example gives every method to somebody: {named:?}");
    }
}
