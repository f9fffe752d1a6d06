//! Ids for what is proposed: valid, unique, and the same in every run.

use std::{collections::BTreeSet, fmt::Write as _};

use aws_lc_rs::digest::{SHA256, digest};

/// The length of a DNS-1123 label.
const MOST: usize = 63;
/// Digits of a digest.
const DIGITS: usize = 8;

/// The nearest id to a text.
pub(super) fn id(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    match plain.len() {
        0 => hashed("adopted", text),
        1..=MOST => plain.to_owned(),
        _ => hashed(plain, text),
    }
}

/// An id that no other text has, as far as a short digest can tell. Never of anything secret.
pub(super) fn hashed(id: &str, text: &str) -> String {
    let mut hash = String::new();
    for byte in digest(&SHA256, text.as_bytes()).as_ref().iter().take(DIGITS / 2) {
        let _ = write!(hash, "{byte:02x}");
    }
    let most = MOST - DIGITS - 1;
    format!("{}-{hash}", id[..id.len().min(most)].trim_end_matches('-'))
}

/// The first of several names that nothing else was given.
pub(super) fn claim(
    names: &mut BTreeSet<String>,
    candidates: impl IntoIterator<Item = String>,
) -> Option<String> {
    candidates.into_iter().find(|candidate| names.insert(candidate.clone()))
}

#[cfg(test)]
mod tests {
    use pullpass_domain::name::GrantName;

    use super::*;

    #[test]
    fn every_text_has_a_valid_id_and_a_long_one_is_told_from_its_like() {
        for (text, expected) in [("quay", "quay"), ("Quay.io", "quay-io"), ("-a:b-", "a-b"), ("a@b", "a-b")] {
            assert_eq!(id(text), expected);
        }
        let long = |end: &str| id(&format!("{}{end}", "a.".repeat(40)));
        assert_ne!(long("x"), long("y"));
        for text in ["", "---", "ä", &"x".repeat(300), &format!("{}-b", "a-".repeat(27)), "a"] {
            assert!(GrantName::from_id(id(text)).is_ok(), "{text:?} became {:?}", id(text));
            assert!(GrantName::from_id(hashed(&id(text), text)).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let mut names = BTreeSet::new();
        let both = || ["a".to_owned(), "b".to_owned()];
        let given: Vec<_> = (0..3).map(|_| claim(&mut names, both())).collect();
        assert_eq!(given, [Some("a".into()), Some("b".into()), None]);
    }
}
