//! What an operator can set. `example.toml` shows every field and is parsed by a test.

use std::{num::NonZeroU16, path::PathBuf, time::Duration};

use pullpass_runtime::{
    Clock,
    config::{PeerConfig, ServerConfig},
};
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
    /// The Lease by which several appliers of one cluster agree on who is active; the others stand by. Absent: this is the
    /// only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseConfig>,
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

/// The Lease (`coordination.k8s.io/v1`) of the appliers of one cluster, in that cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseConfig {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    #[serde(default = "lease_name")]
    pub name: String,
    /// How we are called in it; something random is added, so that no two are ever called the same. Absent: the host name,
    /// which in a pod is the pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// So many seconds after its last sign of life another takes over from an applier that did not say goodbye. It renews
    /// after a third of that, and stops writing after two.
    #[serde(default = "duration_seconds")]
    pub duration_seconds: NonZeroU16,
}

fn lease_name() -> String {
    "pullpass-cluster-applier".to_owned()
}

fn duration_seconds() -> NonZeroU16 {
    const FIFTEEN: NonZeroU16 = NonZeroU16::MIN.saturating_add(14);
    FIFTEEN
}

impl LeaseConfig {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.duration_seconds.get().into())
    }

    /// The name of this process in the Lease.
    pub(crate) fn identity(&self, clock: &Clock) -> String {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = self.holder.clone().unwrap_or_else(host);
        format!("{}_{}", name.trim(), clock.new_id())
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

    #[test]
    fn the_lease_is_off_unless_asked_for_and_the_example_shows_every_field_of_it() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
        let example = std::fs::read_to_string(file).expect("the example");
        assert_eq!(toml::from_str::<Config>(&example).expect("it is valid").lease, None);
        let (_, lease) = example.split_once("# [lease]").expect("the section");
        let settings: Vec<_> = lease.lines().filter(|line| line.contains(" = ")).collect();
        let settings: Vec<_> = settings.iter().map(|line| line.trim_start_matches("# ")).collect();
        let lease: LeaseConfig =
            toml::from_str(&settings.join("\n")).expect("the commented section is valid");
        let defaults: LeaseConfig =
            toml::from_str("namespace = 'pullpass'").expect("only the namespace is needed");
        assert_eq!(lease, LeaseConfig { holder: Some("cluster-applier-0".into()), ..defaults });
        assert_eq!(settings.len(), 4, "{settings:?}");
        let endless = toml::from_str::<LeaseConfig>("namespace = 'pullpass'\nduration_seconds = 0");
        assert!(endless.is_err_and(|problem| problem.to_string().contains("duration_seconds")));
    }

    #[test]
    fn no_two_are_called_the_same_whatever_is_configured() {
        let lease: LeaseConfig = toml::from_str("namespace = 'pullpass'\nholder = 'one'").expect("valid");
        let (first, second) = (lease.identity(&Clock::system()), lease.identity(&Clock::system()));
        assert!(first.starts_with("one_") && first != second, "{first} {second}");
    }
}
