use std::{path::PathBuf, sync::Arc};

use pullpass_runtime::private_file;
use sqlx::migrate::MigrateError;

/// Why the database did not do what was asked. Never with a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be made.
    #[error("failed to create the database {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The password cannot be had.
    #[error("the database's password cannot be used")]
    Password(#[from] private_file::Error),
    /// The password is no text.
    #[error("the database's password in {} is not UTF-8", .0.display())]
    NotText(PathBuf),
    /// A password for nobody.
    #[error("the database {0} has a password_file but no user: write postgres://user@host/database")]
    NoUser(String),
    /// It is not there, or not a database that we can use.
    #[error("failed to open the database {database}")]
    Open {
        /// Which.
        database: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The schema is newer than this program, or a step to the newest failed.
    #[error("failed to bring the schema of the database {database} up to date")]
    Migrate {
        /// Which.
        database: String,
        /// Why.
        source: MigrateError,
    },
    /// Others kept the database busy for too long. Worth a retry.
    #[error("the database is busy")]
    Busy,
    /// The connection was cut or refused. A write may have happened or not. Worth a retry.
    #[error("the database cannot be reached")]
    Unreachable(#[source] Arc<sqlx::Error>),
    /// A request id came back with something else. Not worth a retry.
    #[error("the request id {request_id} was already used for {method} of {resource}")]
    RequestReused {
        /// The id.
        request_id: String,
        /// The method that it was first used for.
        method: String,
        /// The resource that it was first used for.
        resource: String,
    },
    /// A statement failed.
    #[error("failed to read or write the database")]
    Sql(#[source] Arc<sqlx::Error>),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Arc::new(error).into()
    }
}

impl From<Arc<sqlx::Error>> for Error {
    fn from(error: Arc<sqlx::Error>) -> Self {
        match &*error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Io(_) => Self::Unreachable(error),
            sqlx::Error::Database(answer) => match answer.code().as_deref() {
                Some(code) if is_busy(code) => Self::Busy,
                Some(code) if is_gone(code) => Self::Unreachable(error),
                _ => Self::Sql(error),
            },
            _ => Self::Sql(error),
        }
    }
}

/// `SQLITE_BUSY` and its extended codes; `PostgreSQL`'s for a lock or a statement that took too long.
fn is_busy(code: &str) -> bool {
    matches!(code, "5" | "261" | "517" | "773" | "55P03" | "57014")
}

/// `PostgreSQL`'s for a connection that it ended, or does not accept now.
fn is_gone(code: &str) -> bool {
    code.starts_with("08") || matches!(code, "25P03" | "53300" | "57P01" | "57P02" | "57P03" | "57P05")
}
