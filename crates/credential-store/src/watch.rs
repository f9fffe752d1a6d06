//! Names and versions as they change: a snapshot, then every change after it, nothing between them lost.

use futures::{Stream, StreamExt, TryStreamExt, stream};
use pullpass_database::{Change, Database, Follower, Head};

use crate::{error::Error, metrics::Watcher, store};

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Changed(store::Head),
    Deleted(String),
    SnapshotEnd { epoch: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) what: What,
    /// What the watcher has seen with this event; 0 before the end of the snapshot.
    pub(crate) revision: i64,
    pub(crate) trace_context: Option<String>,
}

/// From the start if `after` is 0, else every change after it, which is of `epoch` if that is not empty.
pub(crate) async fn watch(
    database: &Database,
    after: i64,
    epoch: &str,
) -> Result<impl Stream<Item = Result<Event, Error>> + Send + use<>, Error> {
    let mut read = database.read().await?;
    let Head { epoch: ours, revision: own, .. } = read.head().await?;
    if after > 0 && !epoch.is_empty() && epoch != ours {
        return Err(Error::OtherEpoch { asked: epoch.to_owned(), own: ours });
    }
    if after > own {
        return Err(Error::RevisionAhead { asked: after, own });
    }
    let (snapshot, follower) = match after {
        0 => (snapshot(store::heads(read.connection()).await?, own, ours), database.follow(own)),
        _ => (Vec::new(), database.follow(after)),
    };
    let watcher = Watcher::new();
    let changes = stream::try_unfold((follower, database.clone()), next).map_ok(move |event| {
        let _counted_as_long_as_it_lives = &watcher;
        event
    });
    Ok(stream::iter(snapshot).map(Ok).chain(changes))
}

fn snapshot(heads: Vec<store::Head>, revision: i64, epoch: String) -> Vec<Event> {
    let all =
        heads.into_iter().map(|head| Event { what: What::Changed(head), revision: 0, trace_context: None });
    all.chain([Event { what: What::SnapshotEnd { epoch }, revision, trace_context: None }]).collect()
}

type State = (Follower, Database);

async fn next((mut follower, database): State) -> Result<Option<(Event, State)>, Error> {
    loop {
        let change = follower.next().await?;
        if let Some(event) = event(&database, change).await? {
            return Ok(Some((event, (follower, database))));
        }
    }
}

/// None for a change of what has been deleted since: the deletion comes later.
async fn event(database: &Database, change: Change) -> Result<Option<Event>, Error> {
    let what = if change.deleted {
        Some(What::Deleted(change.name))
    } else {
        store::head(&mut *database.reader().await?, &change.name).await?.map(What::Changed)
    };
    Ok(what.map(|what| Event { what, revision: change.revision, trace_context: change.trace_context }))
}
