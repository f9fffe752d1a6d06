//! What the replicas tell one another.

use std::collections::HashMap;

use pullpass_database::{Connection, from_micros, to_micros};
use time::OffsetDateTime;

use crate::{
    error::Error,
    presence::{Applier, Appliers},
};

/// A replica is there, and has stored so many reports with news. True if it was unknown: then the others know nothing of its
/// appliers either.
pub(crate) async fn see(
    connection: &mut Connection,
    replica: &str,
    now: OffsetDateTime,
    news: i64,
) -> Result<bool, Error> {
    let update = sqlx::query("UPDATE replicas SET seen = $2, news = $3 WHERE name = $1");
    let update = update.bind(replica).bind(to_micros(now)).bind(news);
    if update.execute(&mut *connection).await?.rows_affected() > 0 {
        return Ok(false);
    }
    let insert = sqlx::query("INSERT INTO replicas (name, seen, news) VALUES ($1, $2, $3)");
    insert.bind(replica).bind(to_micros(now)).bind(news).execute(connection).await?;
    Ok(true)
}

/// What a replica knows of an applier.
pub(crate) async fn put(
    connection: &mut Connection,
    replica: &str,
    cluster_uid: &str,
    applier: Applier,
) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO presence (replica, cluster_uid, streams, report_time) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (replica, cluster_uid) \
         DO UPDATE SET streams = excluded.streams, report_time = excluded.report_time",
    );
    let streams = i64::try_from(applier.streams).unwrap_or(i64::MAX);
    let query = query.bind(replica).bind(cluster_uid).bind(streams).bind(applier.report_time.map(to_micros));
    query.execute(connection).await?;
    Ok(())
}

/// Those that were not seen since are gone.
pub(crate) async fn forget(connection: &mut Connection, since: OffsetDateTime) -> Result<(), Error> {
    let query = sqlx::query("DELETE FROM replicas WHERE seen < $1");
    query.bind(to_micros(since)).execute(connection).await?;
    Ok(())
}

/// The other replicas, and how many reports with news each has stored.
pub(crate) async fn others(
    connection: &mut Connection,
    replica: &str,
) -> Result<HashMap<String, i64>, Error> {
    let query = sqlx::query_as("SELECT name, news FROM replicas WHERE name <> $1");
    let rows: Vec<(String, i64)> = query.bind(replica).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

/// What the other replicas that were seen since know of the appliers.
pub(crate) async fn elsewhere(
    connection: &mut Connection,
    replica: &str,
    since: OffsetDateTime,
) -> Result<Appliers, Error> {
    let query = sqlx::query_as(
        "SELECT p.cluster_uid, p.streams, p.report_time FROM presence p \
         JOIN replicas r ON r.name = p.replica WHERE r.name <> $1 AND r.seen >= $2",
    );
    let query = query.bind(replica).bind(to_micros(since));
    let rows: Vec<(String, i64, Option<i64>)> = query.fetch_all(connection).await?;
    let mut elsewhere = Appliers::new();
    for (uid, streams, report_time) in rows {
        let applier = elsewhere.entry(uid).or_default();
        applier.streams += usize::try_from(streams).unwrap_or_default();
        applier.report_time = applier.report_time.max(report_time.map(from_micros));
    }
    Ok(elsewhere)
}
