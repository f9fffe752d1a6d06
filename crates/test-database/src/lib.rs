//! Databases for tests. A test asks for one of its own and gets an `SQLite` file or, with `PULLPASS_TEST_DATABASE=postgres`, a
//! database on a real `PostgreSQL` server, so that one text of tests runs over both (`./just test` does that).
//!
//! A test process has one server, on a Unix socket in a temporary folder, which ends with the process however that ends.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "it is for tests, which fail by panicking"
)]

mod server;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

pub use server::Server;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Kind {
    /// The one that this run of the tests is about.
    pub fn of_this_run() -> Self {
        match std::env::var("PULLPASS_TEST_DATABASE").as_deref() {
            Err(_) | Ok("sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres,
            Ok(other) => panic!("PULLPASS_TEST_DATABASE is `{other}`: give sqlite or postgres"),
        }
    }
}

/// A database that nobody else uses. A file goes with it.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    file: Option<(TempDir, PathBuf)>,
    /// Its name on the server, if it is there.
    name: Option<String>,
}

impl TestDatabase {
    /// One of the kind that this run is about.
    pub fn new() -> Self {
        match Kind::of_this_run() {
            Kind::Sqlite => Self::sqlite(),
            Kind::Postgres => Self::postgres(),
        }
    }

    /// A file that does not exist yet, in a folder of its own.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("test.db");
        Self { url: format!("sqlite://{}", file.display()), file: Some((folder, file)), name: None }
    }

    /// An empty database on this process's server.
    pub fn postgres() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { url: Server::of_this_process().create(&name), file: None, name: Some(name) }
    }

    /// For the configuration.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref().map(|(_, file)| file)
    }

    /// What is another text after every write to one of these tables: `PostgreSQL` stamps each version of each row. Not for a
    /// file, which has a log to look at.
    pub fn row_versions(&self, tables: &[&str]) -> String {
        let name = self.name.as_deref().expect("only a server has row versions");
        let versions = |table| {
            Server::of_this_process().ask(name, &format!("SELECT xmin, ctid FROM {table} ORDER BY ctid"))
        };
        tables.iter().map(versions).collect::<Vec<_>>().join("\n\n")
    }

    /// Ends one of the connections to a database on the server, whichever.
    pub fn cut_a_connection(&self) {
        let name = self.name.as_deref().expect("only a server has connections");
        Server::of_this_process().ask(
            name,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1",
        );
    }

    /// Which of the two it is.
    pub fn kind(&self) -> Kind {
        if self.file.is_some() { Kind::Sqlite } else { Kind::Postgres }
    }
}

impl Default for TestDatabase {
    fn default() -> Self {
        Self::new()
    }
}
