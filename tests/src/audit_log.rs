//! The API server's audit log: what it was asked, and by whom.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use serde_json::Value;

/// The file, and where the part of interest begins.
#[derive(Debug, Clone)]
pub struct AuditLog {
    file: PathBuf,
    from: u64,
}

/// A request that the API server answered or began to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` …
    pub verb: String,
    /// Path and query.
    pub uri: String,
    /// HTTP status.
    pub code: i64,
}

impl Request {
    /// Whether it asked for a change.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

impl AuditLog {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, from: 0 }
    }

    /// The part that begins now.
    #[must_use]
    pub fn from_now(&self) -> Self {
        let whole_lines = self.text().rfind('\n').map_or(0, |end| end + 1);
        Self { file: self.file.clone(), from: self.from + u64::try_from(whole_lines).unwrap_or_default() }
    }

    /// What `user` asked for, in order; a watch once: when it began or, on Kubernetes 1.20, which logs it only then, when it
    /// ended.
    pub fn requests_of(&self, user: &str) -> Vec<Request> {
        let text = self.text();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|event| event["user"]["username"] == user)
            .filter(|event| event["verb"] != "watch" || event["stage"] == "ResponseStarted")
            .map(|event| Request {
                verb: event["verb"].as_str().unwrap_or_default().to_owned(),
                uri: event["requestURI"].as_str().unwrap_or_default().to_owned(),
                code: event["responseStatus"]["code"].as_i64().unwrap_or_default(),
            })
            .collect()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let read = File::open(&self.file).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.from))?;
            file.read_to_string(&mut text)
        });
        // Before the first request there is no log.
        read.map(|_| text).unwrap_or_default()
    }
}
