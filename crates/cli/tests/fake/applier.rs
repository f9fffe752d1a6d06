//! cluster-applier.

use std::sync::{Arc, Mutex};

use futures::{StreamExt as _, stream, stream::BoxStream};
use pullpass_api::applier::v1::{cluster_applier_server::ClusterApplier, *};
use tonic::{Request, Response, Status};

use super::{Script, lock};

pub(super) struct Applier(pub(super) Arc<Mutex<Script>>);

#[tonic::async_trait]
impl ClusterApplier for Applier {
    type PlanSyncStream = BoxStream<'static, Result<PlanSyncResponse, Status>>;

    async fn plan_sync(
        &self,
        request: Request<PlanSyncRequest>,
    ) -> Result<Response<Self::PlanSyncStream>, Status> {
        let mut script = lock(&self.0);
        script.planned.push(request.into_inner());
        Ok(Response::new(stream::iter([Ok(script.plan.clone())]).boxed()))
    }

    async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<SyncResponse>, Status> {
        let script = lock(&self.0);
        let (namespaces, held) = (7, script.held_deletions);
        let confirmed = request.into_inner().confirm_deletions;
        let (held_deletions, confirmed_deletions) = if confirmed { (0, held) } else { (held, 0) };
        Ok(Response::new(SyncResponse { namespaces, held_deletions, confirmed_deletions }))
    }

    async fn get_sync_status(
        &self,
        _: Request<GetSyncStatusRequest>,
    ) -> Result<Response<GetSyncStatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
