//! SPIFFE ids, patterns over them, and certificates that carry them.
//!
//! An input is two texts, an id and a pattern, or else a certificate.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullpass_fuzz::{bounded, parts};
use pullpass_runtime::{Pattern, SpiffeId, identity};

const TRUST_DOMAIN: &str = "pullpass.local";

fuzz_target!(|input: &[u8]| bounded(input, || {
    certificate(input);
    let texts: Option<Vec<&str>> = parts(input).map(|part| str::from_utf8(part).ok()).collect();
    if let Some([id, pattern]) = texts.as_deref() {
        names(id, pattern);
    }
}));

fn certificate(der: &[u8]) {
    match identity::of_certificate(der, TRUST_DOMAIN) {
        Ok(peer) => {
            let id = peer.spiffe_id.as_str();
            assert_eq!(peer.spiffe_id.trust_domain(), TRUST_DOMAIN);
            assert!(
                der.windows(id.len()).any(|bytes| bytes == id.as_bytes()),
                "{id} is not in the certificate"
            );
        }
        Err(error) => assert_ne!(error.to_string(), ""),
    }
}

fn is_in_no_other_pattern_than_its_own(id: &SpiffeId) {
    let matches = |pattern: String| pattern.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(id));
    assert!(matches(id.to_string()));
    assert!(!matches(format!("{id}/*")));
    if let Some((parent, _)) = id.as_str().rsplit_once('/') {
        assert!(matches(format!("{parent}/*")));
        assert!(!matches(parent.to_owned()) && !matches(format!("{parent}/*/*")));
    }
}

fn names(id: &str, pattern: &str) {
    let (id, pattern) = (id.parse::<SpiffeId>(), pattern.parse::<Pattern>());
    if let Ok(id) = &id {
        assert_eq!(format!("spiffe://{}/{}", id.trust_domain(), id.path()), id.as_str());
        assert!(id.as_str().is_ascii() && !id.as_str().contains(['*', '%', '@', '?']));
        is_in_no_other_pattern_than_its_own(id);
    }
    if let (Ok(id), Ok(pattern)) = (id, pattern) {
        let pattern_text = pattern.to_string();
        let (wanted, given) = (pattern_text.split('/'), id.as_str().split('/'));
        let same_length = wanted.clone().count() == given.clone().count();
        let each = wanted.clone().zip(given).all(|(wanted, given)| wanted == "*" || wanted == given);
        assert_eq!(pattern.matches(&id), same_length && each);
        assert_ne!(wanted.clone().nth(2), Some("*"), "no pattern reaches over trust domains");
    }
}
