//! The one writer, and its group commit: writes that come at the same time share one transaction and its one fdatasync.
//!
//! ```text
//!  begin ─► wait for the lock, first come, first served ─► BEGIN, if nobody has ─► SAVEPOINT ─► the member's own SQL
//!  commit ─► unlock ─► wait ·········································► acknowledged, or failed
//!  tell ─► queue ─► wait ············································─────┤
//!  flusher: woken by each that leaves or tells, waits for the same lock behind all who wait already
//!           ─► INSERT all that is told ─► COMMIT ──────────────────────────┘
//! ```
//!
//! So a writer that is alone is committed at once, and 32 of them by one COMMIT. A member that is dropped instead is rolled
//! back to its savepoint by whoever takes the lock next; the others do not notice. Whenever the database does not answer as
//! it should (`SQLite` ends a whole transaction by itself when the disk is full; a connection is cut), all members that wait
//! are failed: nobody is told that it is done whose work may be gone.
//!
//! What begins and commits runs in tasks of its own, which nobody's giving up can interrupt half way.

mod session;

use std::sync::Arc;

use tokio::{
    sync::{Mutex, Notify, OwnedMappedMutexGuard, OwnedMutexGuard, mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::Instrument;

use crate::{AuditEntry, Connection, Error, PATIENCE, Trail, address::Address, feed};
use session::Session;

/// So many events wait to be told; who comes then waits before the queue.
const QUEUE: usize = 1024;

/// Why something was not done: told to all whom it concerns.
type Failure = Arc<sqlx::Error>;
type Outcome = Result<(), Failure>;

/// The writes of one process.
#[derive(Debug)]
pub(crate) struct Writer {
    desk: Arc<Mutex<Desk>>,
    /// Tells the flusher that somebody left.
    left: Arc<Notify>,
    told: mpsc::Sender<Told>,
    flusher: JoinHandle<()>,
}

/// What is behind the lock.
#[derive(Debug)]
struct Desk {
    address: Address,
    trail: Arc<Trail>,
    /// The highest revision that is committed.
    latest: watch::Sender<i64>,
    session: Option<Session>,
    closed: bool,
}

/// An audit event by itself, and who waits for it to be on disk.
#[derive(Debug)]
struct Told {
    entry: AuditEntry,
    acknowledge: oneshot::Sender<Outcome>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flusher.abort();
    }
}

impl Writer {
    pub(crate) fn new(address: Address, trail: Arc<Trail>, latest: watch::Sender<i64>) -> Self {
        let desk = Arc::new(Mutex::new(Desk { address, trail, latest, session: None, closed: false }));
        let left = Arc::new(Notify::new());
        let (told, queue) = mpsc::channel(QUEUE);
        let flusher = tokio::spawn(flush(desk.clone(), left.clone(), queue));
        Self { desk, left, told, flusher }
    }

    /// Enters the group; waits for the turn.
    pub(crate) async fn begin(&self) -> Result<Member, Error> {
        let mut desk = self.lock().await?;
        let leaving = Leaving(self.left.clone());
        unbroken(async move {
            desk.enter().await?;
            let session = OwnedMutexGuard::try_map(desk, |desk| desk.session.as_mut());
            Ok(Member { session: session.map_err(|_| sqlx::Error::PoolClosed)?, _leaving: leaving })
        })
        .await
    }

    /// Appends an event that tells of no change to the trail, and waits until it is on disk. It is appended even if the
    /// caller gives up.
    pub(crate) async fn tell(&self, entry: AuditEntry) -> Result<(), Error> {
        let (acknowledge, receipt) = oneshot::channel();
        let told = self.told.send_timeout(Told { entry, acknowledge }, PATIENCE);
        told.await.map_err(|_| Error::Busy)?;
        wait_for(receipt).await
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

/// Commits whenever somebody has left or tells something, behind all who wait already.
async fn flush(desk: Arc<Mutex<Desk>>, left: Arc<Notify>, mut queue: mpsc::Receiver<Told>) {
    let mut crowd = false;
    loop {
        let mut told = Vec::new();
        tokio::select! {
            () = left.notified() => {}
            _ = queue.recv_many(&mut told, QUEUE) => {}
        }
        if crowd {
            // Whoever can go on at this moment may come along.
            tokio::task::yield_now().await;
        }
        let mut desk = desk.lock().await;
        while told.len() < QUEUE
            && let Ok(more) = queue.try_recv()
        {
            told.push(more);
        }
        crowd = told.len() > 1;
        if !told.is_empty() {
            desk.tell(told).await;
        }
        desk.commit().await;
    }
}

async fn wait_for(receipt: oneshot::Receiver<Outcome>) -> Result<(), Error> {
    Ok(receipt.await.unwrap_or_else(|_| Err(Arc::new(sqlx::Error::WorkerCrashed)))?)
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
    /// The session; a new one if there is none that can be used.
    async fn ready(&mut self) -> Result<&mut Session, Failure> {
        if self.closed {
            return Err(Arc::new(sqlx::Error::PoolClosed));
        }
        let session = match self.session.take() {
            Some(session) if !session.is_broken() => session,
            broken => {
                if let Some(session) = broken {
                    session.end().await;
                }
                Session::open(&self.address).await?
            }
        };
        Ok(self.session.insert(session))
    }

    /// Lets a member in. If the others' transaction turns out to be lost, into a new one.
    async fn enter(&mut self) -> Outcome {
        let session = self.ready().await?;
        let joins = session.is_open();
        match session.enter().await {
            Err(_) if joins => self.ready().await?.enter().await,
            entered => entered,
        }
    }

    /// Appends to the trail what is told of no change: at once if nobody is in the group, else as one more member of it.
    async fn tell(&mut self, told: Vec<Told>) {
        let (entries, waiting): (Vec<_>, Vec<_>) =
            told.into_iter().map(|told| (told.entry, told.acknowledge)).unzip();
        let trail = Arc::clone(&self.trail);
        if let Some(session) = &mut self.session
            && session.append_at_once(&trail, &entries).await
        {
            return session::answer(waiting, &Ok(()));
        }
        match self.append(&trail, entries).await {
            Ok(session) => session.leave(waiting, 0),
            Err(failure) => session::answer(waiting, &Err(failure)),
        }
    }

    async fn append(&mut self, trail: &Trail, entries: Vec<AuditEntry>) -> Result<&mut Session, Failure> {
        self.enter().await?;
        let session = self.ready().await?;
        session.append(trail, 0, entries).await?;
        Ok(session)
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

    /// Appends an event that tells of the change `revision`, 0 for none; gives its sequence.
    pub(crate) async fn append(
        &mut self,
        trail: &Trail,
        revision: i64,
        entry: AuditEntry,
    ) -> Result<i64, Error> {
        Ok(self.session.append(trail, revision, vec![entry]).await?)
    }

    pub(crate) fn forget_the_end(&mut self) {
        self.session.forget_the_end();
    }

    /// Waits until the group is committed. `revision` is that of the member's last change.
    pub(crate) async fn commit(mut self, revision: i64) -> Result<(), Error> {
        let (acknowledge, receipt) = oneshot::channel();
        self.session.leave([acknowledge], revision);
        drop(self);
        wait_for(receipt).await
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
