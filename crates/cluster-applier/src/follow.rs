//! Follows the two streams that say what is wanted: grant-manager's desired state and credential-store's versions.
//!
//! Losing a stream changes nothing. It is resumed after the last revision; where the service says that this lies ahead of
//! it, or in another history (`OUT_OF_RANGE`: it was restored), a snapshot is asked for, built aside, and taken only when it is complete.

use std::{future::Future, sync::Arc, time::Duration};

use pullpass_api::{
    credential::v1::{
        WatchCredentialsRequest, WatchCredentialsResponse, credential_store_client::CredentialStoreClient,
        watch_credentials_response::Event as CredentialEvent,
    },
    grant::v1::{
        ClusterLeave, WatchDesiredStateRequest, WatchDesiredStateResponse,
        grant_manager_client::GrantManagerClient, watch_desired_state_response::Event,
    },
};
use pullpass_runtime::{Connection, status::retry_after};
use tonic::{Code, Status};

use crate::{
    desired::Desired,
    material::Credentials,
    queue::jittered,
    state::{Shared, State},
};

/// Between attempts at most this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A stream that can be taken up again.
pub(crate) trait Stream: Send + Sync + 'static {
    /// What it tells of.
    const WHAT: &'static str;

    /// Opens it after a revision (0: with a snapshot) and follows it to its end.
    fn follow(&self, after: i64, position: &mut Position) -> impl Future<Output = Result<(), Status>> + Send;
}

/// The desired state.
pub(crate) struct DesiredStream {
    pub(crate) client: GrantManagerClient<Connection>,
    pub(crate) shared: Arc<Shared>,
}

impl Stream for DesiredStream {
    const WHAT: &'static str = "desired state";

    async fn follow(&self, after_revision: i64, position: &mut Position) -> Result<(), Status> {
        let cluster_uid = self.shared.with(|state| state.desired.cluster_uid.clone());
        let epoch = position.epoch.clone();
        let request = WatchDesiredStateRequest { after_revision, cluster_uid, epoch };
        let mut stream = self.client.clone().watch_desired_state(request).await?.into_inner();
        self.shared.with(State::connected);
        let mut snapshot = (after_revision == 0).then(Desired::default);
        while let Some(message) = stream.message().await? {
            take_desired(&self.shared, &mut snapshot, &message)?;
            position.reached(message.revision, snapshot.is_some());
            if let Some(Event::SnapshotEnd(end)) = message.event {
                position.epoch = end.epoch;
            }
        }
        Ok(())
    }
}

fn take_desired(
    shared: &Shared,
    snapshot: &mut Option<Desired>,
    message: &WatchDesiredStateResponse,
) -> Result<(), Status> {
    let Some(building) = snapshot else {
        shared.with(|state| {
            if let Some(name) = state.desired.apply(message) {
                state.desired_changed(&name, &message.trace_context);
            }
            state.revision_changed();
        });
        return Ok(());
    };
    building.apply(message);
    let Some(Event::SnapshotEnd(end)) = &message.event else { return Ok(()) };
    if ClusterLeave::try_from(end.leave).is_err() {
        let problem =
            "the cluster leaves in a way that we do not know: is the applier older than grant-manager?";
        return Err(Status::failed_precondition(problem));
    }
    let complete = std::mem::take(building);
    *snapshot = None;
    shared.with(|state| match &state.desired.cluster {
        Some(ours) if complete.cluster.as_ref() != Some(ours) => Err(Status::failed_precondition(format!(
            "the snapshot is of {}, but we serve {ours}: restart to serve another cluster",
            complete.cluster.as_deref().unwrap_or("no cluster")
        ))),
        _ => {
            state.replace_desired(complete, &message.trace_context);
            Ok(())
        }
    })
}

/// The credentials' versions.
pub(crate) struct CredentialStream {
    pub(crate) client: CredentialStoreClient<Connection>,
    pub(crate) shared: Arc<Shared>,
}

