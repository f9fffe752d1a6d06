//! grant-manager.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt as _, stream, stream::BoxStream};
use pullpass_api::grant::v1::{grant_manager_server::GrantManager, *};
use tonic::{Request, Response, Status};

use super::{Script, lock};

pub(super) struct Grants(pub(super) Arc<Mutex<Script>>);

macro_rules! not_needed {
    ($($method:ident($request:ident) -> $response:ident;)*) => {$(
        fn $method<'a: 'b, 'b>(
            &'a self,
            _: Request<$request>,
        ) -> futures::future::BoxFuture<'b, Result<Response<$response>, Status>>
        where
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("")) })
        }
    )*};
}

#[tonic::async_trait]
impl GrantManager for Grants {
    async fn create_secret_link(
        &self,
        request: Request<CreateSecretLinkRequest>,
    ) -> Result<Response<CreateSecretLinkResponse>, Status> {
        let (mut script, request) = (lock(&self.0), request.into_inner());
        script.refused()?;
        let secret_link = request.secret_link.clone().map(|link| SecretLink { revision: 5, ..link });
        script.links_created.push(request);
        Ok(Response::new(CreateSecretLinkResponse { secret_link }))
    }

    async fn get_secret_link(
        &self,
        request: Request<GetSecretLinkRequest>,
    ) -> Result<Response<GetSecretLinkResponse>, Status> {
        let (mut script, name) = (lock(&self.0), request.into_inner().name);
        if !script.links_deleted.is_empty() {
            let left = script.deleted_is_found.checked_sub(1);
            script.deleted_is_found =
                left.ok_or_else(|| Status::not_found(format!("{name} does not exist")))?;
        }
        let secret_link = script.links.iter().find(|link| link.name == name).cloned();
        Ok(Response::new(GetSecretLinkResponse { secret_link }))
    }

    async fn list_secret_links(
        &self,
        _: Request<ListSecretLinksRequest>,
    ) -> Result<Response<ListSecretLinksResponse>, Status> {
        let secret_links = lock(&self.0).links.clone();
        Ok(Response::new(ListSecretLinksResponse { secret_links, ..Default::default() }))
    }

    async fn delete_secret_link(
        &self,
        request: Request<DeleteSecretLinkRequest>,
    ) -> Result<Response<DeleteSecretLinkResponse>, Status> {
        let (mut script, request) = (lock(&self.0), request.into_inner());
        script.refused()?;
        let secret_link = script.links.iter().find(|link| link.name == request.name).cloned();
        script.links_deleted.push(request);
        Ok(Response::new(DeleteSecretLinkResponse { secret_link }))
    }

    async fn leave_cluster(
        &self,
        request: Request<LeaveClusterRequest>,
    ) -> Result<Response<LeaveClusterResponse>, Status> {
        let (mut script, request) = (lock(&self.0), request.into_inner());
        let cluster = Cluster { name: request.name.clone(), leave: request.leave, ..Default::default() };
        script.left.push(request);
        let deleted = script.links.iter().map(|link| link.name.clone()).collect();
        Ok(Response::new(LeaveClusterResponse { cluster: Some(cluster), deleted }))
    }

    async fn get_cluster(
        &self,
        request: Request<GetClusterRequest>,
    ) -> Result<Response<GetClusterResponse>, Status> {
        let (mut script, name) = (lock(&self.0), request.into_inner().name);
        let left = script.deleted_is_found.checked_sub(1);
        script.deleted_is_found = left.ok_or_else(|| Status::not_found(format!("{name} does not exist")))?;
        Ok(Response::new(GetClusterResponse { cluster: Some(Cluster { name, ..Default::default() }) }))
    }

    async fn list_image_grants(
        &self,
        _: Request<ListImageGrantsRequest>,
    ) -> Result<Response<ListImageGrantsResponse>, Status> {
        Ok(Response::new(ListImageGrantsResponse::default()))
    }

    async fn list_audit_events(
        &self,
        _: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        Ok(Response::new(ListAuditEventsResponse::default()))
    }

    async fn get_sync_status(
        &self,
        _: Request<GetSyncStatusRequest>,
    ) -> Result<Response<GetSyncStatusResponse>, Status> {
        let last = lock(&self.0).statuses.last().cloned().unwrap_or_default();
        Ok(Response::new(GetSyncStatusResponse {
            statuses: last.statuses,
            clusters: last.clusters,
            revision: last.revision,
        }))
    }

    type WatchSyncStatusStream = BoxStream<'static, Result<WatchSyncStatusResponse, Status>>;

    async fn watch_sync_status(
        &self,
        _: Request<WatchSyncStatusRequest>,
    ) -> Result<Response<Self::WatchSyncStatusStream>, Status> {
        let statuses = lock(&self.0).statuses.clone();
        let slowly = stream::iter(statuses).then(async |status| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(status)
        });
        Ok(Response::new(slowly.chain(stream::pending()).boxed()))
    }

    type WatchDesiredStateStream = BoxStream<'static, Result<WatchDesiredStateResponse, Status>>;

    async fn watch_desired_state(
        &self,
        _: Request<WatchDesiredStateRequest>,
    ) -> Result<Response<Self::WatchDesiredStateStream>, Status> {
        Err(Status::unimplemented(""))
    }

    not_needed! {
        update_secret_link(UpdateSecretLinkRequest) -> UpdateSecretLinkResponse;
        create_image_grant(CreateImageGrantRequest) -> CreateImageGrantResponse;
        get_image_grant(GetImageGrantRequest) -> GetImageGrantResponse;
        update_image_grant(UpdateImageGrantRequest) -> UpdateImageGrantResponse;
        delete_image_grant(DeleteImageGrantRequest) -> DeleteImageGrantResponse;
        create_cluster(CreateClusterRequest) -> CreateClusterResponse;
        list_clusters(ListClustersRequest) -> ListClustersResponse;
        update_cluster(UpdateClusterRequest) -> UpdateClusterResponse;
        delete_cluster(DeleteClusterRequest) -> DeleteClusterResponse;
        issue_ticket(IssueTicketRequest) -> IssueTicketResponse;
        report_sync(ReportSyncRequest) -> ReportSyncResponse;
    }
}
