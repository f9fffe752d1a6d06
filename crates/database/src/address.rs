//! The two databases, and all that differs between them: how to connect, how a transaction begins, what a scrub is.

use std::{
    fmt,
    fs::OpenOptions,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use pullpass_runtime::private_file;
use sqlx::{
    AnyConnection, AnyPool, Connection as _,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use url::Url;

use crate::{DatabaseConfig, Error, PATIENCE};

const SQLITE_READERS: u32 = 4;
/// A round trip holds a connection longer than a look into a file does.
const POSTGRES_READERS: u32 = 8;

/// The pragmas of the one that writes. `secure_delete` overwrites with zeroes what is deleted.
const SQLITE_WRITER: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                             PRAGMA secure_delete = ON; PRAGMA busy_timeout = 5000";
/// One who stalls, or whom the network has cut off, must not hold the lock for ever: so long is a statement's, a wait's and
/// a pause's time.
const POSTGRES_SESSION: &str = "SET statement_timeout = '5s'; SET lock_timeout = '5s'; \
                                SET idle_in_transaction_session_timeout = '10s'; \
                                SET client_min_messages = warning; SET TIME ZONE 'UTC'";
/// The lock is held until the commit: so revisions are allocated in commit order, without gaps, whichever replica writes.
/// Its number is `pullpass` in ASCII. A statement sees what was committed before it began, so what follows the lock sees
/// all that its holders before did.
const POSTGRES_BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(8103502317520778099)";

/// How to reach the database.
#[derive(Clone)]
pub(crate) enum Address {
    Sqlite(PathBuf),
    /// With its password.
    Postgres(Url),
}

/// Never with the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            Self::Postgres(_) => "Postgres",
        })
    }
}

impl Address {
    pub(crate) fn of(config: &DatabaseConfig) -> Result<Self, Error> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        if let Some(file) = config.file() {
            create(&file)?;
            return Ok(Self::Sqlite(file));
        }
        let mut url = config.url.clone();
        if is_remote(&url) && !url.query_pairs().any(|(key, _)| matches!(&*key, "sslmode" | "ssl-mode")) {
            url.query_pairs_mut().append_pair("sslmode", "verify-full");
        }
        if let Some(file) = &config.password_file {
            let password = private_file::read(file)?;
            let password = std::str::from_utf8(&password).map_err(|_| Error::NotText(file.clone()))?;
            let password = password.trim_end_matches(['\r', '\n']);
            url.set_password(Some(password)).map_err(|()| Error::NoUser(config.to_string()))?;
        }
        Ok(Self::Postgres(url))
    }

    /// A connection for the one who writes.
    pub(crate) async fn connect(&self) -> Result<AnyConnection, sqlx::Error> {
        let mut connection = self.connect_without_limits().await?;
        if let Self::Postgres(_) = self {
            sqlx::raw_sql(POSTGRES_SESSION).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    /// The same without limits of time, which a change of the schema might exceed.
    pub(crate) async fn connect_without_limits(&self) -> Result<AnyConnection, sqlx::Error> {
        let options = self.options("rw")?;
        let connect = tokio::time::timeout(PATIENCE, AnyConnection::connect_with(&options));
        let timed_out = |_| Err(sqlx::Error::Io(ErrorKind::TimedOut.into()));
        let mut connection = connect.await.unwrap_or_else(timed_out)?;
        if let Self::Sqlite(_) = self {
            sqlx::raw_sql(SQLITE_WRITER).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    /// A connection for one who reads.
    pub(crate) async fn connect_to_read(&self) -> Result<AnyConnection, sqlx::Error> {
        AnyConnection::connect_with(&self.options("ro")?).await
    }

    /// Connections for those who read; made when they are needed.
    pub(crate) fn readers(&self) -> Result<AnyPool, sqlx::Error> {
        let pool = AnyPoolOptions::new().acquire_timeout(PATIENCE);
        let pool = match self {
            Self::Sqlite(_) => pool.max_connections(SQLITE_READERS).idle_timeout(None).max_lifetime(None),
            Self::Postgres(_) => pool.max_connections(POSTGRES_READERS).after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(POSTGRES_SESSION).execute(connection).await.map(drop) })
            }),
        };
        Ok(pool.connect_lazy_with(self.options("ro")?))
    }

    /// Begins a transaction in which nobody else writes.
    pub(crate) fn begin_write(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => POSTGRES_BEGIN,
        }
    }

    /// Whether nobody else writes during a statement that is not in a transaction either.
    pub(crate) fn is_locked_by_each_statement(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// Begins a snapshot.
    pub(crate) fn begin_read(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BEGIN",
            Self::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        }
    }

    /// How often the table is looked at for changes that nobody announced: on `SQLite` those whose caller went away during
    /// the commit, on `PostgreSQL` also all those of other replicas.
    pub(crate) fn poll(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::from_secs(1),
            Self::Postgres(_) => Duration::from_millis(200),
        }
    }

    fn options(&self, mode: &str) -> Result<AnyConnectOptions, sqlx::Error> {
        let url = match self {
            Self::Postgres(url) => url.clone(),
            Self::Sqlite(file) => {
                let mut url =
                    DatabaseConfig::sqlite(file).map_err(|e| sqlx::Error::Configuration(e.into()))?.url;
                url.set_query(Some(&format!("mode={mode}")));
                url
            }
        };
        sqlx::ConnectOptions::from_url(&url)
    }
}

/// Whether others than this machine's kernel see what is said.
fn is_remote(url: &Url) -> bool {
    let is_path = |host: &str| host.starts_with('/') || host.starts_with("%2F") || host.starts_with("%2f");
    let named = url
        .query_pairs()
        .find(|(key, _)| matches!(&**key, "host" | "hostaddr"))
        .map(|(_, host)| host.into_owned());
    let host = named.or_else(|| url.host_str().map(str::to_owned)).filter(|host| !host.is_empty());
    host.is_some_and(|host| !is_path(&host) && host != "localhost" && host != "127.0.0.1" && host != "[::1]")
}

fn create(path: &Path) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map(drop).map_err(|source| Error::Create { path: path.to_owned(), source })
}
