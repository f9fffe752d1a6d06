//! Configuration: a TOML file, then environment variables `PULLPASS__SECTION__FIELD` on top.
//!
//! Every section refuses fields it does not know, so that a misspelled setting is an error and not a surprise.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ::config::{Config, ConfigError, Environment, File, FileFormat, Value};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{identity::SpiffeId, role::Role, token::IssuerConfig};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is absent, unreadable, no TOML, or does not say what it has to.
    #[error("invalid configuration {}: {message}", file.display())]
    Invalid {
        /// The file that was read.
        file: PathBuf,
        /// What is wrong, with the name of the field.
        message: String,
    },
}

/// Reads `file`, lays the environment over it, and checks the whole against `T`.
pub fn load<T: DeserializeOwned>(file: &Path) -> Result<T, Error> {
    load_with(file, None)
}

fn load_with<T: DeserializeOwned>(
    file: &Path,
    environment: Option<HashMap<String, String>>,
) -> Result<T, Error> {
    let source =
        Environment::with_prefix("PULLPASS").prefix_separator("__").separator("__").source(environment);
    Config::builder()
        .add_source(File::from(file).format(FileFormat::Toml))
        .add_source(source)
        .build()
        .and_then(|config| renamed(&config).map_or_else(|| config.try_deserialize(), Err))
        .map_err(|e| Error::Invalid { file: file.to_owned(), message: e.to_string() })
}

/// What an earlier version called otherwise is told by its new name.
fn renamed(config: &Config) -> Option<ConfigError> {
    let old = config.get::<Value>("server.authorization").is_ok();
    old.then(|| {
        ConfigError::Message(
            "[[server.authorization]] is called [[server.roles]] now, and each role has a `name`: rename the \
             sections, and give each a name such as \"platform\""
                .to_owned(),
        )
    })
}

/// What every service that listens needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// The address to listen on, as in `0.0.0.0:8443`.
    pub listen: SocketAddr,
    /// Own certificate, key and trusted authorities.
    pub tls: TlsConfig,
    /// Who may call what. Nobody may call anything that no role names.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// Whose tokens also say who is calling. Without any, every caller needs a certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerConfig>,
    /// Logs, traces and metrics.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Bounds on what callers can make the service hold.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Serve gRPC reflection, to the principals that a role allows `grpc.reflection.v1.ServerReflection/*`.
    #[serde(default)]
    pub reflection: bool,
    /// How many seconds a graceful stop may take before what still runs is cut off.
    #[serde(default = "ten")]
    pub shutdown_seconds: u64,
}

fn ten() -> u64 {
    10
}

/// The files that prove who we are and say whom we believe. They are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with our certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// PEM file with the private key of the certificate.
    pub key: PathBuf,
    /// PEM file with the certificates of the authorities that we trust.
    pub authorities: PathBuf,
    /// The SPIFFE trust domain of ourselves and all our peers, as in `example.org`.
    pub trust_domain: String,
}

/// A service that we call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Where it listens, as `host:port`.
    pub endpoint: String,
    /// Who must answer there; anybody else is refused.
    pub identity: SpiffeId,
}

/// Logs, traces and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// What to log, as in `info` or `info,pullpass_runtime=debug`.
    pub log: String,
    /// How a log line is written.
    pub log_format: LogFormat,
    /// Where to send traces by OTLP over gRPC, as in `http://collector:4317`. Nowhere if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// Where to serve Prometheus metrics over HTTP, as in `127.0.0.1:9090`. Nowhere if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<SocketAddr>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info".to_owned(),
            log_format: LogFormat::Json,
            otlp_endpoint: None,
            metrics_listen: None,
        }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

