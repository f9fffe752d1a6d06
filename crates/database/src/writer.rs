//! The one writer, and its group commit: writes that come at the same time share one transaction and its one fdatasync.
//!
//! ```text
//!  begin ─► wait for the lock, first come, first served ─► BEGIN, if nobody has ─► SAVEPOINT ─► the member's own SQL
//!  commit ─► RELEASE, unlock ─► wait ···············································► acknowledged, or failed
//!  flusher: woken by each member that leaves, waits for the same lock behind all who wait already ─► COMMIT ─┘
//! ```
//!
//! So a writer that is alone is committed at once, and 32 of them by one COMMIT. A member that is dropped instead is rolled
//! back to its savepoint by the next one that takes the lock; the others do not notice. Whenever the database does not
//! answer as it should (`SQLite` ends a whole transaction by itself when the disk is full; a connection is cut), all members
//! that wait are failed: nobody is told that it is done whose work may be gone.
//!
//! What begins, releases and commits runs in tasks of its own, which nobody's giving up can interrupt half way.

use std::{sync::Arc, time::Duration};

use sqlx::{AnyConnection, Connection as _};
use tokio::{
    sync::{Mutex, Notify, OwnedMappedMutexGuard, OwnedMutexGuard, oneshot, watch},
    task::JoinHandle,
};
use tracing::Instrument;

use crate::{Connection, Error, PATIENCE, address::Address, feed};

/// So long may a step of ours take: longer than the database's own limits, in case that it is not there to enforce them.
const STEP: Duration = Duration::from_secs(15);
/// So long is waited for the end of a connection that is given up.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why something was not done: told to all whom it concerns.
type Failure = Arc<sqlx::Error>;
type Outcome = Result<(), Failure>;

/// The writes of one process.
#[derive(Debug)]
pub(crate) struct Writer {
    desk: Arc<Mutex<Desk>>,
    /// Tells the flusher that somebody left.
    left: Arc<Notify>,
    flusher: JoinHandle<()>,
}

/// What is behind the lock.
#[derive(Debug)]
struct Desk {
    address: Address,
    /// The highest revision that is committed.
    latest: watch::Sender<i64>,
    session: Option<Session>,
    closed: bool,
}

/// A connection and the transaction on it.
#[derive(Debug)]
struct Session {
    connection: AnyConnection,
    /// How a transaction begins.
    begin: &'static str,
    /// One is open.
    open: bool,
    /// In it, a member's savepoint; left over if nobody has the lock.
    savepoint: bool,
    /// Those whose work is done, and the revision of the last of it.
    members: Vec<oneshot::Sender<Outcome>>,
    revision: i64,
    /// Nobody knows in which state the connection is.
    broken: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flusher.abort();
    }
}

impl Writer {
    pub(crate) fn new(address: Address, latest: watch::Sender<i64>) -> Self {
        let desk = Arc::new(Mutex::new(Desk { address, latest, session: None, closed: false }));
        let left = Arc::new(Notify::new());
        let flusher = tokio::spawn(flush(desk.clone(), left.clone()));
        Self { desk, left, flusher }
    }

    /// Enters the group; waits for the turn.
    pub(crate) async fn begin(&self) -> Result<Member, Error> {
        let mut desk = self.lock().await?;
        let leaving = Leaving(self.left.clone());
        unbroken(async move {
            desk.ready().await?.enter().await?;
            let session = OwnedMutexGuard::try_map(desk, |desk| desk.session.as_mut());
            Ok(Member { session: session.map_err(|_| sqlx::Error::PoolClosed)?, _leaving: leaving })
        })
        .await
    }

    /// Moves the write-ahead log of `SQLite` into its file and empties it; false if a reader is in the way.
    pub(crate) async fn checkpoint(&self) -> Result<bool, Error> {
        let mut desk = self.lock().await?;
        unbroken(async move {
            desk.commit().await;
            let checkpoint = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)");
            Ok(checkpoint.fetch_one(&mut desk.ready().await?.connection).await? == 0)
        })
        .await
    }

    /// Ends after what is under way; whoever comes later gets an error.
    pub(crate) async fn close(&self) {
        let mut desk = self.desk.lock().await;
        desk.commit().await;
        desk.closed = true;
        if let Some(session) = desk.session.take() {
            session.end().await;
        }
    }

    async fn lock(&self) -> Result<OwnedMutexGuard<Desk>, Error> {
        let turn = self.desk.clone().lock_owned();
        tokio::time::timeout(PATIENCE, turn).await.map_err(|_| Error::Busy)
    }
}

/// Commits whenever somebody has left, behind all who wait already.
async fn flush(desk: Arc<Mutex<Desk>>, left: Arc<Notify>) {
    loop {
        left.notified().await;
        desk.lock().await.commit().await;
    }
}

/// Goes on if its caller gives up.
async fn unbroken<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    tokio::spawn(work.in_current_span()).await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
}

