//! From the bytes of a file to checked entries, refusing what the kubelet would choke on.
//!
//! Names, repetitions and nulls are read as Go reads them. More is refused than the kubelet refuses, so that nobody
//! stores a credential that cannot work: see [`Error`].

use std::collections::BTreeMap;

use super::auth::{self, Undecodable};
use super::entry::Entry;
use super::error::{Error, shown};
use super::json::{Json, Unreadable, fold_name, go_text, read};
use super::{MAX_BYTES, Warning};
use crate::secret::Password;

/// The fields of docker's config.json: one of them at the top makes a file a config.json. No registry is called so.
const CONFIG_JSON_FIELDS: &str = "aliases auths cliPluginsExtraDirs configFormat credHelpers credsStore currentContext \
    detachKeys experimental features HttpHeaders imagesFormat kubernetes networksFormat nodesFormat plugins pluginsFormat \
    proxies pruneFilters psFormat secretFormat serviceInspectFormat servicesFormat stackOrchestrator statsFormat \
    tasksFormat volumesFormat";

/// What `docker login` in a browser leaves beside Docker Hub's entry; they never serve an image.
const LOGIN_TOKENS: [&str; 2] =
    ["https://index.docker.io/v1/access-token", "https://index.docker.io/v1/refresh-token"];

type Members = [(String, Json)];

/// The entries by registry key, and remarks.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) warnings: Vec<Warning>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
    let json = read_file(bytes)?;
    let Json::Object(members) = &json else {
        return Err(Error::NotAnObject(json.kind()));
    };
    let mut parsed = Parsed::default();
    if members.iter().any(|(name, _)| is_config_json_field(name)) {
        parsed.add_config_json(members)?;
    } else {
        parsed.add_hosts(members)?;
    }
    if parsed.entries.is_empty() { Err(Error::NoEntries) } else { Ok(parsed) }
}

fn read_file(bytes: &[u8]) -> Result<Json, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLarge(bytes.len()));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(Error::Empty);
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        return Err(Error::ByteOrderMark);
    }
    let std::borrow::Cow::Borrowed(text) = go_text(bytes) else {
        return Err(Error::NotUnicode);
    };
    read(text).map_err(|unreadable| match unreadable {
        Unreadable::Syntax { line, column } => Error::NotJson { line, column },
        Unreadable::Trailing { line, column } => Error::TrailingBytes { line, column },
        Unreadable::TooDeep => Error::TooDeep,
    })
}

fn is_config_json_field(name: &str) -> bool {
    let name = fold_name(name);
    CONFIG_JSON_FIELDS.split_whitespace().any(|field| field.eq_ignore_ascii_case(&name))
}

impl Parsed {
    fn add_config_json(&mut self, members: &Members) -> Result<(), Error> {
        // First, since a helper is why entries are blank or missing.
        members.iter().try_for_each(|(name, value)| refuse_helper(name, value))?;
        let mut has_auths = false;
        for (name, value) in members {
            match (fold_name(name).as_str(), value) {
                ("auths", Json::Object(hosts)) => {
                    has_auths = true;
                    self.add_hosts(hosts)?;
                }
                // Go empties the map here, so only what follows counts.
                ("auths", Json::Null) => *self = Self::default(),
                ("auths", other) => return Err(Error::AuthsShape(other.kind())),
                ("httpheaders", headers) => check_headers(headers)?,
                (_, Json::Object(fields)) if looks_like_entry(fields) && !is_config_json_field(name) => {
                    return Err(Error::BesideAuths(shown(name)));
                }
                _ => {}
            }
        }
        if has_auths { Ok(()) } else { Err(Error::NoAuths) }
    }

    fn add_hosts(&mut self, hosts: &Members) -> Result<(), Error> {
        hosts.iter().try_for_each(|(key, value)| self.add_host(key, value))
    }

    fn add_host(&mut self, key: &str, value: &Json) -> Result<(), Error> {
        let fields = Fields::read(key, value)?;
        let (username, password) = fields.decoded(key)?;
        // Go takes the last of several entries with one key, whole.
        self.warnings.retain(|warning| warning.entry() != shown(key));
        if LOGIN_TOKENS.contains(&key) {
            self.warnings.push(Warning::LoginTokenLeftOut(shown(key)));
            return Ok(());
        }
        let entry = fields.entry(key, &username, password)?;
        if fields.disagrees_with(&entry) {
            self.warnings.push(Warning::AuthWins(shown(key)));
        }
        self.entries.insert(key.to_owned(), entry);
        Ok(())
    }
}