impl Stream for CredentialStream {
    const WHAT: &'static str = "credentials";

    async fn follow(&self, after_revision: i64, position: &mut Position) -> Result<(), Status> {
        let request = WatchCredentialsRequest { after_revision, epoch: position.epoch.clone() };
        let mut stream = self.client.clone().watch_credentials(request).await?.into_inner();
        let mut snapshot = (after_revision == 0).then(Credentials::default);
        while let Some(message) = stream.message().await? {
            take_credential(&self.shared, &mut snapshot, &message);
            position.reached(message.revision, snapshot.is_some());
            if let Some(CredentialEvent::SnapshotEnd(end)) = message.event {
                position.epoch = end.epoch;
            }
        }
        Ok(())
    }
}

fn take_credential(shared: &Shared, snapshot: &mut Option<Credentials>, message: &WatchCredentialsResponse) {
    match snapshot {
        None => shared.with(|state| {
            state.materials.credential(message);
            state.credentials_changed();
        }),
        Some(building) => {
            building.apply(message);
            if matches!(message.event, Some(CredentialEvent::SnapshotEnd(_))) {
                let complete = std::mem::take(building);
                *snapshot = None;
                shared.with(|state| {
                    state.materials.replace_credentials(complete);
                    state.credentials_changed();
                });
            }
        }
    }
}

/// Where a stream is to be resumed, and whether it got anywhere.
#[derive(Debug, Default)]
pub(crate) struct Position {
    revision: i64,
    /// The line of history that the revision belongs to.
    epoch: String,
    moved: bool,
}

impl Position {
    /// A snapshot that breaks off is begun anew.
    fn reached(&mut self, revision: i64, in_snapshot: bool) {
        self.moved = true;
        if !in_snapshot && revision > 0 {
            self.revision = revision;
        }
    }
}

/// Follows a stream for ever, taking it up again wherever it breaks.
pub(crate) async fn keep<S: Stream>(stream: S) {
    let what = S::WHAT;
    let (mut position, mut failures) = (Position::default(), 0_u32);
    loop {
        position.moved = false;
        let ended = stream.follow(position.revision, &mut position).await;
        let asked = ended.as_ref().err().and_then(retry_after).unwrap_or_default();
        failures = if position.moved { 1 } else { failures + 1 };
        match ended {
            Ok(()) => tracing::debug!(what, "the stream ended and is taken up again"),
            Err(status) if status.code() == Code::OutOfRange && position.revision > 0 => {
                tracing::warn!(
                    what,
                    after = position.revision,
                    "the service is behind what we know, asking for a snapshot: {}",
                    status.message()
                );
                position.revision = 0;
            }
            Err(status) if failures.is_power_of_two() => {
                tracing::warn!(what, code = ?status.code(), failures, "stream interrupted, it is taken up again: {}", status.message());
            }
            Err(_) => {}
        }
        tokio::time::sleep(jittered(failures).min(PATIENCE).max(asked)).await;
    }
}

#[cfg(test)]
mod tests {
    use pullpass_api::grant::v1::DesiredStateSnapshotEnd;
    use pullpass_domain::name::LinkName;

    use super::*;
    use crate::{
        desired::{Leave, Name},
        plan::testing,
    };

    fn message(event: Event, revision: i64) -> WatchDesiredStateResponse {
        WatchDesiredStateResponse { event: Some(event), revision, ..Default::default() }
    }

    fn end(cluster: &str) -> Event {
        Event::SnapshotEnd(DesiredStateSnapshotEnd { cluster: cluster.into(), ..Default::default() })
    }

    fn links(shared: &Shared) -> usize {
        shared.with(|state| state.desired.links.len())
    }

    /// An applier that knows of one link.
    fn shared() -> Shared {
        let shared = Shared::new([]);
        let mut snapshot = Some(Desired::default());
        for event in [Event::SecretLink(testing::link_message("web")), end("clusters/dev")] {
            take_desired(&shared, &mut snapshot, &message(event, 5)).expect("our cluster");
        }
        shared
    }

