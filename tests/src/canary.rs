//! Looks for planted secrets in everything that was written: raw, in hexadecimal, in base64 at every alignment.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

/// Where a canary was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The file, or the name that was given to a text.
    pub place: String,
    /// Which canary, by its number, never by its value.
    pub canary: usize,
    /// How it was written.
    pub form: &'static str,
}

/// The canaries, in all their forms.
#[derive(Debug)]
pub struct Scanner {
    needles: Vec<(usize, &'static str, Vec<u8>)>,
}

impl Scanner {
    /// Looks for these.
    pub fn new<'a>(canaries: impl IntoIterator<Item = &'a str>) -> Self {
        let forms = |(number, canary): (usize, &str)| {
            forms(canary.as_bytes()).into_iter().map(move |(form, needle)| (number, form, needle))
        };
        Self { needles: canaries.into_iter().enumerate().flat_map(forms).collect() }
    }

    /// What is in some bytes.
    pub fn scan(&self, place: &str, bytes: &[u8]) -> Vec<Hit> {
        let found = self.needles.iter().filter(|(_, _, needle)| contains(bytes, needle));
        found.map(|(canary, form, _)| Hit { place: place.to_owned(), canary: *canary, form }).collect()
    }

    /// What is in all files under a folder, but for those whose path `skip` names; and how many bytes that were.
    pub fn scan_folder(&self, folder: &Path, skip: impl Fn(&Path) -> bool) -> (Vec<Hit>, usize) {
        let (mut hits, mut searched) = (Vec::new(), 0);
        for file in files(folder).into_iter().filter(|file| !skip(file)) {
            // A file that is gone by now (a WAL that was folded in) holds nothing.
            let Ok(bytes) = fs::read(&file) else { continue };
            searched += bytes.len();
            hits.extend(self.scan(&file.display().to_string(), &bytes));
        }
        (hits, searched)
    }
}

/// A base64 text of the canary depends on what stands before it: three alignments. The characters that depend on its
/// neighbours are cut off.
fn forms(canary: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = hex(canary);
    let mut forms =
        vec![("raw", canary.to_vec()), ("upper hex", hex.to_uppercase().into()), ("hex", hex.into())];
    for (before, name) in [(0, "base64"), (1, "base64 + 1"), (2, "base64 + 2")] {
        let padded: Vec<u8> = std::iter::repeat_n(b'x', before).chain(canary.iter().copied()).collect();
        let whole = padded.len() / 3 * 4;
        let skip = if before == 0 { 0 } else { before + 1 };
        let text = STANDARD_NO_PAD.encode(&padded);
        forms.push((name, text.as_bytes()[skip..whole].to_vec()));
    }
    // The bytes as a list of numbers, as a derived Debug prints them.
    let numbers = canary.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    forms.push(("numbers", numbers.into()));
    forms
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    const CANARY: &str = "fake-canary-7f3a9";

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        let scanner = Scanner::new([CANARY]);
        let hex = hex(CANARY.as_bytes());
        let mut texts = vec![format!("a {CANARY} b"), format!("0x{hex}"), format!("{:?}", CANARY.as_bytes())];
        for before in ["", "u", "us", "use", "robot:"] {
            for after in ["", "!", "\"}"] {
                texts.push(BASE64_STANDARD.encode(format!("{before}{CANARY}{after}")));
            }
        }
        for text in texts {
            assert!(!scanner.scan("text", text.as_bytes()).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let scanner = Scanner::new([CANARY]);
        let other = "fake-canary-0000";
        for text in [other.to_owned(), BASE64_STANDARD.encode(other)] {
            assert_eq!(scanner.scan("text", text.as_bytes()), []);
        }
    }
}
