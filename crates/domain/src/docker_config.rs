//! Registry credentials as Docker writes them: taken in, checked, merged, and rendered as a Secret.
//!
//! ```text
//! .dockercfg or config.json ── parse ──┐
//! server, username, password ─ login ──┴─▶ DockerConfig ── merge ──▶ DockerConfig ── render ──▶ bytes of a Secret
//! ```
//!
//! Whatever the kubelet would choke on, or could never use, is refused here, by name of the entry: see [`Error`]. What is
//! accepted makes the kubelet choose the same user name and password for every image as the input would
//! ([`keyring`](crate::keyring) tells which).
//!
//! To store a config, seal the bytes of `render(SecretType::DockerConfigJson)` and `parse` them again: that is an exact
//! round trip (only [`warnings`](DockerConfig::warnings) about the original file are not kept).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::secret::{Password, SecretBytes};

pub(crate) mod auth;
mod entry;
mod error;
pub(crate) mod json;
mod parse;
mod render;

pub use entry::Entry;
pub use error::Error;
use error::shown;

/// Most bytes that a Secret holds.
pub const MAX_BYTES: usize = 1_048_576;

/// Places that people take for Docker Hub's.
const NOT_DOCKER_HUB: [&str; 3] = ["registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com"];

/// The two Secret types that the kubelet takes registry credentials from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretType {
    /// `kubernetes.io/dockerconfigjson`.
    DockerConfigJson,
    /// `kubernetes.io/dockercfg`.
    Dockercfg,
}

impl SecretType {
    /// The Secret's `type`.
    pub fn kubernetes_type(self) -> &'static str {
        match self {
            Self::DockerConfigJson => "kubernetes.io/dockerconfigjson",
            Self::Dockercfg => "kubernetes.io/dockercfg",
        }
    }

    /// The one key of the Secret's `data`.
    pub fn data_key(self) -> &'static str {
        match self {
            Self::DockerConfigJson => ".dockerconfigjson",
            Self::Dockercfg => ".dockercfg",
        }
    }
}

/// A remark on an accepted config; `Display` gives the text for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A token of `docker login` that never serves an image, and so was not taken over.
    LoginTokenLeftOut(String),
    /// The fields username or password say something else than `auth`, which the kubelet prefers.
    AuthWins(String),
    /// A host that does not serve images named for Docker Hub.
    NotDockerHub(String),
}

impl Warning {
    /// The registry key it is about.
    pub fn entry(&self) -> &str {
        match self {
            Self::LoginTokenLeftOut(entry) | Self::AuthWins(entry) | Self::NotDockerHub(entry) => entry,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::LoginTokenLeftOut(_) => "is a login token that never serves an image; it was left out",
            Self::AuthWins(_) => "has an auth that differs from its username or password; auth is used",
            Self::NotDockerHub(_) => {
                "serves only images named with that host; for Docker Hub write https://index.docker.io/v1/"
            }
        };
        write!(f, "entry {:?} {text}", self.entry())
    }
}

/// A checked set of registry entries, at least one, ordered by registry key.
///
/// Two configs are equal if their entries are; warnings do not count.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    entries: Vec<Entry>,
    warnings: Vec<Warning>,
}

impl PartialEq for DockerConfig {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for DockerConfig {}

impl DockerConfig {
    /// Reads a `.dockercfg` or a `config.json`, told apart by content: a top-level field of a config.json makes it one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let parsed = parse::parse(bytes)?;
        let entries: Vec<Entry> = parsed.entries.into_values().collect();
        refuse_ambiguity(&entries)?;
        Self::new(entries, parsed.warnings).that_fits()
    }

    /// One entry from what `oc create secret docker-registry` takes; the email may be empty.
    pub fn from_login(server: &str, username: &str, password: Password, email: &str) -> Result<Self, Error> {
        if server.is_empty() {
            return Err(Error::NoServer);
        }
        Self::new(vec![Entry::new(server, username, password, email)?], Vec::new()).that_fits()
    }

    /// The entries of all configs. For keys that are one to the kubelet, those of the first config that has them win, as
    /// the kubelet would try them first were the configs Secrets of a Pod in this order.
    ///
    /// The result may be too large to render, and is empty if there are no configs.
    pub fn merge(configs: &[Self]) -> Self {
        let (mut taken, mut entries) = (BTreeSet::new(), BTreeMap::new());
        for config in configs {
            let new = config.entries.iter().filter(|entry| !taken.contains(entry.place()));
            entries.extend(new.map(|entry| (entry.registry(), entry)));
            taken.extend(config.entries.iter().map(Entry::place));
        }
        Self::new(entries.into_values().cloned().collect(), Vec::new())
    }

    fn new(entries: Vec<Entry>, mut warnings: Vec<Warning>) -> Self {
        let not_hub = |entry: &&Entry| NOT_DOCKER_HUB.iter().any(|place| place.as_bytes() == entry.place());
        warnings.extend(
            entries.iter().filter(not_hub).map(|entry| Warning::NotDockerHub(shown(entry.registry()))),
        );
        Self { entries, warnings }
    }

    fn that_fits(self) -> Result<Self, Error> {
        self.render(SecretType::DockerConfigJson).map(|_| self)
    }

    /// The bytes under the Secret's data key, as `oc create secret docker-registry` writes them.
    pub fn render(&self, secret_type: SecretType) -> Result<SecretBytes, Error> {
        render::render(&self.entries, secret_type)
    }

    /// The entries, ordered by registry key.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What the user should know though nothing is refused.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Registry key and user name of each entry, for display.
    pub fn summaries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (entry.registry(), entry.username()))
    }
}

/// The kubelet tries entries with the same place in random order, so they must agree.
fn refuse_ambiguity(entries: &[Entry]) -> Result<(), Error> {
    let mut by_place = BTreeMap::new();
    for entry in entries {
        let first: &Entry = by_place.entry(entry.place()).or_insert(entry);
        if !first.has_same_credential(entry) {
            return Err(Error::Ambiguous(shown(first.registry()), shown(entry.registry())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
