//! What an applier is told: everything that applies to its cluster, and then every change, in commit order.
//!
//! A change is told as what it led to by the time it is told, so an applier that lags sees the newest state sooner. Each
//! revision is told of once; those that do not concern the cluster only move the revision on, many at once.

use std::collections::{HashSet, VecDeque};

use pullpass_api::{
    convert,
    grant::v1::{
        Cluster, DesiredStateSnapshotEnd, ImageGrant, SecretLink, WatchDesiredStateRequest,
        WatchDesiredStateResponse, watch_desired_state_response::Event,
    },
};
use pullpass_database::{Change, Connection, Head};
use pullpass_runtime::SpiffeId;
use tokio::sync::watch;

use crate::{
    error::Error,
    manager::{Manager, Record},
    presence::Connected,
    resource::Resource as _,
    store::{self, appliers, feed, targets},
};

const BATCH: u32 = 256;

/// One applier's stream.
#[derive(Debug)]
pub(crate) struct Watch {
    manager: Manager,
    identity: SpiffeId,
    /// As it was when the stream began.
    cluster: Cluster,
    /// Everything up to here is told or in the queue.
    position: i64,
    queue: VecDeque<WatchDesiredStateResponse>,
    latest: watch::Receiver<i64>,
    _connected: Connected,
}

impl Manager {
    /// Begins a stream with a snapshot, or after a revision.
    pub(crate) async fn watch_desired_state(
        &self,
        identity: SpiffeId,
        request: &WatchDesiredStateRequest,
    ) -> Result<Watch, Error> {
        let after = request.after_revision;
        if after < 0 {
            return Err(convert::Error::new("after_revision", "must not be negative").into());
        }
        let latest = self.database.subscribe();
        let mut read = self.read().await?;
        let cluster = appliers::of_identity(read.connection(), &identity).await?.cluster;
        let ours = read.head().await?;
        let (position, queue) = match after {
            0 => (ours.revision, snapshot(read.connection(), &cluster, &ours).await?),
            _ => (resumable(request, &ours, &cluster)?, VecDeque::new()),
        };
        let connected = self.presence.connect(&cluster.uid);
        Ok(Watch { manager: self.clone(), identity, cluster, position, queue, latest, _connected: connected })
    }
}

/// What an applier saw before its cluster was registered, or of another history or database, is nothing to go on from.
fn resumable(request: &WatchDesiredStateRequest, ours: &Head, cluster: &Cluster) -> Result<i64, Error> {
    let WatchDesiredStateRequest { after_revision: after, cluster_uid: uid, epoch } = request;
    let (after, ours, now) = (*after, ours.revision, &ours.epoch);
    if !epoch.is_empty() && epoch != now {
        return Err(Error::OtherEpoch { given: epoch.clone(), ours: now.clone() });
    }
    if after > ours {
        return Err(Error::RevisionAhead { given: after, ours });
    }
    let another = !uid.is_empty() && *uid != cluster.uid;
    if after < cluster.revision || another {
        let (cluster, registered) = (cluster.name.clone(), cluster.revision);
        return Err(Error::RegisteredSince { cluster, given: after, registered });
    }
    Ok(after)
}

async fn snapshot(
    connection: &mut Connection,
    cluster: &Cluster,
    ours: &Head,
) -> Result<VecDeque<WatchDesiredStateResponse>, Error> {
    let links = targets::applying(connection, &cluster.name).await?.into_iter().map(Event::SecretLink);
    let grants = targets::applying(connection, &cluster.name).await?.into_iter().map(Event::ImageGrant);
    let mut messages: VecDeque<_> = links.chain(grants).map(|event| message(Some(event), 0, None)).collect();
    let end = Event::SnapshotEnd(DesiredStateSnapshotEnd {
        cluster: cluster.name.clone(),
        cluster_uid: cluster.uid.clone(),
        leave: cluster.leave,
        epoch: ours.epoch.clone(),
    });
    messages.push_back(message(Some(end), ours.revision, None));
    Ok(messages)
}

fn message(event: Option<Event>, revision: i64, trace_context: Option<String>) -> WatchDesiredStateResponse {
    WatchDesiredStateResponse { event, revision, trace_context: trace_context.unwrap_or_default() }
}

impl Watch {
    /// The next message; waits for it.
    pub(crate) async fn next(&mut self) -> Result<WatchDesiredStateResponse, Error> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Ok(message);
            }
            let position = self.position;
            // It fails only when the database is gone, and we hold it.
            let _ = self.latest.wait_for(|latest| *latest > position).await;
            self.fill().await?;
        }
    }

    /// Queues the next changes. Their outcome is read after them, so it is never older than they are.
    async fn fill(&mut self) -> Result<(), Error> {
        let changes = self.manager.database.changes_after(self.position, BATCH).await?;
        let Some(last) = changes.last().map(|change| change.revision) else {
            return Ok(());
        };
        let mut read = self.manager.read().await?;
        self.check_still_registered(read.connection()).await?;
        let name = &self.cluster.name;
        let addressed = feed::addressed(read.connection(), name, self.position, last).await?;
        for change in changes {
            if let Some(message) = tell(read.connection(), change, name, &addressed, last).await? {
                self.queue.push_back(message);
            }
        }
        self.position = last;
        Ok(())
    }

    /// An identity that has lost its cluster, or got another, must not hear of this one any longer, and one whose cluster
    /// changed (it leaves) begins anew.
    async fn check_still_registered(&self, connection: &mut Connection) -> Result<(), Error> {
        let now = appliers::of_identity(connection, &self.identity).await?.cluster;
        if now.uid == self.cluster.uid && now.revision == self.cluster.revision {
            return Ok(());
        }
        let (cluster, given, registered) = (now.name, self.position, now.revision);
        Err(Error::RegisteredSince { cluster, given, registered })
    }
}

/// The message for a change; none if it does not concern the cluster and is not the last of those at hand.
async fn tell(
    connection: &mut Connection,
    change: Change,
    cluster: &str,
    addressed: &HashSet<i64>,
    last: i64,
) -> Result<Option<WatchDesiredStateResponse>, Error> {
    let Change { revision, kind, name, trace_context, .. } = change;
    let event = match kind.as_str() {
        _ if !addressed.contains(&revision) => None,
        SecretLink::KIND => applying(connection, &name, cluster).await?.map(Event::SecretLink),
        ImageGrant::KIND => applying(connection, &name, cluster).await?.map(Event::ImageGrant),
        _ => None,
    };
    if !addressed.contains(&revision) {
        return Ok((revision == last).then(|| message(None, revision, None)));
    }
    let event = event.unwrap_or(Event::Removed(name));
    Ok(Some(message(Some(event), revision, trace_context)))
}

/// The link or grant, if it applies to the cluster now.
async fn applying<R: Record>(
    connection: &mut Connection,
    name: &str,
    cluster: &str,
) -> Result<Option<R>, Error> {
    let found: Option<R> = store::get(connection, name).await?;
    Ok(found.filter(|found| !found.is_leaving() && found.audience().iter().any(|named| named == cluster)))
}
