//! Who acts for which cluster, and how far it has reported.

use pullpass_api::grant::v1::Cluster;
use pullpass_database::{Connection, from_micros, to_micros};
use pullpass_runtime::SpiffeId;
use time::OffsetDateTime;

use super::decode;
use crate::error::Error;

/// A cluster and what its applier last reported as a whole.
#[derive(Debug)]
pub(crate) struct Applier {
    pub(crate) cluster: Cluster,
    pub(crate) observed_revision: i64,
    pub(crate) report_time: Option<OffsetDateTime>,
    /// Since when it was the active one, by its Lease.
    pub(crate) acquire_time: Option<OffsetDateTime>,
}

#[derive(sqlx::FromRow)]
struct Row {
    cluster: String,
    message: Vec<u8>,
    observed_revision: i64,
    report_time: Option<i64>,
    acquire_time: Option<i64>,
}

impl TryFrom<Row> for Applier {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            cluster: decode(&row.cluster, &row.message)?,
            observed_revision: row.observed_revision,
            report_time: row.report_time.map(from_micros),
            acquire_time: row.acquire_time.map(from_micros),
        })
    }
}

/// The one whose identity this is; an error if there is none.
pub(crate) async fn of_identity(connection: &mut Connection, identity: &SpiffeId) -> Result<Applier, Error> {
    let query = sqlx::query_as(
        "SELECT a.cluster, r.message, a.observed_revision, a.report_time, a.acquire_time \
         FROM appliers a JOIN resources r ON r.name = a.cluster WHERE a.identity = $1",
    );
    let row: Option<Row> = query.bind(identity.as_str()).fetch_optional(connection).await?;
    row.ok_or_else(|| Error::NotRegistered(identity.clone()))?.try_into()
}

/// All, or that of one cluster, by name.
pub(crate) async fn all(connection: &mut Connection, cluster: Option<&str>) -> Result<Vec<Applier>, Error> {
    let query = sqlx::query_as(
        "SELECT a.cluster, r.message, a.observed_revision, a.report_time, a.acquire_time \
         FROM appliers a JOIN resources r ON r.name = a.cluster \
         WHERE $1 IS NULL OR a.cluster = $1 ORDER BY a.cluster",
    );
    let rows: Vec<Row> = query.bind(cluster).fetch_all(connection).await?;
    rows.into_iter().map(Applier::try_from).collect()
}

/// The cluster that this identity already acts for.
pub(crate) async fn holder(connection: &mut Connection, identity: &str) -> Result<Option<String>, Error> {
    let query = sqlx::query_scalar("SELECT cluster FROM appliers WHERE identity = $1").bind(identity);
    Ok(query.fetch_optional(connection).await?)
}

/// Lets `identity` act for the cluster, and nobody else.
pub(crate) async fn appoint(connection: &mut Connection, cluster: &str, identity: &str) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO appliers (cluster, identity) VALUES ($1, $2) \
         ON CONFLICT (cluster) DO UPDATE SET identity = excluded.identity",
    );
    query.bind(cluster).bind(identity).execute(connection).await?;
    Ok(())
}

/// Keeps up to where a report goes.
pub(crate) async fn reported(
    connection: &mut Connection,
    cluster: &str,
    observed_revision: i64,
    acquire_time: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let query = sqlx::query(
        "UPDATE appliers SET observed_revision = $2, report_time = $3, acquire_time = $4 WHERE cluster = $1",
    );
    let query = query.bind(cluster).bind(observed_revision).bind(to_micros(now));
    query.bind(acquire_time.map(to_micros)).execute(connection).await?;
    Ok(())
}
