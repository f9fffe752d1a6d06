//! Which link or grant goes to which cluster, from the moment it is declared until the cluster holds no trace of it.

use std::collections::BTreeSet;

use pullpass_api::grant::v1::SyncStatus;
use pullpass_database::Connection;
use sqlx::AssertSqlSafe;

use super::{decode, decode_all, range};
use crate::{error::Error, resource::Resource};

/// One link or grant in one cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Target {
    pub(crate) declaration: String,
    pub(crate) cluster: String,
    /// Revision of the link or grant.
    pub(crate) revision: i64,
    /// The revision at which it ceased to apply; none while it applies.
    pub(crate) left_at: Option<i64>,
    /// What the cluster last reported of it.
    pub(crate) report: Option<SyncStatus>,
}

#[derive(sqlx::FromRow)]
struct Row {
    declaration: String,
    cluster: String,
    revision: i64,
    left_at: Option<i64>,
    report: Option<Vec<u8>>,
}

impl TryFrom<Row> for Target {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let Row { declaration, cluster, revision, left_at, report } = row;
        let report = report.map(|bytes| decode(&declaration, &bytes)).transpose()?;
        Ok(Self { declaration, cluster, revision, left_at, report })
    }
}

/// The targets by link or grant and cluster: those of one cluster only if it is given, those of `declarations` only if any
/// are given.
pub(crate) async fn list(
    connection: &mut Connection,
    cluster: Option<&str>,
    declarations: &BTreeSet<String>,
) -> Result<Vec<Target>, Error> {
    let (mut conditions, mut values) = (vec!["TRUE".to_owned()], Vec::new());
    if let Some(cluster) = cluster {
        values.push(cluster);
        conditions.push("t.cluster = $1".to_owned());
    }
    if !declarations.is_empty() {
        let first = values.len() + 1;
        values.extend(declarations.iter().map(String::as_str));
        let places: Vec<String> = (first..=values.len()).map(|n| format!("${n}")).collect();
        conditions.push(format!("t.declaration IN ({})", places.join(", ")));
    }
    let query = format!(
        "SELECT t.declaration, t.cluster, r.revision, t.left_at, t.report \
         FROM targets t JOIN resources r ON r.name = t.declaration \
         WHERE {} ORDER BY t.declaration, t.cluster",
        conditions.join(" AND ")
    );
    // Nothing but placeholders was put into it.
    let mut query = sqlx::query_as(AssertSqlSafe(query));
    for value in values {
        query = query.bind(value);
    }
    let rows: Vec<Row> = query.fetch_all(connection).await?;
    rows.into_iter().map(Target::try_from).collect()
}

/// The links or grants that apply to a cluster, by name.
pub(crate) async fn applying<R: Resource>(
    connection: &mut Connection,
    cluster: &str,
) -> Result<Vec<R>, Error> {
    let (first, end) = range::<R>();
    let query = sqlx::query_as(
        "SELECT r.name, r.message FROM targets t JOIN resources r ON r.name = t.declaration \
         WHERE t.cluster = $1 AND t.left_at IS NULL AND r.name >= $2 AND r.name < $3 ORDER BY r.name",
    );
    let rows: Vec<(String, Vec<u8>)> =
        query.bind(cluster).bind(first).bind(end).fetch_all(connection).await?;
    decode_all(&rows)
}

/// The links or grants that apply to a cluster or have not been taken back from it yet, by name.
pub(crate) async fn holding<R: Resource>(
    connection: &mut Connection,
    cluster: &str,
) -> Result<Vec<R>, Error> {
    let (first, end) = range::<R>();
    let query = sqlx::query_as(
        "SELECT r.name, r.message FROM targets t JOIN resources r ON r.name = t.declaration \
         WHERE t.cluster = $1 AND r.name >= $2 AND r.name < $3 ORDER BY r.name",
    );
    let rows: Vec<(String, Vec<u8>)> =
        query.bind(cluster).bind(first).bind(end).fetch_all(connection).await?;
    decode_all(&rows)
}

/// The clusters that a link or grant applies to or has not been taken back from yet.
pub(crate) async fn clusters(connection: &mut Connection, declaration: &str) -> Result<Vec<String>, Error> {
    let query = sqlx::query_scalar("SELECT cluster FROM targets WHERE declaration = $1 ORDER BY cluster");
    Ok(query.bind(declaration).fetch_all(connection).await?)
}

/// Lets it apply to the cluster, also if it was on its way out.
pub(crate) async fn join(connection: &mut Connection, declaration: &str, cluster: &str) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO targets (declaration, cluster) VALUES ($1, $2) \
         ON CONFLICT (declaration, cluster) DO UPDATE SET left_at = NULL",
    );
    query.bind(declaration).bind(cluster).execute(connection).await?;
    Ok(())
}

/// It ceases to apply to the cluster at `revision`.
pub(crate) async fn leave(
    connection: &mut Connection,
    declaration: &str,
    cluster: &str,
    revision: i64,
) -> Result<(), Error> {
    let query = sqlx::query(
        "UPDATE targets SET left_at = $3 WHERE declaration = $1 AND cluster = $2 AND left_at IS NULL",
    );
    query.bind(declaration).bind(cluster).bind(revision).execute(connection).await?;
    Ok(())
}

/// The cluster has nothing to do with it any more.
pub(crate) async fn forget(
    connection: &mut Connection,
    declaration: &str,
    cluster: &str,
) -> Result<(), Error> {
    let query = sqlx::query("DELETE FROM targets WHERE declaration = $1 AND cluster = $2");
    query.bind(declaration).bind(cluster).execute(connection).await?;
    Ok(())
}

/// Keeps what the cluster reports of it; nothing if it no longer does.
pub(crate) async fn report(
    connection: &mut Connection,
    declaration: &str,
    cluster: &str,
    report: Option<&SyncStatus>,
) -> Result<(), Error> {
    let query = sqlx::query("UPDATE targets SET report = $3 WHERE declaration = $1 AND cluster = $2");
    let report = report.map(prost::Message::encode_to_vec);
    query.bind(declaration).bind(cluster).bind(report).execute(connection).await?;
    Ok(())
}
