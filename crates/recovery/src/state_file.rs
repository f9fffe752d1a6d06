//! What a service remembers of its database outside of it: one line of JSON, which may lag behind and never leads.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use pullpass_database::Head;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "pullpass state 1";

/// How far the database was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) epoch: String,
    pub(crate) revision: i64,
    /// Of the last audit event; 0 before the first.
    pub(crate) sequence: i64,
    /// That event's; empty before the first.
    pub(crate) mac: String,
}

impl From<&Head> for State {
    fn from(head: &Head) -> Self {
        let Head { epoch, revision, sequence, mac, .. } = head.clone();
        Self { epoch, revision, sequence, mac }
    }
}

/// The file as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    format: String,
    service: String,
    #[serde(flatten)]
    state: State,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("failed to read the state file {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// It cannot be written.
    #[error("failed to write the state file {}: its folder has to exist and to be writable", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// It is something else.
    #[error("{} is no state file of {service}: name the right one in `audit.state_file`, or move it away", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// The service whose it should be.
        service: &'static str,
    },
}

/// The file of one replica.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    service: &'static str,
}

impl StateFile {
    pub(crate) fn new(path: &Path, service: &'static str) -> Self {
        Self { path: path.to_owned(), service }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// None if there is no file.
    pub(crate) fn read(&self) -> Result<Option<State>, StateError> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| StateError::Read(self.path.clone(), error))?,
        };
        let written: Option<Written> = serde_json::from_slice(&text).ok();
        let ours = written.filter(|file| file.format == FORMAT && file.service == self.service);
        let foreign = || StateError::Foreign { file: self.path.clone(), service: self.service };
        ours.map(|file| Some(file.state)).ok_or_else(foreign)
    }

    /// In the place of what was there; on disk when it returns.
    pub(crate) fn write(&self, state: &State) -> Result<(), StateError> {
        self.replace(state).map_err(|error| StateError::Write(self.path.clone(), error))
    }

    fn replace(&self, state: &State) -> io::Result<()> {
        let written =
            Written { format: FORMAT.to_owned(), service: self.service.to_owned(), state: state.clone() };
        let folder = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut name = OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(".new");
        let temporary = folder.join(name);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all((serde_json::to_string(&written)? + "\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State { epoch: "e".into(), revision: 12, sequence: 30, mac: "ab".into() }
    }

    #[test]
    fn what_is_written_is_read_and_has_the_documented_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.json");
        let file = StateFile::new(&path, "credential-store");
        assert_eq!(file.read().unwrap(), None);
        file.write(&State { revision: 1, ..state() }).unwrap();
        file.write(&state()).unwrap();
        assert_eq!(file.read().unwrap(), Some(state()));
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"format\":\"pullpass state 1\",\"service\":\"credential-store\",\"epoch\":\"e\",\"revision\":12,\
             \"sequence\":30,\"mac\":\"ab\"}\n"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn another_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.json");
        StateFile::new(&path, "grant-manager").write(&state()).unwrap();
        let file = StateFile::new(&path, "credential-store");
        let error = file.read().unwrap_err().to_string();
        assert!(error.contains("store.json is no state file of credential-store"), "{error}");
        for text in ["", "{}", "{\"format\":\"pullpass state 1\""] {
            fs::write(&path, text).unwrap();
            assert!(matches!(file.read(), Err(StateError::Foreign { .. })), "{text}");
        }
        let nowhere = StateFile::new(&folder.path().join("absent/store.json"), "credential-store");
        assert!(matches!(nowhere.write(&state()), Err(StateError::Write(..))));
    }
}
