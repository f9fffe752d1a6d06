use std::path::PathBuf;

use sqlx::migrate::MigrateError;

/// Why the database did not do what was asked.
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
    /// The file is there but is no database that we can use.
    #[error("failed to open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The schema is newer than this program, or a step to the newest failed.
    #[error("failed to bring the schema of the database {} up to date", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: MigrateError,
    },
    /// Others kept the database busy for too long. Worth a retry.
    #[error("the database is busy")]
    Busy,
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
    Sql(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            other => Self::Sql(other),
        }
    }
}
