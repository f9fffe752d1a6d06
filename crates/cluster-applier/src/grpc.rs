//! The handlers: convert, ask the state, convert. Who may call them is decided before they are reached.

mod planned;

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Instant};

use futures::{Stream, stream};
use pullpass_api::{
    applier::v1::{
        GetSyncStatusRequest, GetSyncStatusResponse, PlanSyncRequest, PlanSyncResponse, PlannedChange,
        SyncRequest, SyncResponse, cluster_applier_server::ClusterApplier,
    },
    convert,
};
use pullpass_domain::name::{GrantName, LinkName, Namespace};
use pullpass_runtime::{Shutdown, peer};
use tonic::{Request, Response, Status};

use crate::{
    desired::Desired,
    error::Error,
    guard::Hold,
    plan,
    state::{Shared, State},
};

/// So many changes go into one message.
const BATCH: usize = 500;
/// So many namespaces are planned while the lock is held.
const STRIDE: usize = 64;

/// The service.
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) shutdown: Shutdown,
}

type PlanStream = Pin<Box<dyn Stream<Item = Result<PlanSyncResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ClusterApplier for Service {
    type PlanSyncStream = PlanStream;

    async fn plan_sync(&self, request: Request<PlanSyncRequest>) -> Result<Response<PlanStream>, Status> {
        let request = request.into_inner();
        let (desired, hold, namespaces) = self.shared.with(|state| {
            ready(state)?;
            let desired = proposed(&state.desired, &request)?;
            let hold = state.hold_of(&desired);
            // Also those that only the present state names: there something may be taken back.
            let mut namespaces = state.all_namespaces(&desired);
            namespaces.extend(state.all_namespaces(&state.desired));
            Ok::<_, Error>((desired, hold, namespaces))
        })?;
        let planning = Planning {
            shared: Arc::clone(&self.shared),
            desired,
            hold,
            namespaces: namespaces.into_iter().collect(),
            ready: VecDeque::new(),
        };
        let batches = stream::unfold(planning, |mut planning| async move {
            planning.next_batch().map(|batch| (Ok(batch), planning))
        });
        Ok(Response::new(Box::pin(self.shutdown.guard(batches))))
    }

    async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<SyncResponse>, Status> {
        let caller = peer(&request)?.spiffe_id.clone();
        let SyncRequest { confirm_deletions } = request.into_inner();
        let response = self.shared.with(|state| {
            active(state)?;
            let confirmed = if confirm_deletions { state.confirm_deletions() } else { 0 };
            if confirmed > 0 {
                tracing::info!(%caller, deletions = confirmed, "deletions were confirmed");
            }
            let namespaces = state.retry_everything(Instant::now());
            Ok::<_, Error>(SyncResponse {
                namespaces: count(namespaces),
                held_deletions: count(state.held_deletions()),
                confirmed_deletions: count(confirmed),
            })
        })?;
        Ok(Response::new(response))
    }

    async fn get_sync_status(
        &self,
        _: Request<GetSyncStatusRequest>,
    ) -> Result<Response<GetSyncStatusResponse>, Status> {
        let response = self.shared.with(|state| {
            active(state)?;
            Ok::<_, Error>(GetSyncStatusResponse {
                statuses: state.statuses(),
                observed_revision: state.observed_revision(),
            })
        })?;
        Ok(Response::new(response))
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn ready(state: &State) -> Result<(), Error> {
    if state.is_ready() {
        return Ok(());
    }
    let missing = state
        .empty_caches()
        .iter()
        .copied()
        .chain(state.desired.cluster.is_none().then_some("desired state"));
    Err(Error::NotReady(missing.collect::<Vec<_>>().join(", ")))
}

/// For what only the active one can do or tell.
fn active(state: &State) -> Result<(), Error> {
    match state.standby() {
        Some(standby) => Err(Error::Standby { holder: standby.holder.clone().unwrap_or_default() }),
        None => ready(state),
    }
}

/// The desired state as it would be if the proposals stood.
fn proposed(desired: &Desired, request: &PlanSyncRequest) -> Result<Desired, Error> {
    let mut desired = desired.clone();
    for link in &request.proposed_secret_links {
        let name = LinkName::parse(&link.name).map_err(|_| Error::ProposalName(link.name.clone()))?;
        convert::link(&name, link)?;
        desired.set_link(link);
    }
    for grant in &request.proposed_image_grants {
        GrantName::parse(&grant.name).map_err(|_| Error::ProposalName(grant.name.clone()))?;
        convert::grant(grant)?;
        desired.set_grant(grant);
    }
    for name in &request.proposed_removals {
        desired.remove_named(name).ok_or_else(|| Error::ProposalName(name.clone()))?;
    }
    Ok(desired)
}

/// A plan of the whole cluster under way.
struct Planning {
    shared: Arc<Shared>,
    desired: Desired,
    hold: Option<Hold>,
    namespaces: VecDeque<Namespace>,
    ready: VecDeque<PlannedChange>,
}

impl Planning {
    fn next_batch(&mut self) -> Option<PlanSyncResponse> {
        while self.ready.len() < BATCH && !self.namespaces.is_empty() {
            let stride: Vec<_> = self.namespaces.drain(..STRIDE.min(self.namespaces.len())).collect();
            let views: Vec<_> = self.shared.with(|state| {
                stride.iter().map(|name| state.preview(&self.desired, self.hold.as_ref(), name)).collect()
            });
            for view in &views {
                self.ready.extend(planned::changes(view, &plan::namespace(view)));
            }
        }
        let changes: Vec<_> = self.ready.drain(..BATCH.min(self.ready.len())).collect();
        (!changes.is_empty()).then_some(PlanSyncResponse { changes })
    }
}