    #[test]
    fn a_snapshot_counts_only_when_it_is_complete() {
        let shared = shared();
        assert_eq!(links(&shared), 1);
        let mut snapshot = Some(Desired::default());
        take_desired(&shared, &mut snapshot, &message(Event::SecretLink(testing::link_message("other")), 0))
            .expect("fine");
        assert_eq!(links(&shared), 1, "not before its end");
        take_desired(&shared, &mut snapshot, &message(end("clusters/dev"), 6)).expect("fine");
        let web = Name::Link(LinkName::from_id("web").expect("a name"));
        assert_eq!(shared.with(|state| state.desired.revision_of(&web)), None);
    }

    #[test]
    fn a_snapshot_of_another_cluster_is_refused() {
        let shared = shared();
        let refused = take_desired(&shared, &mut Some(Desired::default()), &message(end("clusters/prod"), 6));
        assert_eq!(refused.map_err(|status| status.code()), Err(Code::FailedPrecondition));
        assert_eq!(links(&shared), 1);
    }

    #[test]
    fn how_a_cluster_leaves_is_learned_with_the_snapshot_or_nothing_is_done() {
        let shared = shared();
        let ending = |leave: i32| {
            let end = DesiredStateSnapshotEnd { cluster: "clusters/dev".into(), leave, ..Default::default() };
            take_desired(&shared, &mut Some(Desired::default()), &message(Event::SnapshotEnd(end), 6))
        };
        assert_eq!(ending(7).map_err(|status| status.code()), Err(Code::FailedPrecondition));
        assert_eq!((links(&shared), shared.with(|state| state.desired.leave)), (1, None));
        ending(ClusterLeave::Keep.into()).expect("our cluster");
        assert_eq!((links(&shared), shared.with(|state| state.desired.leave)), (0, Some(Leave::Keep)));
        ending(ClusterLeave::Unspecified.into()).expect("registered anew");
        assert_eq!(shared.with(|state| state.desired.leave), None);
    }

    #[test]
    fn a_snapshot_says_which_history_it_is_of() {
        let shared = Shared::new([]);
        let end = DesiredStateSnapshotEnd {
            cluster: "clusters/dev".into(),
            epoch: "e".into(),
            ..Default::default()
        };
        take_desired(&shared, &mut Some(Desired::default()), &message(Event::SnapshotEnd(end), 5))
            .expect("ours");
        assert_eq!(shared.with(|state| state.desired.epoch.clone()), "e");
    }

    #[test]
    fn changes_apply_at_once() {
        let shared = shared();
        take_desired(&shared, &mut None, &message(Event::Removed("secretLinks/web".into()), 6))
            .expect("fine");
        assert_eq!(links(&shared), 0);
    }

    /// Notes what it is asked for, and breaks in another way each time.
    struct Breaking(Arc<std::sync::Mutex<Vec<i64>>>);

    impl Stream for Breaking {
        const WHAT: &'static str = "test";

        async fn follow(&self, after: i64, position: &mut Position) -> Result<(), Status> {
            let attempt = {
                let mut asked = self.0.lock().expect("unpoisoned");
                asked.push(after);
                asked.len()
            };
            match attempt {
                1 => position.reached(0, true),
                2 => position.reached(7, false),
                3 => return Err(Status::out_of_range("behind")),
                _ => std::future::pending().await,
            }
            Err(Status::unavailable("cut"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_resumes_where_it_was_and_begins_anew_when_told() {
        let asked = Arc::default();
        let following = keep(Breaking(Arc::clone(&asked)));
        let _ = tokio::time::timeout(Duration::from_mins(1), following).await;
        assert_eq!(*asked.lock().expect("unpoisoned"), [0, 0, 7, 0]);
    }
}
