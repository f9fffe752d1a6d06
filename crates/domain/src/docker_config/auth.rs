//! The `auth` field: base64 of `username:password`, decoded as the kubelet does.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

const LENIENT_BITS: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
const PADDED: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    LENIENT_BITS.with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);
const UNPADDED: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, LENIENT_BITS.with_decode_padding_mode(DecodePaddingMode::RequireNone));

/// Why an `auth` cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// It would decode in the URL-safe alphabet, which the kubelet does not take.
    UrlSafe,
    /// It is no base64 at all.
    NotBase64,
    /// It decodes to something without a colon.
    NoColon,
}

/// User name and password, as the bytes they decode to.
pub(crate) struct Decoded {
    bytes: Zeroizing<Vec<u8>>,
    colon: usize,
}

impl Decoded {
    pub(crate) fn username(&self) -> &[u8] {
        &self.bytes[..self.colon]
    }

    pub(crate) fn password(&self) -> &[u8] {
        &self.bytes[self.colon + 1..]
    }
}

/// Decodes as the kubelet does: line breaks are skipped, a text that ends in `=` must be padded, any other must
/// not be, left-over bits are ignored, and the first colon separates.
pub(crate) fn decode(auth: &str) -> Result<Decoded, Undecodable> {
    let mut text = Zeroizing::new(String::with_capacity(auth.len()));
    text.extend(auth.split(['\r', '\n']));
    let bytes = decode_base64(&text).ok_or_else(|| {
        let standard = Zeroizing::new(text.replace('-', "+").replace('_', "/"));
        if decode_base64(&standard).is_some() { Undecodable::UrlSafe } else { Undecodable::NotBase64 }
    })?;
    let colon = bytes.iter().position(|byte| *byte == b':').ok_or(Undecodable::NoColon)?;
    Ok(Decoded { bytes, colon })
}

fn decode_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let engine = if text.ends_with('=') { &PADDED } else { &UNPADDED };
    engine.decode(text).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(auth: &str) -> Result<(String, String), Undecodable> {
        decode(auth).map(|it| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(it.username()), text(it.password()))
        })
    }

    fn pair(username: &str, password: &str) -> (String, String) {
        (username.into(), password.into())
    }

    #[test]
    fn padded_and_unpadded_standard_base64_is_split_at_the_first_colon() {
        assert_eq!(decoded("dXNlcjpwYTpzcw=="), Ok(pair("user", "pa:ss")));
        assert_eq!(decoded("dXNlcjpwYTpzcw"), Ok(pair("user", "pa:ss")));
        assert_eq!(decoded("Og=="), Ok(pair("", "")));
    }

    #[test]
    fn line_breaks_are_accepted_anywhere_also_around_and_between_the_padding() {
        assert_eq!(decoded("\r\ndXNl\ncjpwYTpzcw\n=\r\n=\n"), Ok(pair("user", "pa:ss")));
    }

    #[test]
    fn other_blanks_fail_anywhere_also_at_the_end() {
        for auth in ["dXNl cjpw", "dXNlcjpw ", " dXNlcjpw", "dXNlcjpw\t", "dTpw= "] {
            assert_eq!(decoded(auth), Err(Undecodable::NotBase64), "{auth:?}");
        }
    }

    #[test]
    fn surplus_or_half_padding_fails() {
        for auth in ["dXNlcjpwYTpzcw=", "dXNlcjpwYTpzcw===", "dXNlcjpw=", "=", "===="] {
            assert_eq!(decoded(auth), Err(Undecodable::NotBase64), "{auth:?}");
        }
    }

    #[test]
    fn non_zero_trailing_bits_are_accepted_and_nuls_at_the_end_kept() {
        assert_eq!(decoded("dTpwdx"), Ok(pair("u", "pw")));
        assert_eq!(decoded("dTpwdw"), Ok(pair("u", "pw")));
        assert_eq!(decoded("dTpwAA=="), Ok(pair("u", "p\0")));
    }

    #[test]
    fn an_auth_without_a_colon_fails_even_if_it_is_only_a_line_break() {
        assert_eq!(decoded("dXNlcg=="), Err(Undecodable::NoColon));
        assert_eq!(decoded("\n"), Err(Undecodable::NoColon));
    }

    #[test]
    fn the_url_safe_alphabet_fails_and_is_recognised() {
        assert_eq!(decoded("dTp-fn5_"), Err(Undecodable::UrlSafe));
        assert_eq!(decoded("dTp-fn5_*"), Err(Undecodable::NotBase64));
    }
}