impl Desk {
    /// The session, without what a dropped member left; a new one if there is none that can be used.
    async fn ready(&mut self) -> Result<&mut Session, Error> {
        if self.closed {
            return Err(sqlx::Error::PoolClosed.into());
        }
        if let Some(session) = &mut self.session {
            session.settle().await;
        }
        let session = match self.session.take() {
            Some(session) if !session.broken => session,
            broken => {
                if let Some(session) = broken {
                    session.end().await;
                }
                Session::new(self.address.connect().await?, self.address.begin_write())
            }
        };
        Ok(self.session.insert(session))
    }

    async fn commit(&mut self) {
        if let Some(session) = &mut self.session
            && let Some(revision) = session.commit().await
        {
            feed::announce(&self.latest, revision);
            session.acknowledge();
        }
    }
}

impl Session {
    fn new(connection: AnyConnection, begin: &'static str) -> Self {
        let (open, savepoint, broken) = (false, false, false);
        Self { connection, begin, open, savepoint, members: Vec::new(), revision: 0, broken }
    }

    /// Opens a member's savepoint, and the transaction if there is none: without one, `SQLite` would take the savepoint for
    /// a transaction.
    async fn enter(&mut self) -> Outcome {
        for (step, done) in [(self.begin, self.open), ("SAVEPOINT member", false)] {
            if !done && let Err(failure) = self.run(step).await {
                self.fail(&failure).await;
                return Err(failure);
            }
            self.open = true;
        }
        self.savepoint = true;
        Ok(())
    }

    /// The member's work is done. If this fails, its savepoint is left over.
    async fn release(&mut self, revision: i64) -> Result<oneshot::Receiver<Outcome>, Failure> {
        self.run("RELEASE SAVEPOINT member").await?;
        self.savepoint = false;
        self.revision = self.revision.max(revision);
        let (acknowledge, receipt) = oneshot::channel();
        self.members.push(acknowledge);
        Ok(receipt)
    }

    /// Rolls back what a dropped member left. If its savepoint is gone, so is the whole transaction.
    async fn settle(&mut self) {
        if !self.savepoint {
            return;
        }
        self.savepoint = false;
        for step in ["ROLLBACK TO SAVEPOINT member", "RELEASE SAVEPOINT member"] {
            if let Err(failure) = self.run(step).await {
                return self.fail(&failure).await;
            }
        }
    }

    /// Ends the transaction, if one is open. If its members are to be acknowledged, gives the revision that it came to.
    async fn commit(&mut self) -> Option<i64> {
        self.settle().await;
        if !self.open {
            return None;
        }
        let end = if self.members.is_empty() { "ROLLBACK" } else { "COMMIT" };
        match self.run(end).await {
            Ok(()) => self.open = false,
            Err(failure) => self.fail(&failure).await,
        }
        (!self.open && !self.members.is_empty()).then_some(self.revision)
    }

    fn acknowledge(&mut self) {
        for member in self.members.drain(..) {
            // Whoever gave up does not wait.
            let _ = member.send(Ok(()));
        }
    }

    /// Fails all that are not acknowledged, and ends the transaction if it still can be.
    async fn fail(&mut self, failure: &Failure) {
        for member in self.members.drain(..) {
            let _ = member.send(Err(failure.clone()));
        }
        (self.open, self.savepoint) = (false, false);
        self.broken = self.broken || self.run("ROLLBACK").await.is_err();
    }

    async fn run(&mut self, step: &'static str) -> Outcome {
        let step = sqlx::raw_sql(step).execute(&mut self.connection);
        let Ok(done) = tokio::time::timeout(STEP, step).await else {
            self.broken = true;
            return Err(Arc::new(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        };
        done.map(drop).map_err(Arc::new)
    }

    async fn end(self) {
        // What is left of it, the database ends by itself.
        let _ = tokio::time::timeout(FAREWELL, self.connection.close()).await;
    }
}

/// One write in its group. Dropped, it is rolled back.
#[derive(Debug)]
pub(crate) struct Member {
    session: OwnedMappedMutexGuard<Desk, Session>,
    /// Comes after the lock.
    _leaving: Leaving,
}

impl Member {
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.session.connection
    }

    /// Waits until the group is committed. `revision` is that of the member's last change.
    pub(crate) async fn commit(self, revision: i64) -> Result<(), Error> {
        let receipt = unbroken(self.leave(revision)).await?;
        receipt.await.unwrap_or_else(|_| Err(Arc::new(sqlx::Error::WorkerCrashed)))?;
        Ok(())
    }

    async fn leave(mut self, revision: i64) -> Result<oneshot::Receiver<Outcome>, Error> {
        Ok(self.session.release(revision).await?)
    }
}

/// Tells the flusher when it is dropped.
#[derive(Debug)]
struct Leaving(Arc<Notify>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
