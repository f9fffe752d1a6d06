//! In how many ways the same text can be written.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use super::hex;

type Form = (&'static str, Vec<u8>);

/// All of them, each once: of the whole, and of the part that no escaping changes, however often something is escaped.
pub(super) fn all(canary: &str) -> Vec<Form> {
    let plain = canary.split(|c: char| !is_unreserved(c)).max_by_key(|part| part.len()).unwrap_or(canary);
    let mut forms = of(plain);
    forms.extend(of(canary));
    forms.sort_by(|one, other| one.1.cmp(&other.1));
    forms.dedup_by(|one, other| one.1 == other.1);
    forms
}

fn of(text: &str) -> Vec<Form> {
    let bytes = text.as_bytes();
    let hex = hex(bytes);
    let json = serde_json::to_string(text).unwrap_or_default();
    let url = percent(text);
    let mut forms = vec![
        ("raw", bytes.to_vec()),
        ("upper hex", hex.to_uppercase().into()),
        ("hex", hex.into()),
        ("JSON", inside(&json).into()),
        ("JSON with \\/", inside(&json).replace('/', "\\/").into()),
        ("Debug", inside(&format!("{text:?}")).into()),
        ("form", url.replace("%20", "+").into()),
        ("lower URL", lower_escapes(&url).into()),
        ("URL", url.into()),
        // The bytes as a list, as a derived Debug prints them.
        ("numbers", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into()),
    ];
    // A Secret's data is base64 of a docker config, and in that is base64 of a login.
    for once in base64(bytes, "base64") {
        forms.extend(base64(&once.1, "twice base64"));
        forms.push(once);
    }
    forms
}

/// A base64 text depends on what stands before it: three alignments. The characters that depend on its neighbours are cut
/// off.
fn base64(bytes: &[u8], form: &'static str) -> Vec<Form> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let padded: Vec<u8> = std::iter::repeat_n(b'x', before).chain(bytes.iter().copied()).collect();
        let whole = padded.len() / 3 * 4;
        let skip = if before == 0 { 0 } else { before + 1 };
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push((form, alphabet.encode(&padded).as_bytes()[skip..whole].to_vec()));
        }
    }
    forms
}

/// Without its quotes.
fn inside(quoted: &str) -> &str {
    &quoted[1..quoted.len() - 1]
}

/// RFC 3986: all but the unreserved characters.
fn percent(text: &str) -> String {
    let one = |byte: u8| match char::from(byte) {
        c if is_unreserved(c) => c.to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn is_unreserved(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~".contains(c)
}

fn lower_escapes(url: &str) -> String {
    let mut parts = url.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| format!("{text}%{}{}", part[..2].to_lowercase(), &part[2..]))
}
