//! One who watches a replica, and resumes there when the stream is cut.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use e2e::{
    pullpass::Service::{self, CredentialStore, GrantManager},
    replicas::Replicas,
};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use pullpass_api::{
    credential::v1::{WatchCredentialsRequest, watch_credentials_response},
    grant::v1::{
        WatchDesiredStateRequest, grant_manager_client::GrantManagerClient, watch_desired_state_response,
    },
};
use tonic::Status;

use super::{Books, credential_store};

/// A change: its revision, and the name of what it is about; that is empty at the end of a snapshot.
type Seen = (i64, String);

/// Sees every change after those of the snapshot once and in order, until all that was acknowledged has come.
pub(super) async fn all(
    replicas: Arc<Replicas>,
    (service, n): (Service, usize),
    stop: Arc<AtomicBool>,
    books: Arc<Mutex<Books>>,
) {
    let mut last = 0;
    loop {
        let Ok(mut stream) = watch(&replicas, service, n, last).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while let Ok(next) = tokio::time::timeout(Duration::from_secs(1), stream.next()).await {
            let Some(Ok((revision, name))) = next else { break };
            if last > 0 {
                assert_eq!(revision, last + 1, "{service:?} {n}: missed, doubled or reordered at {name}");
            }
            last = revision.max(last);
        }
        let done = books.lock().unwrap().keys().next_back().is_some_and(|newest| last >= *newest);
        if done && stop.load(Relaxed) {
            return;
        }
    }
}

async fn watch(
    replicas: &Replicas,
    service: Service,
    n: usize,
    after: i64,
) -> Result<BoxStream<'static, Result<Seen, Status>>, Status> {
    if service == CredentialStore {
        credentials(replicas, n, after).await
    } else {
        desired(replicas, n, after).await
    }
}

async fn credentials(
    replicas: &Replicas,
    n: usize,
    after_revision: i64,
) -> Result<BoxStream<'static, Result<Seen, Status>>, Status> {
    use watch_credentials_response::Event;
    let request = WatchCredentialsRequest { after_revision, ..Default::default() };
    let stream = credential_store(replicas, n).watch_credentials(request).await?.into_inner();
    let seen = stream.map_ok(|message| match message.event {
        Some(Event::Changed(change)) => (message.revision, change.name),
        Some(Event::Deleted(name)) => (message.revision, name),
        Some(Event::SnapshotEnd(_)) | None => (message.revision, String::new()),
    });
    Ok(after_the_snapshot(seen))
}

async fn desired(
    replicas: &Replicas,
    n: usize,
    after_revision: i64,
) -> Result<BoxStream<'static, Result<Seen, Status>>, Status> {
    use watch_desired_state_response::Event;
    let request = WatchDesiredStateRequest { after_revision, ..Default::default() };
    let connection = replicas.connection(&replicas.applier(), (GrantManager, n));
    let stream = GrantManagerClient::new(connection).watch_desired_state(request).await?.into_inner();
    let seen = stream.map_ok(|message| match message.event {
        Some(Event::SecretLink(link)) => (message.revision, link.name),
        Some(Event::ImageGrant(grant)) => (message.revision, grant.name),
        Some(Event::Removed(name)) => (message.revision, name),
        Some(Event::SnapshotEnd(_)) | None => (message.revision, String::new()),
    });
    Ok(after_the_snapshot(seen))
}

/// What belongs to the snapshot has the revision 0.
fn after_the_snapshot(
    stream: impl Stream<Item = Result<Seen, Status>> + Send + 'static,
) -> BoxStream<'static, Result<Seen, Status>> {
    stream.try_filter(|(revision, _)| std::future::ready(*revision > 0)).boxed()
}
