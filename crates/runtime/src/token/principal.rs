//! From a token's subject to a SPIFFE id of ours, so that roles apply to it as they stand.
//!
//! `system:serviceaccount:ci:deployer` of the issuer `cluster-a` becomes
//! `spiffe://pullpass.local/jwt/cluster-a/system/serviceaccount/ci/deployer`. Each ':' begins a path segment. Bytes that a
//! SPIFFE id cannot have, and '_' itself, become '_' and two hexadecimal digits (`octo/repo` becomes `octo_2frepo`), an
//! empty segment becomes '_', and a segment '.' or '..' is written `_2e` or `_2e_2e`. All this can be undone in one way
//! only, so two subjects are never the same principal.

use std::fmt::Write as _;

use crate::identity::{Error, RESERVED, SpiffeId};

/// The id of the subject `sub` of the issuer that we call `issuer`.
pub(super) fn spiffe_id(trust_domain: &str, issuer: &str, sub: &str) -> Result<SpiffeId, Error> {
    let mut id = format!("spiffe://{trust_domain}/{RESERVED}/{issuer}");
    for segment in sub.split(':') {
        id.push('/');
        push_segment(&mut id, segment);
    }
    id.parse()
}

fn push_segment(id: &mut String, segment: &str) {
    if segment.is_empty() {
        id.push('_');
    }
    let only_dots = matches!(segment, "." | "..");
    for byte in segment.bytes() {
        match byte {
            b'.' if only_dots => id.push_str("_2e"),
            b'.' | b'-' => id.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => id.push(char::from(byte)),
            // Writing to a String does not fail.
            _ => _ = write!(id, "_{byte:02x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(sub: &str) -> String {
        let id = spiffe_id("d", "a", sub).unwrap();
        id.as_str().strip_prefix("spiffe://d/jwt/a/").unwrap().to_owned()
    }

    #[test]
    fn subjects_become_paths() {
        for (sub, expected) in [
            ("system:serviceaccount:ci:deployer", "system/serviceaccount/ci/deployer"),
            (
                "repo:octo-org/octo_repo:ref:refs/heads/main",
                "repo/octo-org_2focto_5frepo/ref/refs_2fheads_2fmain",
            ),
            ("ann@example.org", "ann_40example.org"),
            ("*", "_2a"),
            ("", "_"),
            ("a::b:", "a/_/b/_"),
            ("..:.:...", "_2e_2e/_2e/..."),
            ("ä", "_c3_a4"),
        ] {
            assert_eq!(path(sub), expected, "{sub:?}");
        }
        assert!(spiffe_id("d", "a", &"x".repeat(3000)).is_err());
    }

    /// Undoes it.
    fn subject(path: &str) -> String {
        let segment = |text: &str| {
            let mut parts = text.split('_');
            let mut bytes = parts.next().unwrap().as_bytes().to_vec();
            for part in parts.filter(|_| text != "_") {
                bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            String::from_utf8(bytes).unwrap()
        };
        path.split('/').map(segment).collect::<Vec<_>>().join(":")
    }

    proptest! {
        #[test]
        fn no_two_subjects_are_the_same_principal(sub in "[a-c:/._0-9ä*@ -]{0,12}|\\PC{0,12}") {
            prop_assert_eq!(subject(&path(&sub)), sub);
        }
    }
}
