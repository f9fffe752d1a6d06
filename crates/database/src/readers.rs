//! Connections to read through.
//!
//! A pool asks a connection before and after each use whether it is still there. For a lookup in a file that costs more than
//! the lookup, and nobody cuts such a connection: single statements have one of their own beside the pool.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Transaction, pool::PoolConnection};
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

use crate::{Connection, Error, PATIENCE, address::Address};

#[derive(Debug)]
pub(crate) struct Readers {
    address: Address,
    pool: AnyPool,
    /// Made when it is needed.
    kept: Arc<Mutex<Option<AnyConnection>>>,
}

/// A connection for one statement, which is a snapshot by itself.
#[derive(Debug)]
pub struct Reader(Kind);

#[derive(Debug)]
enum Kind {
    Kept(OwnedMappedMutexGuard<Option<AnyConnection>, AnyConnection>),
    Pooled(PoolConnection<Any>),
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.0 {
            Kind::Kept(connection) => connection,
            Kind::Pooled(connection) => connection,
        }
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Connection {
        match &mut self.0 {
            Kind::Kept(connection) => connection,
            Kind::Pooled(connection) => connection,
        }
    }
}

impl Readers {
    pub(crate) fn new(address: Address) -> Result<Self, sqlx::Error> {
        Ok(Self { pool: address.readers()?, address, kept: Arc::default() })
    }

    /// A snapshot for several statements.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, Error> {
        Ok(self.pool.begin_with(self.address.begin_read()).await?)
    }

    /// For one statement.
    pub(crate) async fn one(&self) -> Result<Reader, sqlx::Error> {
        if let Address::Postgres(_) = self.address {
            return Ok(Reader(Kind::Pooled(self.pool.acquire().await?)));
        }
        let turn = tokio::time::timeout(PATIENCE, self.kept.clone().lock_owned());
        let mut kept = turn.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        if self.pool.is_closed() {
            return Err(sqlx::Error::PoolClosed);
        }
        if kept.is_none() {
            *kept = Some(self.address.connect_to_read().await?);
        }
        let connection = OwnedMutexGuard::try_map(kept, Option::as_mut);
        Ok(Reader(Kind::Kept(connection.map_err(|_| sqlx::Error::PoolClosed)?)))
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
        if let Some(connection) = self.kept.lock().await.take() {
            // It has only read: there is nothing to lose.
            let _ = connection.close().await;
        }
    }
}
