//! The SQL. Everything here runs on a connection that its caller has begun a transaction on.
//!
//! Resources are kept as their wire messages: what an old version stored, a new one reads by protobuf's own rules.

pub(crate) mod appliers;
pub(crate) mod feed;
pub(crate) mod replicas;
pub(crate) mod targets;

use prost::Message;
use pullpass_database::Connection;

use crate::{error::Error, resource::Resource};

/// What is stored under this name.
pub(crate) async fn get<R: Resource>(connection: &mut Connection, name: &str) -> Result<Option<R>, Error> {
    let query = sqlx::query_scalar("SELECT message FROM resources WHERE name = $1").bind(name);
    let message: Option<Vec<u8>> = query.fetch_optional(connection).await?;
    message.map(|bytes| decode(name, &bytes)).transpose()
}

/// The first `limit` of a kind after the name `after`, by name.
pub(crate) async fn list<R: Resource>(
    connection: &mut Connection,
    after: &str,
    limit: u32,
) -> Result<Vec<R>, Error> {
    let (first, end) = range::<R>();
    let query = sqlx::query_as(
        "SELECT name, message FROM resources WHERE name > $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT $4",
    );
    let rows: Vec<(String, Vec<u8>)> =
        query.bind(after).bind(first).bind(end).bind(i64::from(limit)).fetch_all(connection).await?;
    decode_all(&rows)
}

/// Stores it, in the place of what had its name.
pub(crate) async fn put<R: Resource>(connection: &mut Connection, resource: &R) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO resources (name, revision, message) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, message = excluded.message",
    );
    let query = query.bind(resource.name()).bind(resource.stamp().revision).bind(resource.encode_to_vec());
    query.execute(connection).await?;
    Ok(())
}

/// Removes a resource, and with it everything that is kept about it.
pub(crate) async fn remove(connection: &mut Connection, name: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM resources WHERE name = $1").bind(name).execute(connection).await?;
    Ok(())
}

/// The names of a kind are those from the first of these to below the second.
fn range<R: Resource>() -> (String, String) {
    // `0` is the character after `/`.
    (format!("{}/", R::COLLECTION), format!("{}0", R::COLLECTION))
}

fn decode<M: Message + Default>(name: &str, bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|source| Error::Corrupt { name: name.to_owned(), source })
}

fn decode_all<M: Message + Default>(rows: &[(String, Vec<u8>)]) -> Result<Vec<M>, Error> {
    rows.iter().map(|(name, bytes)| decode(name, bytes)).collect()
}
