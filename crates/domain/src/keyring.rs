//! The kubelet's keyring: which credentials it tries for an image, and in which order.
//!
//! This models the kubelet (`pkg/credentialprovider`), not Pullpass: it is lenient where the kubelet is lenient and fails
//! where the kubelet fails. Only the reading of JSON and of the `auth` field is shared with
//! [`docker_config`](crate::docker_config). What differs from the kubelet:
//!
//! - the limits of the JSON reader (nesting, numbers beyond a 64-bit float);
//! - keys of one file with the same place are ordered by key; the kubelet's order is random;
//! - a user name that is not UTF-8 is shown with replacement characters;
//! - node configuration and credential plugins, which come after the Secrets, are left out.

use std::collections::BTreeMap;

use crate::docker_config::json::go_text;
use crate::docker_config::{Entry, SecretType};
use crate::image::ImageRef;
use crate::secret::SecretBytes;

mod decode;
pub(crate) mod location;

use location::{DOCKER_HUB, Location};

/// Why the kubelet could not build a keyring: every pull of the Pod that needs a credential then fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The data of a Secret is no JSON.
    #[error("pull secret {index} is not JSON")]
    NotJson {
        /// Position in the Pod's list, from 0.
        index: usize,
    },
    /// A field of a Secret has the wrong type.
    #[error("pull secret {index}: {field} is {found}")]
    WrongType {
        /// Position in the Pod's list, from 0.
        index: usize,
        /// The field, or what is in its place.
        field: &'static str,
        /// What was found, "a number" for instance.
        found: &'static str,
    },
    /// The `auth` of an entry does not decode to user name and password.
    #[error("pull secret {index}: an auth field is not the base64 of username:password")]
    Auth {
        /// Position in the Pod's list, from 0.
        index: usize,
    },
}

/// A credential that the kubelet tries for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    key: String,
    username: String,
    password: SecretBytes,
}

impl Match {
    /// The registry key, as it stands in the Secret.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The user name; empty for a blank entry.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password; empty for a blank entry.
    pub fn password(&self) -> &SecretBytes {
        &self.password
    }
}

/// All credentials of a Pod's pull secrets.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    places: BTreeMap<Vec<u8>, (Location, Vec<Match>)>,
}

impl Keyring {
    /// Reads the Secrets in the order of the Pod's `imagePullSecrets`; empty ones are skipped.
    pub fn from_secrets(secrets: &[(SecretType, &[u8])]) -> Result<Self, Error> {
        let mut keyring = Self::default();
        for (index, (secret_type, data)) in secrets.iter().enumerate() {
            if data.is_empty() {
                continue;
            }
            let entries =
                decode::entries(*secret_type, &go_text(data)).map_err(|error| error.of_secret(index))?;
            for entry in entries {
                keyring.add(entry);
            }
        }
        Ok(keyring)
    }

    fn add(&mut self, credential: Match) {
        if let Some(location) = Location::parse(&credential.key) {
            let place = location.place().to_vec();
            self.places.entry(place).or_insert_with(|| (location, Vec::new())).1.push(credential);
        }
    }

    /// Whether the kubelet finds this entry: a file of the form of the other Secret type parses, and is of no use to it.
    pub fn offers(&self, entry: &Entry) -> bool {
        self.places.values().flat_map(|(_, credentials)| credentials).any(|found| {
            found.key == entry.registry()
                && found.username == entry.username()
                && found.password.expose() == entry.password().expose().as_bytes()
        })
    }

    /// Every credential that the kubelet tries, in its order; none means an anonymous pull.
    pub fn lookup(&self, image: &ImageRef) -> Vec<&Match> {
        let found: Vec<&Match> = (self.places.values().rev())
            .filter(|(location, _)| location.matches(image))
            .flat_map(|(_, credentials)| credentials)
            .collect();
        match self.places.get(DOCKER_HUB) {
            Some((_, hub)) if found.is_empty() && falls_back_to_docker_hub(image) => hub.iter().collect(),
            _ => found,
        }
    }
}

/// Not only Docker Hub: every host without dot and port, `localhost` for one.
fn falls_back_to_docker_hub(image: &ImageRef) -> bool {
    image.host() == "docker.io" || !image.host().contains(['.', ':'])
}

#[cfg(test)]
mod tests;
