//! Whom a change concerns.

use std::collections::HashSet;

use pullpass_database::Connection;

use crate::error::Error;

/// Makes the change at `revision` one that concerns `cluster`.
pub(crate) async fn address(connection: &mut Connection, cluster: &str, revision: i64) -> Result<(), Error> {
    let query =
        sqlx::query("INSERT INTO audiences (cluster, revision) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    query.bind(cluster).bind(revision).execute(connection).await?;
    Ok(())
}

/// The revisions after `after` up to `last` that concern `cluster`.
pub(crate) async fn addressed(
    connection: &mut Connection,
    cluster: &str,
    after: i64,
    last: i64,
) -> Result<HashSet<i64>, Error> {
    let query = sqlx::query_scalar(
        "SELECT revision FROM audiences WHERE cluster = $1 AND revision > $2 AND revision <= $3",
    );
    let revisions: Vec<i64> = query.bind(cluster).bind(after).bind(last).fetch_all(connection).await?;
    Ok(revisions.into_iter().collect())
}
