//! The newest versions of credentials. What several fetches ask at the same time is read by one statement: whoever has the
//! turn asks for all who wait for theirs.

use std::{collections::BTreeSet, sync::Arc};

use pullpass_database::{Database, Error};
use pullpass_domain::name::CredentialName;
use tokio::sync::{
    Mutex,
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot::{self, error::TryRecvError},
};

use crate::store::{self, Newest};

/// So many questions are answered by one statement at most.
const TOGETHER: usize = 32;

type Answer = Result<Arc<Vec<Newest>>, Arc<sqlx::Error>>;

#[derive(Debug)]
pub(crate) struct Lookup {
    database: Database,
    ask: UnboundedSender<Asked>,
    queue: Mutex<Queue>,
}

/// What is waited for by those who wait for their turn.
#[derive(Debug)]
struct Queue {
    asked: UnboundedReceiver<Asked>,
    /// There were several the last time.
    crowd: bool,
}

#[derive(Debug)]
struct Asked {
    names: Vec<CredentialName>,
    answer: oneshot::Sender<Answer>,
}

impl Lookup {
    pub(crate) fn new(database: Database) -> Self {
        let (ask, asked) = mpsc::unbounded_channel();
        Self { database, ask, queue: Mutex::new(Queue { asked, crowd: false }) }
    }

    /// Those of these credentials that there are, and maybe others, in no order. All of one moment, after the call.
    pub(crate) async fn newest(&self, names: &[CredentialName]) -> Result<Arc<Vec<Newest>>, Error> {
        let mut receipt = self.ask(names);
        let mut queue = self.queue.lock().await;
        loop {
            match receipt.try_recv() {
                Ok(answer) => return Ok(answer?),
                Err(TryRecvError::Empty) => self.answer(&mut queue).await,
                // The one who asked for us has given up.
                Err(TryRecvError::Closed) => receipt = self.ask(names),
            }
        }
    }

    fn ask(&self, names: &[CredentialName]) -> oneshot::Receiver<Answer> {
        let (answer, receipt) = oneshot::channel();
        // The receiver is ours.
        let _ = self.ask.send(Asked { names: names.to_vec(), answer });
        receipt
    }

    async fn answer(&self, queue: &mut Queue) {
        let asked = queue.take().await;
        let names: BTreeSet<_> = asked.iter().flat_map(|asked| &asked.names).cloned().collect();
        let newest = self.read(&Vec::from_iter(names)).await;
        let newest = newest.map(Arc::new).map_err(Arc::new);
        for Asked { answer, .. } in asked {
            // Whoever gave up does not wait.
            let _ = answer.send(newest.clone());
        }
    }

    async fn read(&self, names: &[CredentialName]) -> Result<Vec<Newest>, sqlx::Error> {
        store::newest(&mut *self.database.reader().await?, names).await
    }
}

impl Queue {
    async fn take(&mut self) -> Vec<Asked> {
        if self.crowd {
            // Whoever can go on at this moment may come along.
            tokio::task::yield_now().await;
        }
        let asked: Vec<_> = std::iter::from_fn(|| self.asked.try_recv().ok()).take(TOGETHER).collect();
        self.crowd = asked.len() > 1;
        asked
    }
}

#[cfg(test)]
mod tests;
