//! One registry entry, and what makes it one the kubelet can use.

use super::error::{Error, shown};
use crate::keyring::location::Location;
use crate::secret::Password;

/// One registry's credential. The key serves some image, and user name and password are not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    registry: String,
    place: Vec<u8>,
    username: String,
    password: Password,
    email: String,
}

impl Entry {
    pub(super) fn new(
        registry: &str,
        username: &str,
        password: Password,
        email: &str,
    ) -> Result<Self, Error> {
        let place = checked_place(registry)?;
        let refuse = |error: fn(String) -> Error| Err(error(shown(registry)));
        match (username.is_empty(), password.is_empty()) {
            (true, true) => return refuse(Error::Blank),
            (true, false) => return refuse(Error::NoUsername),
            (false, true) => return refuse(Error::NoPassword),
            (false, false) => {}
        }
        if username.contains(':') {
            return refuse(Error::UsernameColon);
        }
        if username.contains(char::is_control) {
            return refuse(Error::UsernameControl);
        }
        Ok(Self {
            registry: registry.into(),
            place,
            username: username.into(),
            password,
            email: email.into(),
        })
    }

    /// The registry key, verbatim.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The user name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password.
    pub fn password(&self) -> &Password {
        &self.password
    }

    /// The email address, often empty.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Where the kubelet files this entry: host and path.
    pub(super) fn place(&self) -> &[u8] {
        &self.place
    }

    pub(super) fn has_same_credential(&self, other: &Self) -> bool {
        self.username == other.username && self.password == other.password
    }
}

fn checked_place(registry: &str) -> Result<Vec<u8>, Error> {
    if registry.contains('@') {
        return Err(Error::KeyUserinfo(shown(registry)));
    }
    let has_scheme = registry.starts_with("https://") || registry.starts_with("http://");
    if !has_scheme && registry.contains("://") {
        return Err(Error::KeyScheme(shown(registry)));
    }
    match Location::parse(registry) {
        Some(location) if location.can_match() => Ok(location.place().to_vec()),
        _ => Err(Error::KeyMatchesNothing(shown(registry))),
    }
}
