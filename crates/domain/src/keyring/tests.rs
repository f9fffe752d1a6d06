//! What was observed of the kubelet, sentence by sentence.

use super::*;
use SecretType::{DockerConfigJson, Dockercfg};

mod keys;
mod parse;
mod properties;

fn image(reference: &str) -> ImageRef {
    ImageRef::parse(reference).unwrap()
}

/// `username:password` of every match, in order.
fn matches(secrets: &[(SecretType, &str)], reference: &str) -> Vec<String> {
    let secrets: Vec<_> = secrets.iter().map(|(secret_type, data)| (*secret_type, data.as_bytes())).collect();
    let keyring = Keyring::from_secrets(&secrets).unwrap();
    let text = |found: &&Match| format!("{}:{}", found.username, found.password.expose().escape_ascii());
    keyring.lookup(&image(reference)).iter().map(text).collect()
}

/// The keys that serve the image, in order.
fn serving(keys: &[&str], reference: &str) -> Vec<String> {
    let entries: Vec<_> =
        keys.iter().map(|key| format!(r#""{key}":{{"username":"u","password":"p"}}"#)).collect();
    let data = format!("{{{}}}", entries.join(","));
    let keyring = Keyring::from_secrets(&[(Dockercfg, data.as_bytes())]).unwrap();
    keyring.lookup(&image(reference)).iter().map(|found| found.key().to_owned()).collect()
}

#[track_caller]
fn assert_serves(key: &str, reference: &str, expected: bool) {
    assert_eq!(!serving(&[key], reference).is_empty(), expected, "key {key:?}, image {reference:?}");
}

/// What one entry decodes to, or nothing if it fails the whole keyring.
fn decoded(entry: &str) -> Option<String> {
    let dockercfg = format!(r#"{{"quay.io":{entry}}}"#);
    let config_json = format!(r#"{{"auths":{dockercfg}}}"#);
    let secrets = [(Dockercfg, dockercfg), (DockerConfigJson, config_json)];
    let [first, second] = secrets.map(|(secret_type, data)| {
        Keyring::from_secrets(&[(secret_type, data.as_bytes())]).ok()?;
        matches(&[(secret_type, &data)], "quay.io/x").pop()
    });
    assert_eq!(first, second, "both types decode an entry alike: {entry}");
    first
}

fn fails(secret_type: SecretType, data: &str) -> bool {
    Keyring::from_secrets(&[(secret_type, data.as_bytes())]).is_err()
}

#[test]
fn keys_are_tried_in_reverse_order_of_their_bytes() {
    let keys = ["*.io", "quay.io", "quay.io/acme", "q*.io", "https://quay.io/acme/app", "other.io"];
    let expected = ["https://quay.io/acme/app", "quay.io/acme", "quay.io", "q*.io", "*.io"];
    assert_eq!(serving(&keys, "quay.io/acme/app"), expected);
}

#[test]
fn of_one_key_the_secrets_are_tried_in_their_order_and_a_longer_key_of_a_later_secret_first() {
    let first = r#"{"quay.io":{"auth":"YTpi"}}"#;
    let second = r#"{"auths":{"https://quay.io/v1/":{"auth":"Yzpk"},"quay.io/acme":{"auth":"ZTpm"}}}"#;
    let secrets = [(Dockercfg, first), (DockerConfigJson, second)];
    assert_eq!(matches(&secrets, "quay.io/acme"), ["e:f", "a:b", "c:d"]);
    assert_eq!(matches(&[secrets[1], secrets[0]], "quay.io/acme"), ["e:f", "c:d", "a:b"]);
}

#[test]
fn an_image_without_a_match_is_pulled_anonymously() {
    assert!(serving(&["quay.io"], "ghcr.io/x").is_empty());
}

#[test]
fn errors_tell_the_secret_and_not_its_contents() {
    let secrets: [(_, &[u8]); 2] = [(Dockercfg, b"{}"), (Dockercfg, br#"{"quay.io":{"auth":"canary*"}}"#)];
    let error = Keyring::from_secrets(&secrets).unwrap_err();
    assert_eq!(error, Error::Auth { index: 1 });
    assert!(!format!("{error} {error:?}").contains("canary"));
}
