//! The data of a Secret, decoded as the kubelet's Go structs do.

use std::collections::BTreeMap;

use super::{Error, Match};
use crate::docker_config::SecretType;
use crate::docker_config::auth;
use crate::docker_config::json::{Json, fold_name, read};
use crate::secret::SecretBytes;

/// An [`Error`] that does not know its Secret yet.
pub(super) enum Failure {
    NotJson,
    WrongType { field: &'static str, found: &'static str },
    Auth,
}

impl Failure {
    pub(super) fn of_secret(self, index: usize) -> Error {
        match self {
            Self::NotJson => Error::NotJson { index },
            Self::WrongType { field, found } => Error::WrongType { index, field, found },
            Self::Auth => Error::Auth { index },
        }
    }
}

fn wrong(field: &'static str, value: &Json) -> Failure {
    Failure::WrongType { field, found: value.kind() }
}

/// The entries of one Secret, ordered by key; of a repeated key the last one.
pub(super) fn entries(secret_type: SecretType, text: &str) -> Result<Vec<Match>, Failure> {
    let data = read(text).map_err(|_| Failure::NotJson)?;
    let mut entries = BTreeMap::new();
    match secret_type {
        SecretType::Dockercfg => add_hosts(&data, "the top level", &mut entries)?,
        SecretType::DockerConfigJson => add_config_json(&data, &mut entries)?,
    }
    Ok(entries.into_values().collect())
}

fn add_config_json(data: &Json, entries: &mut BTreeMap<String, Match>) -> Result<(), Failure> {
    for (name, value) in members(data, "the top level")? {
        match fold_name(name).as_str() {
            "auths" => add_hosts(value, "auths", entries)?,
            "httpheaders" => {
                for (_, header) in members(value, "HttpHeaders")? {
                    text(header, "HttpHeaders")?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Go decodes a repeated map into the same map, and null into an empty one.
fn add_hosts(
    hosts: &Json,
    field: &'static str,
    entries: &mut BTreeMap<String, Match>,
) -> Result<(), Failure> {
    if matches!(hosts, Json::Null) {
        entries.clear();
    }
    for (key, entry) in members(hosts, field)? {
        entries.insert(key.clone(), decode_entry(key, entry)?);
    }
    Ok(())
}

fn decode_entry(key: &str, entry: &Json) -> Result<Match, Failure> {
    let (mut username, mut password, mut auth) = ("", "", "");
    for (name, value) in members(entry, "an entry")? {
        let (field, variable) = match fold_name(name).as_str() {
            "username" => ("username", &mut username),
            "password" => ("password", &mut password),
            "email" => ("email", &mut ""),
            "auth" => ("auth", &mut auth),
            _ => continue,
        };
        if let Some(text) = text(value, field)? {
            *variable = text;
        }
    }
    let credential = |username: &[u8], password: &[u8]| Match {
        key: key.to_owned(),
        username: String::from_utf8_lossy(username).into_owned(),
        password: SecretBytes::new(password.to_vec()),
    };
    if auth.is_empty() {
        return Ok(credential(username.as_bytes(), password.as_bytes()));
    }
    let decoded = auth::decode(auth).map_err(|_| Failure::Auth)?;
    Ok(credential(decoded.username(), decoded.password()))
}

/// The members of an object; null has none, and anything else fails.
fn members<'a>(value: &'a Json, field: &'static str) -> Result<&'a [(String, Json)], Failure> {
    match value {
        Json::Object(members) => Ok(members),
        Json::Null => Ok(&[]),
        Json::String(_) | Json::Other(_) => Err(wrong(field, value)),
    }
}

/// The text of a string; null leaves a field as it was, and anything else fails.
fn text<'a>(value: &'a Json, field: &'static str) -> Result<Option<&'a str>, Failure> {
    match value {
        Json::String(text) => Ok(Some(text)),
        Json::Null => Ok(None),
        Json::Object(_) | Json::Other(_) => Err(wrong(field, value)),
    }
}
