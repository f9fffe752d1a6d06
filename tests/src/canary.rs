//! Looks for planted secrets in everything that was written: as they are, and in every form into which something on the
//! way may have put them.

mod forms;
mod search;
mod watch;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

pub use search::Search;
pub use watch::Watch;

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

#[derive(Debug)]
struct Needle {
    canary: usize,
    form: &'static str,
    bytes: Vec<u8>,
}

/// The canaries, in all their forms.
#[derive(Debug)]
pub struct Scanner {
    /// By their first two bytes: most of what is searched begins like none of them.
    needles: HashMap<[u8; 2], Vec<Needle>>,
    begins: Vec<bool>,
}

impl Scanner {
    /// Looks for these.
    pub fn new<'a>(canaries: impl IntoIterator<Item = &'a str>) -> Self {
        let mut scanner = Self { needles: HashMap::new(), begins: vec![false; 1 << 16] };
        for (canary, text) in canaries.into_iter().enumerate() {
            for (form, bytes) in forms::all(text) {
                let beginning = [bytes[0], bytes[1]];
                scanner.begins[usize::from(u16::from_be_bytes(beginning))] = true;
                scanner.needles.entry(beginning).or_default().push(Needle { canary, form, bytes });
            }
        }
        scanner
    }

    /// What is in some bytes; each canary once in each form.
    pub fn scan(&self, place: &str, bytes: &[u8]) -> Vec<Hit> {
        let mut found = BTreeSet::new();
        for (at, pair) in bytes.windows(2).enumerate() {
            let beginning = [pair[0], pair[1]];
            if self.begins[usize::from(u16::from_be_bytes(beginning))] {
                let here =
                    self.needles[&beginning].iter().filter(|needle| bytes[at..].starts_with(&needle.bytes));
                found.extend(here.map(|needle| (needle.canary, needle.form)));
            }
        }
        found.into_iter().map(|(canary, form)| Hit { place: place.to_owned(), canary, form }).collect()
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

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;

    const CANARY: &str = "fake-canary-7f3a9";
    /// Every way of writing it differs from the others; and what is written in two ways at once is found by its plain part.
    const AWKWARD: &str = "fake-canary-7f3a9 /+\"\u{200b}\\?=";

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
    fn an_awkward_one_is_found_in_every_form() {
        let scanner = Scanner::new([AWKWARD]);
        let found = |text: &str| scanner.scan("text", text.as_bytes());
        for (text, form) in [
            (AWKWARD.to_owned(), "raw"),
            (serde_json::json!({ "password": AWKWARD }).to_string(), "JSON"),
            (format!("Login {{ password: {AWKWARD:?} }}"), "Debug"),
            ("?p=fake-canary-7f3a9%20%2F%2B%22%E2%80%8B%5C%3F%3D&q".to_owned(), "URL"),
            ("?p=fake-canary-7f3a9%20%2f%2b%22%e2%80%8b%5c%3f%3d&q".to_owned(), "lower URL"),
            (serde_json::json!(format!("{AWKWARD:?}")).to_string(), "raw"),
            ("p=fake-canary-7f3a9+%2F%2B%22%E2%80%8B%5C%3F%3D&q".to_owned(), "form"),
        ] {
            assert!(found(&text).iter().any(|hit| hit.form == form), "{form}: {text}: {:?}", found(&text));
        }
        for before in ["", "u", "us"] {
            let login = format!("{before}{AWKWARD}!");
            assert!(
                !found(&BASE64_URL_SAFE_NO_PAD.encode(&login)).is_empty(),
                "URL-safe base64 of {login:?}"
            );
            let auth = BASE64_STANDARD.encode(&login);
            for before in ["", "{", "{\""] {
                let data = BASE64_STANDARD.encode(format!("{before}{auth}\"}}"));
                assert!(!found(&data).is_empty(), "twice base64, with {before:?} before");
            }
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
