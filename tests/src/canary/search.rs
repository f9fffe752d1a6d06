//! A search through everything that was written, kind by kind, which counts what it has searched: a kind of which nothing was
//! searched shows nothing.

use std::{collections::BTreeMap, fs, path::Path};

use super::{Hit, Scanner};

/// The search so far.
#[derive(Debug)]
pub struct Search<'a> {
    scanner: &'a Scanner,
    kinds: BTreeMap<&'static str, Kind>,
}

#[derive(Debug, Default)]
struct Kind {
    searched: usize,
    hits: Vec<Hit>,
    may_be_empty: bool,
}

impl<'a> Search<'a> {
    /// Nothing has been searched yet.
    pub fn new(scanner: &'a Scanner) -> Self {
        Self { scanner, kinds: BTreeMap::new() }
    }

    /// Searches what is at hand.
    pub fn bytes(&mut self, kind: &'static str, place: &str, bytes: &[u8]) {
        let hits = self.scanner.scan(place, bytes);
        self.note(kind, bytes.len(), hits);
    }

    /// Searches the files under a folder whose path `is` one of this kind.
    pub fn files(&mut self, kind: &'static str, folder: &Path, is: impl Fn(&Path) -> bool) {
        let (hits, searched) = self.scanner.scan_folder(folder, |file| !is(file));
        self.note(kind, searched, hits);
    }

    /// Searches all files under a folder.
    pub fn folder(&mut self, kind: &'static str, folder: &Path) {
        self.files(kind, folder, |_| true);
    }

    /// Searches what everybody on the machine may see of a process, and what its own user may.
    pub fn process(&mut self, kind: &'static str, id: u32) {
        for file in ["cmdline", "environ"] {
            let file = format!("/proc/{id}/{file}");
            let bytes = fs::read(&file).unwrap_or_else(|e| panic!("{file} cannot be read: {e}"));
            self.bytes(kind, &file, &bytes);
        }
    }

    /// There need be none of this kind.
    pub fn may_be_empty(&mut self, kind: &'static str) {
        self.kinds.entry(kind).or_default().may_be_empty = true;
    }

    /// The hits of one kind.
    pub fn hits(&self, kind: &str) -> &[Hit] {
        self.kinds.get(kind).map_or(&[], |kind| &kind.hits)
    }

    /// The kinds that were searched.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.keys().copied()
    }

    /// How many bytes of each kind were searched, as a table.
    pub fn summary(&self) -> String {
        let line = |(name, kind): (&&str, &Kind)| format!("{:>12} bytes of {name}\n", kind.searched);
        self.kinds.iter().map(line).collect()
    }

    /// Panics if a canary was found, or if there was nothing to search of a kind.
    #[track_caller]
    pub fn found_nothing(&self) {
        let hits: Vec<_> = self.kinds.values().flat_map(|kind| &kind.hits).collect();
        assert!(hits.is_empty(), "secrets were found in the clear: {hits:#?}");
        let empty = |kind: &Kind| kind.searched == 0 && !kind.may_be_empty;
        let empty: Vec<_> = self.kinds.iter().filter(|(_, kind)| empty(kind)).map(|(name, _)| name).collect();
        assert!(empty.is_empty(), "there was nothing to search of {empty:?}");
    }

    fn note(&mut self, kind: &'static str, searched: usize, hits: Vec<Hit>) {
        let kind = self.kinds.entry(kind).or_default();
        kind.searched += searched;
        kind.hits.extend(hits);
    }
}
