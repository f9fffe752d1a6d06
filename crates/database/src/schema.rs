//! The schema: numbered steps that are written once, for both databases.
//!
//! They are written as `SQLite` takes them, with the types `TEXT`, `BLOB`, `BIGINT` and `BOOLEAN`, whose names stand for
//! nothing else in them. For `PostgreSQL` two of the names are replaced: text is compared and sorted by its bytes there
//! too, whatever the database's language.

use sqlx::{
    AssertSqlSafe, SqlSafeStr as _,
    migrate::{MigrateError, Migration, Migrator},
};

use crate::{Connection, address::Address};

/// Brings the shared schema and the service's own up to date.
pub(crate) async fn migrate(
    connection: &mut Connection,
    address: &Address,
    own: &Migrator,
) -> Result<(), MigrateError> {
    let mut shared = sqlx::migrate!();
    shared = in_dialect(address, &shared);
    shared.dangerous_set_table_name("_shared_migrations");
    shared.run(&mut *connection).await?;
    in_dialect(address, own).run(connection).await
}

fn in_dialect(address: &Address, written: &Migrator) -> Migrator {
    let steps = written.iter().cloned().map(|step| match address {
        Address::Sqlite(_) => step,
        Address::Postgres(_) => {
            let sql = AssertSqlSafe(for_postgres(step.sql.as_str())).into_sql_str();
            Migration::new(step.version, step.description, step.migration_type, sql, step.no_tx)
        }
    });
    Migrator::with_migrations(steps.collect())
}

fn for_postgres(sql: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = sql.split_inclusive(|c| !is_part(c)).map(|piece| {
        let word = piece.trim_end_matches(|c| !is_part(c));
        let type_name = match word {
            "TEXT" => "TEXT COLLATE \"C\"",
            "BLOB" => "BYTEA",
            other => other,
        };
        format!("{type_name}{}", &piece[word.len()..])
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_replaced_and_nothing_that_only_looks_like_them() {
        let sql = "CREATE TABLE a (b TEXT NOT NULL, context TEXT, c BLOB, TEXT_ID BIGINT); -- text";
        let translated = "CREATE TABLE a (b TEXT COLLATE \"C\" NOT NULL, context TEXT COLLATE \"C\", c BYTEA, TEXT_ID BIGINT); -- text";
        assert_eq!(for_postgres(sql), translated);
    }
}