/// The fields of an entry that the kubelet reads, and which token it ignores.
#[derive(Default)]
struct Fields<'a> {
    username: &'a str,
    password: &'a str,
    email: &'a str,
    auth: &'a str,
    token: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn read(key: &str, value: &'a Json) -> Result<Self, Error> {
        let members: &Members = match value {
            Json::Object(members) => members,
            Json::Null => &[],
            Json::String(_) | Json::Other(_) => return Err(Error::EntryShape(shown(key), value.kind())),
        };
        let mut fields = Self::default();
        for (name, value) in members {
            let (field, variable) = match fold_name(name).as_str() {
                "username" => ("username", &mut fields.username),
                "password" => ("password", &mut fields.password),
                "email" => ("email", &mut fields.email),
                "auth" => ("auth", &mut fields.auth),
                "identitytoken" if is_given(value) => {
                    fields.token = Some("identitytoken");
                    continue;
                }
                "registrytoken" if is_given(value) => {
                    fields.token = Some("registrytoken");
                    continue;
                }
                _ => continue,
            };
            match value {
                Json::String(text) => *variable = text,
                Json::Null => {}
                Json::Object(_) | Json::Other(_) => {
                    return Err(Error::FieldType { entry: shown(key), field, found: value.kind() });
                }
            }
        }
        Ok(fields)
    }

    /// User name and password as the kubelet sees them: a non-empty `auth` wins.
    fn decoded(&self, key: &str) -> Result<(String, Password), Error> {
        if self.auth.is_empty() {
            return Ok((self.username.to_owned(), Password::new(self.password.to_owned())));
        }
        let decoded = auth::decode(self.auth).map_err(|why| match why {
            Undecodable::UrlSafe => Error::AuthUrlSafe(shown(key)),
            Undecodable::NotBase64 => Error::AuthNotBase64(shown(key)),
            Undecodable::NoColon => Error::AuthNoColon(shown(key)),
        })?;
        let text = |bytes: &[u8]| {
            str::from_utf8(bytes).map(str::to_owned).map_err(|_| Error::AuthNotUnicode(shown(key)))
        };
        Ok((text(decoded.username())?, Password::new(text(decoded.password())?)))
    }

    fn entry(&self, key: &str, username: &str, password: Password) -> Result<Entry, Error> {
        match self.token {
            Some(token) if password.is_empty() => Err(Error::TokenOnly(shown(key), token)),
            _ => Entry::new(key, username, password, self.email),
        }
    }

    fn disagrees_with(&self, entry: &Entry) -> bool {
        let differs = |field: &str, used: &str| !field.is_empty() && field != used;
        differs(self.username, entry.username()) || differs(self.password, entry.password().expose())
    }
}

fn refuse_helper(name: &str, value: &Json) -> Result<(), Error> {
    match (fold_name(name).as_str(), value) {
        ("credsstore", value) if is_given(value) => Err(Error::CredsStore),
        ("credhelpers", Json::Object(hosts)) => match hosts.first() {
            Some((host, _)) => Err(Error::CredHelpers(shown(host))),
            None => Ok(()),
        },
        ("credhelpers", value) if is_given(value) => Err(Error::CredHelpers(shown(name))),
        _ => Ok(()),
    }
}

fn is_given(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::String(text) => !text.is_empty(),
        Json::Object(_) | Json::Other(_) => true,
    }
}

fn check_headers(headers: &Json) -> Result<(), Error> {
    match headers {
        Json::Null => Ok(()),
        Json::Object(headers) => match headers.iter().find(|(_, value)| !is_text_or_null(value)) {
            Some((_, value)) => Err(Error::HttpHeadersShape(value.kind())),
            None => Ok(()),
        },
        Json::String(_) | Json::Other(_) => Err(Error::HttpHeadersShape(headers.kind())),
    }
}

fn is_text_or_null(value: &Json) -> bool {
    matches!(value, Json::String(_) | Json::Null)
}

fn looks_like_entry(fields: &Members) -> bool {
    fields.iter().any(|(name, _)| matches!(fold_name(name).as_str(), "auth" | "username" | "password"))
}
