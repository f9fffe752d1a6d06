//! A database with very many versions, made by SQL from a credential that the service made itself.
//!
//! Copies can be read and listed as any other; what they seal does not open, for it is bound to where it came from. The
//! changes and audit events that they would have caused are left out: no read looks at those.

use anyhow::Context as _;
use sqlx::{
    AnyConnection, AssertSqlSafe, Column as _, Connection as _, Row as _, any::install_default_drivers,
};

/// The credential of this name as `credentials/copy-1000001`, `…2` and so on, with its versions.
pub(crate) async fn copies(url: &str, of: &str, count: u32) -> anyhow::Result<()> {
    install_default_drivers();
    let mut sql = AnyConnection::connect(url).await.context("failed to open the database")?;
    let credentials = columns(&mut sql, "credentials").await?;
    let versions = columns(&mut sql, "credential_versions").await?;
    let series = format!(
        "WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})"
    );
    let uid = "c.uid || '-' || n";
    let copied = |columns: &[String], of: &str| {
        let column = |name: &String| match name.as_str() {
            "name" => "'credentials/copy-' || (1000000 + n)".to_owned(),
            "uid" => uid.to_owned(),
            other => format!("{of}.{other}"),
        };
        columns.iter().map(column).collect::<Vec<_>>().join(", ")
    };
    let from = format!("FROM series JOIN credentials c ON c.name = '{of}'");
    // PostgreSQL does it by itself a while after many rows have changed, and reads whole tables until then.
    let analyze = if url.starts_with("postgres") { "ANALYZE" } else { "SELECT 1" };
    let statements = [
        format!(
            "INSERT INTO credentials ({}) {series} SELECT {} {from}",
            credentials.join(", "),
            copied(&credentials, "c")
        ),
        format!(
            "INSERT INTO credential_versions ({}) {series} SELECT {} {from} \
             JOIN credential_versions v ON v.uid = c.uid",
            versions.join(", "),
            copied(&versions, "v")
        ),
        analyze.to_owned(),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut sql)
            .await
            .context("failed to fill the database")?;
    }
    sql.close().await?;
    Ok(())
}

/// A credential's newest version again and again, until it has this many.
pub(crate) async fn more_versions(url: &str, of: &str, count: u32) -> anyhow::Result<()> {
    install_default_drivers();
    let mut sql = AnyConnection::connect(url).await.context("failed to open the database")?;
    let columns = columns(&mut sql, "credential_versions").await?;
    let copied = |name: &String| match name.as_str() {
        "version" => "c.version + n".to_owned(),
        other => format!("v.{other}"),
    };
    let copied = columns.iter().map(copied).collect::<Vec<_>>().join(", ");
    let statements = [
        format!(
            "INSERT INTO credential_versions ({}) \
             WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count}) \
             SELECT {copied} FROM series JOIN credentials c ON c.name = '{of}' \
             JOIN credential_versions v ON v.uid = c.uid AND v.version = c.version",
            columns.join(", ")
        ),
        format!("UPDATE credentials SET version = version + {count} WHERE name = '{of}'"),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut sql).await.context("failed to add versions")?;
    }
    sql.close().await?;
    Ok(())
}

/// As the tables have them now: a migration may add some.
async fn columns(sql: &mut AnyConnection, table: &str) -> anyhow::Result<Vec<String>> {
    let row = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table} LIMIT 1"))).fetch_one(sql).await;
    let row = row.with_context(|| format!("there is nothing in {table} to copy"))?;
    Ok(row.columns().iter().map(|column| column.name().to_owned()).collect())
}
