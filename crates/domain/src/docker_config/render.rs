//! The bytes of a Secret, exactly as `oc create secret docker-registry` would write them.

use std::collections::BTreeMap;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use zeroize::Zeroizing;

use super::{Entry, Error, MAX_BYTES, SecretType};
use crate::secret::SecretBytes;

#[derive(Serialize)]
struct Wire<'a> {
    username: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    email: &'a str,
    auth: &'a str,
}

#[derive(Serialize)]
struct ConfigJson<'a> {
    auths: BTreeMap<&'a str, Wire<'a>>,
}

pub(super) fn render(entries: &[Entry], secret_type: SecretType) -> Result<SecretBytes, Error> {
    let auths: Vec<Zeroizing<String>> = entries.iter().map(encode_auth).collect();
    let hosts = entries.iter().zip(&auths).map(|(entry, auth)| {
        let (username, password) = (entry.username(), entry.password().expose());
        (entry.registry(), Wire { username, password, email: entry.email(), auth })
    });
    let auths = hosts.collect();
    let rendered = match secret_type {
        SecretType::DockerConfigJson => to_json(&ConfigJson { auths }, capacity(entries)),
        SecretType::Dockercfg => to_json(&auths, capacity(entries)),
    };
    if rendered.len() > MAX_BYTES { Err(Error::RenderedTooLarge(rendered.len())) } else { Ok(rendered) }
}

fn encode_auth(entry: &Entry) -> Zeroizing<String> {
    let (username, password) = (entry.username(), entry.password().expose());
    let mut plain = Zeroizing::new(String::with_capacity(username.len() + password.len() + 1));
    plain.push_str(username);
    plain.push(':');
    plain.push_str(password);
    Zeroizing::new(STANDARD.encode(plain.as_bytes()))
}

/// Enough room for every byte being escaped, so that no partial copy of a secret is left behind by growing.
fn capacity(entries: &[Entry]) -> usize {
    let texts = |entry: &Entry| {
        let password = entry.password().expose();
        [entry.registry(), entry.username(), password, entry.email()]
            .iter()
            .map(|text| text.len())
            .sum::<usize>()
    };
    entries.iter().map(|entry| 8 * texts(entry) + 80).sum::<usize>() + 16
}

fn to_json(value: &impl Serialize, capacity: usize) -> SecretBytes {
    let mut bytes = Vec::with_capacity(capacity);
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, GoEscapes));
    debug_assert!(written.is_ok(), "strings in maps and structs always serialize into memory");
    SecretBytes::new(bytes)
}

/// Go's `encoding/json` escapes a few characters more than JSON demands.
struct GoEscapes;

impl Formatter for GoEscapes {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut after = from.chars();
            if let Some(special) = after.next() {
                write!(writer, "\\u{:04x}", u32::from(special))?;
            }
            rest = after.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}
