//! Safe retries: an attempt that succeeded is remembered for a day, by its caller's id for it.

use time::{Duration, OffsetDateTime};

use crate::{Error, Write, to_micros};

const KEPT: Duration = Duration::DAY;

/// One attempt at a call.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// SPIFFE id of the caller. Ids of different callers have nothing to do with each other.
    pub principal: &'a str,
    /// The caller's id for the attempt.
    pub request_id: &'a str,
    /// The RPC, as in `CreateCredential`.
    pub method: &'a str,
    /// Resource name of what it is done to.
    pub resource: &'a str,
    /// The time now.
    pub now: OffsetDateTime,
}

impl Write {
    /// True the first time, and remembers it if this transaction is committed. False if the same attempt succeeded
    /// within the last day: then do nothing and answer with the resource as it is.
    /// [`Error::RequestReused`] if the id was used for another method or resource.
    pub async fn first_time(&mut self, request: Request<'_>) -> Result<bool, Error> {
        let expired = sqlx::query("DELETE FROM requests WHERE time < $1");
        expired.bind(to_micros(request.now - KEPT)).execute(self.connection()).await?;
        if self.remember(request).await? {
            return Ok(true);
        }
        let before =
            sqlx::query_as("SELECT method, resource FROM requests WHERE principal = $1 AND request_id = $2");
        let before = before.bind(request.principal).bind(request.request_id);
        let (method, resource): (String, String) = before.fetch_one(self.connection()).await?;
        if method == request.method && resource == request.resource {
            return Ok(false);
        }
        Err(Error::RequestReused { request_id: request.request_id.to_owned(), method, resource })
    }

    /// False if that was done before.
    async fn remember(&mut self, request: Request<'_>) -> Result<bool, Error> {
        let insert = sqlx::query(
            "INSERT INTO requests (principal, request_id, method, resource, time) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (principal, request_id) DO NOTHING",
        );
        let insert = insert
            .bind(request.principal)
            .bind(request.request_id)
            .bind(request.method)
            .bind(request.resource)
            .bind(to_micros(request.now));
        Ok(insert.execute(self.connection()).await?.rows_affected() == 1)
    }
}
