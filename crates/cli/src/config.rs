//! `client.toml`: where the services are, and who we are to them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use pullpass_runtime::config::{LogFormat, PeerConfig, TelemetryConfig, TlsConfig};
use serde::{Deserialize, Serialize};

/// What the `pullpass` command needs to know. `pullpass dev` writes one; variables such as
/// `PULLPASS__CREDENTIAL_STORE__ENDPOINT` override its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// The clusters that links and grants are for when no `--cluster` is given, by their bare names.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// A file with a token of an issuer that the services accept, instead of a certificate; read again for each call.
    /// `--token-file` and `PULLPASS_TOKEN_FILE` override it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Our own certificate, its key, and whom we trust.
    pub tls: ClientTls,
    /// The credential-store.
    pub credential_store: PeerConfig,
    /// The grant-manager.
    pub grant_manager: PeerConfig,
    /// The cluster-applier of each cluster, by the cluster's bare name. Only `plan` and `--dry-run` ask them.
    #[serde(default)]
    pub appliers: BTreeMap<String, PeerConfig>,
    /// Traces and warnings of the command itself.
    #[serde(default)]
    pub telemetry: ClientTelemetry,
}

/// Our own certificate, its key, and whom we trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// PEM file with our certificate, followed by its intermediates. Not needed with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// PEM file with the certificates of the authorities that we trust.
    pub authorities: PathBuf,
    /// The SPIFFE trust domain of ourselves and the services, as in `example.org`.
    pub trust_domain: String,
}

impl ClientTls {
    /// The files that prove who we are by a certificate, if there is one.
    pub fn certified(&self) -> Option<TlsConfig> {
        Some(TlsConfig {
            certificate: self.certificate.clone()?,
            key: self.key.clone()?,
            authorities: self.authorities.clone(),
            trust_domain: self.trust_domain.clone(),
        })
    }
}

impl From<TlsConfig> for ClientTls {
    fn from(tls: TlsConfig) -> Self {
        let TlsConfig { certificate, key, authorities, trust_domain } = tls;
        Self { certificate: Some(certificate), key: Some(key), authorities, trust_domain }
    }
}

/// Traces and warnings of the command itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTelemetry {
    /// Where to send traces by OTLP over gRPC, as in `http://collector:4317`. Nowhere if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// What to log on stderr, as in `warn` or `debug`.
    pub log: String,
}

impl Default for ClientTelemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, log: "warn".to_owned() }
    }
}

impl From<&ClientTelemetry> for TelemetryConfig {
    fn from(telemetry: &ClientTelemetry) -> Self {
        Self {
            log: telemetry.log.clone(),
            log_format: LogFormat::Text,
            otlp_endpoint: telemetry.otlp_endpoint.clone(),
            metrics_listen: None,
        }
    }
}

/// Why there is no configuration to work with. A mistake of usage: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody said which.
    #[error(
        "no configuration is given: use `--config DIR/client.toml` or PULLPASS_CONFIG (`pullpass dev --state-dir DIR` makes one)"
    )]
    NotGiven,
    /// The file is not there.
    #[error("the configuration {} does not exist: check `--config` or PULLPASS_CONFIG", .0.display())]
    Absent(PathBuf),
    /// The file does not say what it has to.
    #[error(transparent)]
    Invalid(#[from] pullpass_runtime::config::Error),
}

impl ClientConfig {
    /// Reads `file`, with the environment on top.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        let file = file.ok_or(Error::NotGiven)?;
        if !file.exists() {
            return Err(Error::Absent(file.to_owned()));
        }
        Ok(pullpass_runtime::config::load(file)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_example_is_a_configuration_and_comes_back_as_it_was() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
        let config = ClientConfig::load(Some(&file)).unwrap();
        assert!(config.appliers.contains_key("prod"));
        assert_eq!(toml::from_str::<ClientConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn a_misspelled_field_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.toml");
        let example = include_str!("../example.toml").replace("grant_manager", "grants_manager");
        std::fs::write(&file, example).unwrap();
        let error = ClientConfig::load(Some(&file)).unwrap_err();
        assert!(error.to_string().contains("grant"), "{error}");
    }
}
