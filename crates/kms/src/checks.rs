//! What Kubernetes demands of a plugin's answers.

use std::collections::BTreeMap;

use crate::{Error, v2};

const VERSIONS: [&str; 2] = ["v2", "v2beta1"];
const WELL: &str = "ok";
const LONGEST_KEY_ID: usize = 1024;
const LONGEST_CIPHERTEXT: usize = 1024;
const MOST_ANNOTATIONS: usize = 32 * 1024;
const LONGEST_DOMAIN: usize = 253;
/// So much of a plugin's own words is passed on.
const QUOTED: usize = 200;

pub(crate) fn status(answer: &v2::StatusResponse) -> Result<(), Error> {
    if !VERSIONS.contains(&answer.version.as_str()) {
        return Err(Error::Version(quote(&answer.version)));
    }
    if answer.healthz != WELL {
        return Err(Error::Unhealthy(quote(&answer.healthz)));
    }
    key_id(&answer.key_id)
}

pub(crate) fn encrypted(answer: &v2::EncryptResponse) -> Result<(), Error> {
    key_id(&answer.key_id)?;
    if answer.ciphertext.is_empty() {
        return Err(Error::Answer("the ciphertext is empty".to_owned()));
    }
    if answer.ciphertext.len() > LONGEST_CIPHERTEXT {
        return Err(too_long("the ciphertext", answer.ciphertext.len(), LONGEST_CIPHERTEXT));
    }
    let annotations = answer.annotations.iter().collect();
    check_annotations(&annotations)
}

fn key_id(key_id: &str) -> Result<(), Error> {
    match key_id.len() {
        0 => Err(Error::Answer("the key_id is empty".to_owned())),
        length if length > LONGEST_KEY_ID => Err(too_long("the key_id", length, LONGEST_KEY_ID)),
        _ => Ok(()),
    }
}

fn check_annotations(annotations: &BTreeMap<&String, &Vec<u8>>) -> Result<(), Error> {
    if let Some(bad) = annotations.keys().find(|key| !is_domain(key)) {
        return Err(Error::Answer(format!(
            "the annotation {:?} is not named by a fully qualified domain",
            quote(bad)
        )));
    }
    let size = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MOST_ANNOTATIONS {
        return Err(too_long("all annotations together", size, MOST_ANNOTATIONS));
    }
    Ok(())
}

fn too_long(what: &str, length: usize, longest: usize) -> Error {
    Error::Answer(format!("{what} has {length} bytes, and {longest} are the most"))
}

/// As Kubernetes' `IsFullyQualifiedDomainName`: at least two segments of lower-case letters, digits and inner hyphens.
fn is_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let segment = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().all(inner)
            && !segment.starts_with('-')
            && !segment.ends_with('-')
    };
    name.len() <= LONGEST_DOMAIN && name.contains('.') && name.split('.').all(segment)
}

/// A plugin's own words, made fit for our logs and answers.
pub(crate) fn quote(text: &str) -> String {
    text.chars().take(QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> v2::StatusResponse {
        v2::StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: "k".into() }
    }

    fn answer() -> v2::EncryptResponse {
        v2::EncryptResponse { ciphertext: vec![1], key_id: "k".into(), ..Default::default() }
    }

    #[test]
    fn a_status_is_good_in_both_versions_and_up_to_the_limits() {
        status(&well()).unwrap();
        status(&v2::StatusResponse { version: "v2beta1".into(), ..well() }).unwrap();
        status(&v2::StatusResponse { key_id: "k".repeat(1024), ..well() }).unwrap();
    }

    #[test]
    fn a_status_says_what_is_wrong_with_it() {
        let cases = [
            (v2::StatusResponse { version: "v1".into(), ..well() }, "v1"),
            (v2::StatusResponse { version: String::new(), ..well() }, "version"),
            (v2::StatusResponse { healthz: "no\nHSM".into(), ..well() }, "no HSM"),
            (v2::StatusResponse { healthz: String::new(), ..well() }, "not well"),
            (v2::StatusResponse { key_id: String::new(), ..well() }, "key_id is empty"),
            (v2::StatusResponse { key_id: "k".repeat(1025), ..well() }, "1025"),
        ];
        for (bad, told) in cases {
            let error = status(&bad).unwrap_err().to_string();
            assert!(error.contains(told), "{error} does not tell {told}");
        }
    }

    #[test]
    fn what_encrypt_answers_is_held_to_kubernetes_limits() {
        let annotated = |key: &str, bytes: usize| v2::EncryptResponse {
            annotations: [(key.to_owned(), vec![0; bytes])].into(),
            ..answer()
        };
        for good in [answer(), annotated("a.example.org", 10), annotated("a.b.", 32 * 1024 - 4)] {
            encrypted(&good).unwrap();
        }
        for bad in [
            v2::EncryptResponse { ciphertext: vec![], ..answer() },
            v2::EncryptResponse { ciphertext: vec![0; 1025], ..answer() },
            v2::EncryptResponse { key_id: String::new(), ..answer() },
            annotated("a.b", 32 * 1024),
            annotated("single", 1),
            annotated("", 1),
            annotated("Upper.example.org", 1),
            annotated("a..b", 1),
            annotated("-a.b", 1),
            annotated(&format!("{}.b", "a".repeat(253)), 1),
        ] {
            assert!(matches!(encrypted(&bad), Err(Error::Answer(_))), "{:?}", bad.annotations);
        }
    }
}
