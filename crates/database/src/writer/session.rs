//! The connection that is written through, and the transaction on it.

use std::{sync::Arc, time::Duration};

use sqlx::{AnyConnection, Connection as _};
use tokio::sync::oneshot;

use super::{Failure, Outcome};
use crate::{
    AuditEntry, Trail,
    address::Address,
    audit::{self, End},
};

/// So long may a step of ours take: longer than the database's own limits, in case that it is not there to enforce them.
const STEP: Duration = Duration::from_secs(15);
/// So long is waited for the end of a connection that is given up.
const FAREWELL: Duration = Duration::from_secs(1);

/// Ends the savepoint of a member whose work is done.
const KEEP: &str = "RELEASE SAVEPOINT member";
/// Ends that of one who was dropped.
const UNDO: &str = "ROLLBACK TO SAVEPOINT member; RELEASE SAVEPOINT member";

#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: AnyConnection,
    /// How a transaction begins.
    begin: &'static str,
    /// A statement without one is one by itself.
    alone: bool,
    /// One is open.
    open: bool,
    /// What comes before the next step: the end of the last member's savepoint, if there is one.
    behind: &'static str,
    /// Those whose work is done, and the revision of the last of it.
    members: Vec<oneshot::Sender<Outcome>>,
    revision: i64,
    /// The end of the trail. While a transaction is open, nobody else can move it; else it may be out of date.
    end: Option<End>,
    /// Nobody knows in which state the connection is.
    broken: bool,
}

impl Session {
    pub(super) async fn open(address: &Address) -> Result<Self, sqlx::Error> {
        Ok(Self {
            connection: address.connect().await?,
            begin: address.begin_write(),
            alone: address.is_locked_by_each_statement(),
            open: false,
            behind: "",
            members: Vec::new(),
            revision: 0,
            end: None,
            broken: false,
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Opens a member's savepoint, and the transaction if there is none: without one, `SQLite` would take the savepoint for
    /// a transaction.
    pub(super) async fn enter(&mut self) -> Outcome {
        let before = if self.open { self.behind } else { self.begin };
        if before != KEEP {
            self.end = None;
        }
        let entered = self.run(&format!("{before}; SAVEPOINT member")).await;
        match &entered {
            Ok(()) => (self.open, self.behind) = (true, UNDO),
            Err(failure) => self.fail(failure).await,
        }
        entered
    }

    /// Appends events that tell of the change `revision`, 0 for none; gives the sequence of the last one.
    pub(super) async fn append(
        &mut self,
        trail: &Trail,
        revision: i64,
        entries: Vec<AuditEntry>,
    ) -> Result<i64, Failure> {
        let (connection, end) = (&mut self.connection, &mut self.end);
        let append = async {
            let last = match end.take() {
                Some(last) => last,
                None => audit::end(connection).await?,
            };
            let last = audit::append(connection, trail, last, revision, entries).await?;
            Ok(end.insert(last).sequence)
        };
        limited(&mut self.broken, append).await
    }

    /// Appends them by one statement that is a transaction by itself, so that they are on disk after it. False if that
    /// cannot be: others write, too, or it failed, as it does when somebody else has moved the end.
    pub(super) async fn append_at_once(&mut self, trail: &Trail, entries: &[AuditEntry]) -> bool {
        let can = self.alone && !self.open && self.end.is_some() && entries.len() <= audit::ROWS;
        can && self.append(trail, 0, entries.to_vec()).await.is_ok()
    }

    pub(super) fn forget_the_end(&mut self) {
        self.end = None;
    }

    /// The work of the one who has entered is done, and these wait for it.
    pub(super) fn leave(
        &mut self,
        members: impl IntoIterator<Item = oneshot::Sender<Outcome>>,
        revision: i64,
    ) {
        self.behind = KEEP;
        self.revision = self.revision.max(revision);
        self.members.extend(members);
    }

    /// Ends the transaction, if one is open. If its members are to be acknowledged, gives the revision that it came to.
    pub(super) async fn commit(&mut self) -> Option<i64> {
        if !self.open {
            return None;
        }
        if self.behind != KEEP {
            self.end = None;
        }
        let end = if self.members.is_empty() { "ROLLBACK" } else { "COMMIT" };
        match self.run(&format!("{}; {end}", self.behind)).await {
            Ok(()) => (self.open, self.behind) = (false, ""),
            Err(failure) => self.fail(&failure).await,
        }
        (!self.open && !self.members.is_empty()).then_some(self.revision)
    }

    pub(super) fn acknowledge(&mut self) {
        answer(self.members.drain(..), &Ok(()));
    }

    /// Fails all that are not acknowledged, and ends the transaction if it still can be.
    async fn fail(&mut self, failure: &Failure) {
        answer(self.members.drain(..), &Err(failure.clone()));
        (self.open, self.behind, self.revision, self.end) = (false, "", 0, None);
        self.broken = self.broken || self.run("ROLLBACK").await.is_err();
    }

    async fn run(&mut self, step: &str) -> Outcome {
        let step = sqlx::raw_sql(sqlx::AssertSqlSafe(step)).execute(&mut self.connection);
        limited(&mut self.broken, step).await.map(drop)
    }

    pub(super) async fn end(self) {
        // What is left of it, the database ends by itself.
        let _ = tokio::time::timeout(FAREWELL, self.connection.close()).await;
    }
}

/// Tells them all. Whoever gave up does not wait.
pub(super) fn answer(waiting: impl IntoIterator<Item = oneshot::Sender<Outcome>>, outcome: &Outcome) {
    for waits in waiting {
        let _ = waits.send(outcome.clone());
    }
}

/// What takes too long leaves the connection broken.
async fn limited<T>(
    broken: &mut bool,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Failure> {
    let Ok(done) = tokio::time::timeout(STEP, work).await else {
        *broken = true;
        return Err(Arc::new(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
    };
    done.map_err(Arc::new)
}