/// Bounds on what callers can make the service hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Seconds that the handshake of a connection may take: TLS and the first words of HTTP/2.
    pub handshake_seconds: u64,
    /// Connections in their handshake at one time. With more, the one that has taken longest gives way to the newest.
    pub max_handshakes: usize,
    /// Authenticated connections at one time. More wait for room for the rest of their `handshake_seconds`.
    pub max_connections: usize,
    /// The same of one principal; more are refused with the reason, at once. Connections without a certificate, which bring
    /// tokens, count by the address that they come from, and may take half of `max_connections` together.
    pub max_connections_per_principal: usize,
    /// Calls, streams among them, at one time by one connection; a client waits with more of them.
    pub max_streams_per_connection: u32,
    /// The same of one principal by all its connections; more are refused with `RESOURCE_EXHAUSTED`.
    pub max_streams_per_principal: usize,
    /// Seconds after which a connection without a call is ended; a client opens it again when it needs it.
    pub idle_seconds: u64,
    /// Bytes of one request message. The service hands it to `max_decoding_message_size` of its generated server.
    pub max_message_bytes: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            handshake_seconds: 5,
            max_handshakes: 256,
            max_connections: 1024,
            max_connections_per_principal: 64,
            max_streams_per_connection: 256,
            max_streams_per_principal: 1024,
            idle_seconds: 900,
            max_message_bytes: 4 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [server]
        listen = "127.0.0.1:8443"
        tls = { certificate = "tls.crt", key = "tls.key", authorities = "ca.crt", trust_domain = "example.org" }

        [[server.roles]]
        name = "applier"
        principals = ["spiffe://example.org/applier/*"]
        methods = ["pullpass.grant.v1.GrantManager/IssueTicket"]
    "#;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Service {
        server: ServerConfig,
    }

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Service, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("service.toml");
        std::fs::write(&file, text).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        load_with(&file, Some(environment)).map_err(|e| e.to_string())
    }

    #[test]
    fn what_the_file_leaves_out_has_its_default() {
        let server = load(FILE, &[]).unwrap().server;
        assert_eq!((server.shutdown_seconds, server.reflection), (10, false));
        assert_eq!((server.telemetry, server.limits), (TelemetryConfig::default(), LimitsConfig::default()));
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let server = load(
            FILE,
            &[
                ("PULLPASS__SERVER__LISTEN", "127.0.0.1:1"),
                ("PULLPASS__SERVER__REFLECTION", "true"),
                ("PULLPASS__SERVER__TLS__TRUST_DOMAIN", "0123"),
                ("PULLPASS__SERVER__LIMITS__MAX_CONNECTIONS", "7"),
                ("PULLPASS_CONFIG", "/somewhere"),
                ("SERVER__LISTEN", "ignored"),
            ],
        )
        .unwrap()
        .server;
        assert_eq!(server.listen.port(), 1);
        assert!(server.reflection);
        assert_eq!(server.tls.trust_domain, "0123");
        assert_eq!(server.limits.max_connections, 7);
        assert_eq!(server.tls.key, Path::new("tls.key"), "its neighbours stay as they were");
    }

    #[test]
    fn errors_name_the_file_and_the_field() {
        for (from, to, field) in [
            ("listen =", "lisen =", "lisen"),
            ("key =", "keys =", "keys"),
            ("[[server.", "[[servers.", "servers"),
            ("methods =", "method =", "method"),
            ("127.0.0.1:8443", "8443", "server.listen"),
            ("spiffe://example.org/applier/*", "applier", "server.roles"),
            ("/IssueTicket", ".IssueTicket", "roles.methods"),
            ("\"applier\"", "\"The Applier\"", "roles.name"),
            ("[[server.roles]]", "[[server.authorization]]", "[[server.roles]] now"),
            ("[server]", "[server", "TOML"),
        ] {
            let error = load(&FILE.replace(from, to), &[]).unwrap_err();
            assert!(
                error.contains("service.toml") && error.contains(field),
                "{error:?} does not name {field:?}"
            );
        }
        let error = load(FILE, &[("PULLPASS__SERVER__LISTENS", "x")]).unwrap_err();
        assert!(error.contains("listens"), "{error}");
        let error = load(FILE, &[("PULLPASS__SERVER__LISTEN", "x")]).unwrap_err();
        assert!(error.contains("server.listen"), "{error}");
        let error = load_with::<Service>(Path::new("/no/such.toml"), None).unwrap_err().to_string();
        assert!(error.contains("/no/such.toml"), "{error}");
    }

    #[test]
    fn a_configuration_that_is_written_can_be_read() {
        let config = load(FILE, &[]).unwrap();
        assert_eq!(load(&toml::to_string(&config).unwrap(), &[]).unwrap(), config);
    }
}
