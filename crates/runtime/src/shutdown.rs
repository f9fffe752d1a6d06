//! One way to stop: soft first, hard when the budget is over, and every task accounted for.
//!
//! ```text
//!  SIGTERM, SIGINT, failed task, begin() ─► soft ─ budget, or a second signal ─► hard
//!                                           finish what is at hand               drop everything
//! ```

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};

use crate::status;

/// How long after the hard end a task may take to notice it.
const GRACE: Duration = Duration::from_millis(250);

/// Why a process has to fail although its app returned well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A task ended before anybody asked it to.
    #[error("the task {0:?} ended unexpectedly")]
    Ended(&'static str),
    /// A task returned an error.
    #[error("the task {name:?} failed")]
    Failed {
        /// The task's name.
        name: &'static str,
        /// What it returned.
        source: anyhow::Error,
    },
    /// A task panicked.
    #[error("the task {name:?} panicked: {message}")]
    Panicked {
        /// The task's name.
        name: &'static str,
        /// What it said.
        message: String,
    },
    /// A task was still running when the budget was over.
    #[error("the task {0:?} was still running when the time to shut down was over")]
    Overran(&'static str),
    /// Tasks did not even notice that they were dropped, because they block their thread.
    #[error("{0} tasks block their thread and cannot be stopped")]
    Blocked(usize),
}

/// What a tracked task may return: nothing, or a result.
pub trait Outcome {
    /// The same as a result.
    fn into_result(self) -> anyhow::Result<()>;
}

impl Outcome for () {
    fn into_result(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl<E: Into<anyhow::Error>> Outcome for Result<(), E> {
    fn into_result(self) -> anyhow::Result<()> {
        self.map_err(Into::into)
    }
}

/// The process's one switch for stopping, and the list of its tasks. Clones are the same switch.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failure: Mutex<Option<Error>>,
}

impl Shutdown {
    /// A switch whose soft phase lasts at most `budget`. Needs a running tokio runtime.
    pub fn new(budget: Duration) -> Self {
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let timer = (soft.clone(), hard.clone());
        tokio::spawn(async move {
            timer.0.cancelled().await;
            tokio::time::sleep(budget).await;
            timer.1.cancel();
        });
        Self(Arc::new(Inner { soft, hard, tasks: TaskTracker::new(), failure: Mutex::new(None) }))
    }

    /// Makes SIGTERM and SIGINT begin the shutdown, and a second one of them end it at once.
    pub fn listen(&self) -> std::io::Result<()> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (soft, hard) = (self.token(), self.hard_token());
        tokio::spawn(async move {
            for (token, meaning) in [(soft, "shutting down"), (hard, "shutting down at once")] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("signal received, {meaning}");
                token.cancel();
            }
        });
        Ok(())
    }

    /// Begins the shutdown: no new work, finish what is at hand.
    pub fn begin(&self) {
        self.0.soft.cancel();
    }

    /// Cancelled when the shutdown begins: finish what is at hand and return.
    pub fn token(&self) -> CancellationToken {
        self.0.soft.clone()
    }

    /// Cancelled when the budget is over or somebody insists: drop everything.
    pub fn hard_token(&self) -> CancellationToken {
        self.0.hard.clone()
    }

    /// Runs `task` until the shutdown. If it returns earlier, returns an error or panics, everything is shut down and
    /// [`Shutdown::finish`] says why.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome + Send,
    {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let ended = tokio::select! {
                ended = AssertUnwindSafe(task).catch_unwind() => ended.map(Outcome::into_result),
                () = this.0.hard.cancelled() => return this.fail(Error::Overran(name)),
            };
            match ended {
                Ok(Ok(())) if this.0.soft.is_cancelled() => {}
                Ok(Ok(())) => this.fail(Error::Ended(name)),
                Ok(Err(source)) => this.fail(Error::Failed { name, source }),
                Err(panic) => this.fail(Error::Panicked { name, message: message_of(&*panic) }),
            }
        });
    }

    /// `stream` until the shutdown begins, then an `UNAVAILABLE` that tells the caller to come back. For every
    /// long-lived server stream.
    pub fn guard<S, T>(&self, stream: S) -> impl Stream<Item = Result<T, Status>> + Send + use<S, T>
    where
        S: Stream<Item = Result<T, Status>> + Send,
        T: Send,
    {
        stream::unfold(Some((Box::pin(stream), self.token())), |state| async move {
            let (mut stream, token) = state?;
            tokio::select! {
                biased;
                () = token.cancelled() => Some((Err(stopping()), None)),
                item = stream.next() => item.map(|item| (item, Some((stream, token)))),
            }
        })
    }

    /// Begins the shutdown if nobody has, waits for the tasks until the budget is over, and gives the first failure.
    pub async fn finish(&self) -> Result<(), Error> {
        self.begin();
        self.0.tasks.close();
        tokio::select! {
            biased;
            () = self.0.tasks.wait() => {}
            () = self.forced() => self.fail(Error::Blocked(self.0.tasks.len())),
        }
        self.failure().take().map_or(Ok(()), Err)
    }

    /// Ends a moment after the hard end, when everybody has had the time to notice it.
    pub(crate) async fn forced(&self) {
        self.0.hard.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    /// Whether a task has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    fn fail(&self, error: Error) {
        self.failure().get_or_insert(error);
        self.begin();
    }

    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopping() -> Status {
    status::retry(
        Code::Unavailable,
        "SHUTTING_DOWN",
        "the service is shutting down; open the stream again",
        Duration::from_secs(1),
    )
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn},
        task::Poll,
    };

    use super::*;

    fn shutdown() -> Shutdown {
        Shutdown::new(Duration::from_secs(10))
    }

    #[tokio::test]
    async fn tasks_that_stop_when_asked_are_no_failure() {
        let shutdown = shutdown();
        shutdown.spawn("good", shutdown.token().cancelled_owned());
        shutdown.finish().await.unwrap();
    }

    #[tokio::test]
    async fn a_panicking_task_stops_everything_and_fails_the_process() {
        let shutdown = shutdown();
        shutdown.spawn("good", shutdown.token().cancelled_owned());
        shutdown.spawn("bad", poll_fn(|_| -> Poll<()> { panic!("of course") }));
        shutdown.token().cancelled().await;
        let error = shutdown.finish().await.unwrap_err();
        assert_eq!(error.to_string(), r#"the task "bad" panicked: of course"#);
    }

    #[tokio::test]
    async fn a_task_that_ends_early_or_fails_fails_the_process() {
        let early = shutdown();
        early.spawn("early", async {});
        early.token().cancelled().await;
        assert!(matches!(early.finish().await, Err(Error::Ended("early"))));

        let failing = shutdown();
        failing.spawn("failing", async { Err::<(), _>(anyhow::anyhow!("no disk")) });
        failing.token().cancelled().await;
        assert!(matches!(failing.finish().await, Err(Error::Failed { name: "failing", .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_the_shutdown_is_dropped_when_the_budget_is_over() {
        let shutdown = shutdown();
        shutdown.spawn("deaf", pending::<()>());
        let started = tokio::time::Instant::now();
        assert!(matches!(shutdown.finish().await, Err(Error::Overran("deaf"))));
        assert_eq!(started.elapsed().as_secs(), 10);
    }

    #[tokio::test]
    async fn a_guarded_stream_ends_with_unavailable_when_the_shutdown_begins() {
        let shutdown = shutdown();
        let endless = stream::iter([Ok(1)]).chain(stream::pending());
        let mut guarded = Box::pin(shutdown.guard(endless));
        assert_eq!(guarded.next().await.unwrap().unwrap(), 1);
        shutdown.begin();
        assert_eq!(guarded.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
        assert!(guarded.next().await.is_none());
    }

    #[tokio::test]
    async fn a_guarded_stream_that_ends_by_itself_ends_well() {
        let guarded = shutdown().guard(stream::iter([Ok(1)]));
        assert_eq!(guarded.count().await, 1);
    }
}
