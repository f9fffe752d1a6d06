//! Where the database is, as the configuration says it. It never holds a password, so it may be shown.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

/// Where the database is, and thereby which one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct DatabaseConfig {
    pub(crate) url: Url,
    pub(crate) password_file: Option<PathBuf>,
}

/// The fields of the section `[database]`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// `sqlite:///absolute/file.db`: made, readable by its owner alone, if it does not exist; its folder must exist.
    /// `postgres://user@host:5432/database?sslmode=verify-full&sslrootcert=/ca.crt`: the database must exist; without an
    /// `sslmode` a host on the network has to prove itself (`verify-full`). What is left out is taken from the
    /// environment as by libpq: `PGHOST`, `PGUSER`, `PGSSLROOTCERT`, `PGPASSFILE`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The password of the `PostgreSQL` user: a file that its owner alone can read. A line end at its end does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
    /// What there was before `url`.
    #[serde(default, skip_serializing)]
    path: Option<PathBuf>,
}

/// What is wrong with the section `[database]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The field of older versions.
    #[error("`path` has become `url`: write url = \"sqlite://{}\"", .0.display())]
    OldPath(PathBuf),
    /// There is no `url`.
    #[error("`url` is missing: give sqlite:///absolute/file.db or postgres://user@host/database")]
    Missing,
    /// It is no URL of a database that we know.
    #[error("`url` is neither sqlite:///absolute/file.db nor postgres://user@host/database")]
    Url,
    /// A secret where it would be seen.
    #[error("`url` holds a password: write that into a file of mode 0600 and name it as `password_file`")]
    Password,
    /// A password for a file.
    #[error("`password_file` is for PostgreSQL: leave it out with SQLite")]
    NoPassword,
}

impl DatabaseConfig {
    /// The `SQLite` file of this absolute path.
    pub fn sqlite(file: &Path) -> Result<Self, ConfigError> {
        let url = Url::from_file_path(file).map_err(|()| ConfigError::Url)?;
        Self::new(&url.as_str().replacen("file:", "sqlite:", 1), None)
    }

    /// The database at `url`; `password_file` is for `PostgreSQL` only.
    pub fn new(url: &str, password_file: Option<PathBuf>) -> Result<Self, ConfigError> {
        // Errors of the parser say what is wrong, but never with the text: it may hold a password.
        let url = Url::parse(url).map_err(|_| ConfigError::Url)?;
        let config = Self { url, password_file };
        if config.url.password().is_some() || config.url.query_pairs().any(|(key, _)| key == "password") {
            return Err(ConfigError::Password);
        }
        match config.url.scheme() {
            "postgres" | "postgresql" => Ok(config),
            "sqlite" if config.password_file.is_some() => Err(ConfigError::NoPassword),
            "sqlite" if config.file().is_some() => Ok(config),
            _ => Err(ConfigError::Url),
        }
    }

    /// The file, if it is `SQLite`.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let rest = self.url.as_str().strip_prefix("sqlite:///")?;
        let file = Url::parse(&format!("file:///{rest}")).ok()?;
        let plain = file.query().is_none() && file.fragment().is_none() && !rest.is_empty();
        file.to_file_path().ok().filter(|_| plain)
    }
}

/// Without what follows the name of the database.
impl std::fmt::Display for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.file() {
            Some(file) => file.display().fmt(f),
            None => f.write_str(self.url.as_str().split(['?', '#']).next().unwrap_or_default()),
        }
    }
}

impl TryFrom<Fields> for DatabaseConfig {
    type Error = ConfigError;

    fn try_from(fields: Fields) -> Result<Self, ConfigError> {
        if let Some(path) = fields.path {
            return Err(ConfigError::OldPath(path));
        }
        Self::new(&fields.url.ok_or(ConfigError::Missing)?, fields.password_file)
    }
}

impl From<DatabaseConfig> for Fields {
    fn from(config: DatabaseConfig) -> Self {
        Self { url: Some(config.url.into()), password_file: config.password_file, path: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> ConfigError {
        DatabaseConfig::new(url, None).unwrap_err()
    }

    #[test]
    fn a_file_is_named_by_its_absolute_path_whatever_is_in_that() {
        for path in ["/var/lib/pullpass/x.db", "/tmp/a folder/50%?#.db"] {
            let config = DatabaseConfig::sqlite(Path::new(path)).unwrap();
            assert_eq!(config.file().as_deref(), Some(Path::new(path)));
            assert_eq!(config.to_string(), path);
            assert_eq!(DatabaseConfig::new(config.url.as_str(), None).unwrap(), config);
        }
        for url in [
            "sqlite:x.db",
            "sqlite://x.db",
            "sqlite:///",
            "sqlite:///x.db?mode=memory",
            "/x.db",
            "mysql://h/d",
        ] {
            assert_eq!(refusal(url), ConfigError::Url, "{url}");
        }
        assert_eq!(DatabaseConfig::sqlite(Path::new("x.db")).unwrap_err(), ConfigError::Url);
    }

    #[test]
    fn a_password_is_refused_and_never_shown() {
        for url in ["postgres://u:fake-password@h/d", "postgres://u@h/d?password=fake-password"] {
            let error = refusal(url);
            assert_eq!(error, ConfigError::Password);
            assert!(!format!("{error} {error:?}").contains("fake-password"));
        }
        let broken = refusal("postgres://u:fake-password@[h/d");
        assert!(!format!("{broken} {broken:?}").contains("fake-password"));
        let file = Some(PathBuf::from("/p"));
        assert_eq!(DatabaseConfig::new("sqlite:///x.db", file).unwrap_err(), ConfigError::NoPassword);
    }

    #[test]
    fn postgres_is_shown_without_its_parameters() {
        let config =
            DatabaseConfig::new("postgres://u@h:1/d?sslmode=verify-full", Some("/p".into())).unwrap();
        assert_eq!(config.to_string(), "postgres://u@h:1/d");
    }

    #[test]
    fn the_field_of_before_is_answered_with_what_to_write() {
        let fields = Fields { path: Some("/var/lib/x.db".into()), ..Fields::default() };
        let error = DatabaseConfig::try_from(fields).unwrap_err().to_string();
        assert_eq!(error, "`path` has become `url`: write url = \"sqlite:///var/lib/x.db\"");
        assert_eq!(DatabaseConfig::try_from(Fields::default()).unwrap_err(), ConfigError::Missing);
    }
}
