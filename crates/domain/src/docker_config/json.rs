//! JSON as Go's `encoding/json` sees it: repeated names are kept in order, and text that is no Unicode reads as U+FFFD.
//!
//! The syntax is checked by `serde_json`, whose errors are reduced to a position, since their texts quote the input.
//! Two things are refused that Go accepts: nesting deeper than [`MAX_DEPTH`] (10 000 there), and a number beyond a 64-bit
//! float in a field nobody reads (the kubelet accepts it, but the API server lets no such Secret in).

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use zeroize::Zeroizing;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 100;

/// A JSON value, reduced to what a docker config can hold.
pub(crate) enum Json {
    Null,
    String(Zeroizing<String>),
    /// Members in the order of the file, repeated names included.
    Object(Vec<(String, Json)>),
    /// Anything else, by what it is called in messages: "a number".
    Other(&'static str),
}

impl Json {
    /// What to call this value in a message, without its contents.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::String(_) => "a string",
            Self::Object(_) => "an object",
            Self::Other(kind) => kind,
        }
    }
}

/// Why a text cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// No JSON, with line and column counted from 1.
    Syntax { line: usize, column: usize },
    /// A whole value is followed by something else.
    Trailing { line: usize, column: usize },
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// Reads one value and nothing after it.
pub(crate) fn read(text: &str) -> Result<Json, Unreadable> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Node { depth: 0 }.deserialize(&mut deserializer).map_err(|error| match error.classify() {
        Category::Data => Unreadable::TooDeep,
        Category::Io | Category::Syntax | Category::Eof => {
            Unreadable::Syntax { line: error.line(), column: error.column() }
        }
    })?;
    let trailing =
        |error: serde_json::Error| Unreadable::Trailing { line: error.line(), column: error.column() };
    deserializer.end().map_err(trailing)?;
    Ok(value)
}

/// Lower case in Go's sense for ASCII names: its matching of field names folds two more letters.
pub(crate) fn fold_name(name: &str) -> String {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

/// Puts U+FFFD where Go would: for each byte that is not UTF-8 and each half of a surrogate pair. Borrowed if nothing
/// had to be replaced.
pub(crate) fn go_text(bytes: &[u8]) -> Cow<'_, str> {
    let text = match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(replace_bytes(bytes)),
    };
    let lone = lone_surrogates(text.as_bytes());
    if lone.is_empty() {
        return text;
    }
    let mut text = text.into_owned();
    for at in lone {
        text.replace_range(at..at + 6, "\\ufffd");
    }
    Cow::Owned(text)
}

fn replace_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// Where the `\uXXXX` escapes stand that are half a surrogate pair.
fn lone_surrogates(text: &[u8]) -> Vec<usize> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() {
        at += match (text[at], escaped_unit(&text[at..])) {
            (_, Some(0xd800..=0xdbff)) if matches!(escaped_unit(&text[at + 6..]), Some(0xdc00..=0xdfff)) => {
                12
            }
            (_, Some(0xd800..=0xdfff)) => {
                found.push(at);
                6
            }
            (b'\\', _) => 2,
            _ => 1,
        };
    }
    found
}

fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    is_hex.then(|| u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok())?
}

#[derive(Clone, Copy)]
struct Node {
    depth: usize,
}

impl Node {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH { Err(E::custom("too deep")) } else { Ok(Self { depth }) }
    }
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other("a number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(Json::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut object = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            object.push((name, members.next_value_seed(inner)?));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(json: &[u8]) -> String {
        match read(&go_text(json)) {
            Ok(Json::String(text)) => text.to_string(),
            _ => panic!("{} is no JSON string", json.escape_ascii()),
        }
    }

    #[test]
    fn invalid_utf8_reads_as_one_replacement_character_for_each_byte() {
        assert_eq!(string(b"\"a\xffb\""), "a\u{fffd}b");
        assert_eq!(string(b"\"\xed\xa0\x80\""), "\u{fffd}".repeat(3));
        assert_eq!(string(b"\"\xe2\x82\""), "\u{fffd}".repeat(2));
    }

    #[test]
    fn half_a_surrogate_pair_reads_as_a_replacement_character() {
        assert_eq!(string(br#""\ud83d\ude00""#), "😀");
        assert_eq!(string(br#""\ud83dx""#), "\u{fffd}x");
        assert_eq!(string(br#""\ude00\ud83d\u0041""#), "\u{fffd}\u{fffd}A");
        assert_eq!(string(br#""\ud83d\ud83d\ude00""#), "\u{fffd}😀");
        assert_eq!(string(br#""\ude00\ude00""#), "\u{fffd}\u{fffd}");
        assert_eq!(string(br#""\\ud83d""#), "\\ud83d");
    }

    #[test]
    fn field_names_fold_as_in_go() {
        for name in ["auths", "AUTHS", "Auth\u{17f}"] {
            assert_eq!(fold_name(name), "auths");
        }
        assert_eq!(fold_name("\u{212a}"), "k");
        assert_ne!(fold_name("ÄUTHS"), "äuths");
    }

    #[test]
    fn nesting_is_read_up_to_the_limit() {
        let nested = |depth: usize| read(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))).err();
        assert_eq!(nested(MAX_DEPTH), None);
        assert_eq!(nested(MAX_DEPTH + 1), Some(Unreadable::TooDeep));
        assert_eq!(nested(200_000), Some(Unreadable::TooDeep));
    }

    #[test]
    fn what_is_no_json_is_told_by_its_place() {
        assert_eq!(read("{\n \"a\": nope}").err(), Some(Unreadable::Syntax { line: 2, column: 8 }));
        assert_eq!(read("{} {}").err(), Some(Unreadable::Trailing { line: 1, column: 4 }));
        assert!(matches!(read("[1e99999]").err(), Some(Unreadable::Syntax { .. })));
    }
}
