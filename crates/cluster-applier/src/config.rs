//! What an operator can set. `example.toml` shows every field and is parsed by a test.

use std::path::PathBuf;

use pullpass_runtime::config::{PeerConfig, ServerConfig};
use serde::{Deserialize, Serialize};

/// The configuration of cluster-applier. Which cluster it serves is not said here: that follows from its certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File with the way to the API server and the right to use it. Absent: `KUBECONFIG`, `~/.kube/config`, or the
    /// service account of the pod, whichever is there first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// How many namespaces are worked on, and how many requests are under way to the API server, at one time.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// Where we listen, who we are and who may call us.
    pub server: ServerConfig,
    /// Who says what the cluster shall look like.
    pub grant_manager: PeerConfig,
    /// Who gives out the Secrets' content.
    pub credential_store: PeerConfig,
}

fn in_flight() -> usize {
    32
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
    fn the_shipped_example_parses_and_comes_back_as_it_was() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
        let config: Config = pullpass_runtime::config::load(&file).expect("the example is valid");
        assert_eq!(config.in_flight, 32);
        let text = toml::to_string(&config).expect("a config can be written");
        let copy = std::env::temp_dir().join(format!("pullpass-applier-config-{}.toml", std::process::id()));
        std::fs::write(&copy, text).expect("written");
        let back: Config = pullpass_runtime::config::load(&copy).expect("what was written is valid");
        std::fs::remove_file(&copy).expect("removed");
        assert_eq!(back, config);
    }
}
