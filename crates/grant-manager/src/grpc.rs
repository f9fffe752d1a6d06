//! The RPCs. Each is three moves: take the request apart, call, put the answer together.
//!
//! Who may call what is decided before a request gets here.

use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use pullpass_api::grant::v1::{self as wire, grant_manager_server::GrantManager};
use pullpass_runtime::{Shutdown, SpiffeId, peer};
use tonic::{Request, Response, Status};

use crate::{
    manager::{Creation, Deletion, Manager, Update},
    reports::Report,
    status::Filter,
    transaction::Caller,
};

type Answer<T> = Result<Response<T>, Status>;

/// The gRPC service.
#[derive(Debug)]
pub struct Service {
    manager: Manager,
    shutdown: Shutdown,
}

impl Service {
    /// Its streams end when the shutdown begins.
    pub fn new(manager: Manager, shutdown: Shutdown) -> Self {
        Self { manager, shutdown }
    }

    fn stream<T, S>(&self, stream: S) -> Response<BoxStream<'static, Result<T, Status>>>
    where
        T: Send + 'static,
        S: Stream<Item = Result<T, Status>> + Send + 'static,
    {
        Response::new(self.shutdown.guard(stream).boxed())
    }
}

fn called<T>(action: &'static str, request: Request<T>) -> Result<(Caller, T), Status> {
    let identity = peer(&request)?.clone();
    Ok((Caller { identity, action }, request.into_inner()))
}

fn identity<T>(request: &Request<T>) -> Result<SpiffeId, Status> {
    Ok(peer(request)?.spiffe_id.clone())
}

#[tonic::async_trait]
impl GrantManager for Service {
    type WatchDesiredStateStream = BoxStream<'static, Result<wire::WatchDesiredStateResponse, Status>>;
    type WatchSyncStatusStream = BoxStream<'static, Result<wire::WatchSyncStatusResponse, Status>>;

    async fn create_secret_link(
        &self,
        request: Request<wire::CreateSecretLinkRequest>,
    ) -> Answer<wire::CreateSecretLinkResponse> {
        let (caller, request) = called("CreateSecretLink", request)?;
        let wire::CreateSecretLinkRequest {
            secret_link_id: id,
            secret_link: resource,
            request_id,
            validate_only,
        } = request;
        let creation = Creation { id, resource, request_id, validate_only };
        let secret_link = Some(self.manager.create(caller, creation).await?);
        Ok(Response::new(wire::CreateSecretLinkResponse { secret_link }))
    }

    async fn get_secret_link(
        &self,
        request: Request<wire::GetSecretLinkRequest>,
    ) -> Answer<wire::GetSecretLinkResponse> {
        let secret_link = Some(self.manager.get(&request.get_ref().name).await?);
        Ok(Response::new(wire::GetSecretLinkResponse { secret_link }))
    }

    async fn list_secret_links(
        &self,
        request: Request<wire::ListSecretLinksRequest>,
    ) -> Answer<wire::ListSecretLinksResponse> {
        let wire::ListSecretLinksRequest { page_size, page_token } = request.into_inner();
        let (secret_links, next_page_token) = self.manager.list(page_size, &page_token).await?;
        Ok(Response::new(wire::ListSecretLinksResponse { secret_links, next_page_token }))
    }

    async fn update_secret_link(
        &self,
        request: Request<wire::UpdateSecretLinkRequest>,
    ) -> Answer<wire::UpdateSecretLinkResponse> {
        let (caller, request) = called("UpdateSecretLink", request)?;
        let wire::UpdateSecretLinkRequest { secret_link: resource, update_mask: mask, validate_only } =
            request;
        let secret_link = Some(self.manager.update(caller, Update { resource, mask, validate_only }).await?);
        Ok(Response::new(wire::UpdateSecretLinkResponse { secret_link }))
    }

    async fn delete_secret_link(
        &self,
        request: Request<wire::DeleteSecretLinkRequest>,
    ) -> Answer<wire::DeleteSecretLinkResponse> {
        let (caller, request) = called("DeleteSecretLink", request)?;
        let wire::DeleteSecretLinkRequest { name, etag, validate_only } = request;
        let secret_link = Some(self.manager.delete(caller, Deletion { name, etag, validate_only }).await?);
        Ok(Response::new(wire::DeleteSecretLinkResponse { secret_link }))
    }

    async fn create_image_grant(
        &self,
        request: Request<wire::CreateImageGrantRequest>,
    ) -> Answer<wire::CreateImageGrantResponse> {
        let (caller, request) = called("CreateImageGrant", request)?;
        let wire::CreateImageGrantRequest {
            image_grant_id: id,
            image_grant: resource,
            request_id,
            validate_only,
        } = request;
        let creation = Creation { id, resource, request_id, validate_only };
        let image_grant = Some(self.manager.create(caller, creation).await?);
        Ok(Response::new(wire::CreateImageGrantResponse { image_grant }))
    }

    async fn get_image_grant(
        &self,
        request: Request<wire::GetImageGrantRequest>,
    ) -> Answer<wire::GetImageGrantResponse> {
        let image_grant = Some(self.manager.get(&request.get_ref().name).await?);
        Ok(Response::new(wire::GetImageGrantResponse { image_grant }))
    }

    async fn list_image_grants(
        &self,
        request: Request<wire::ListImageGrantsRequest>,
    ) -> Answer<wire::ListImageGrantsResponse> {
        let wire::ListImageGrantsRequest { page_size, page_token } = request.into_inner();
        let (image_grants, next_page_token) = self.manager.list(page_size, &page_token).await?;
        Ok(Response::new(wire::ListImageGrantsResponse { image_grants, next_page_token }))
    }

    async fn update_image_grant(
        &self,
        request: Request<wire::UpdateImageGrantRequest>,
    ) -> Answer<wire::UpdateImageGrantResponse> {
        let (caller, request) = called("UpdateImageGrant", request)?;
        let wire::UpdateImageGrantRequest { image_grant: resource, update_mask: mask, validate_only } =
            request;
        let image_grant = Some(self.manager.update(caller, Update { resource, mask, validate_only }).await?);
        Ok(Response::new(wire::UpdateImageGrantResponse { image_grant }))
    }

    async fn delete_image_grant(
        &self,
        request: Request<wire::DeleteImageGrantRequest>,
    ) -> Answer<wire::DeleteImageGrantResponse> {
        let (caller, request) = called("DeleteImageGrant", request)?;
        let wire::DeleteImageGrantRequest { name, etag, validate_only } = request;
        let image_grant = Some(self.manager.delete(caller, Deletion { name, etag, validate_only }).await?);
        Ok(Response::new(wire::DeleteImageGrantResponse { image_grant }))
    }

    async fn create_cluster(
        &self,
        request: Request<wire::CreateClusterRequest>,
    ) -> Answer<wire::CreateClusterResponse> {
        let (caller, request) = called("CreateCluster", request)?;
        let wire::CreateClusterRequest { cluster_id: id, cluster: resource, request_id, validate_only } =
            request;
        let creation = Creation { id, resource, request_id, validate_only };
        let cluster = Some(self.manager.create(caller, creation).await?);
        Ok(Response::new(wire::CreateClusterResponse { cluster }))
    }

    async fn get_cluster(
        &self,
        request: Request<wire::GetClusterRequest>,
    ) -> Answer<wire::GetClusterResponse> {
        let cluster = Some(self.manager.get(&request.get_ref().name).await?);
        Ok(Response::new(wire::GetClusterResponse { cluster }))
    }

    async fn list_clusters(
        &self,
        request: Request<wire::ListClustersRequest>,
    ) -> Answer<wire::ListClustersResponse> {
        let wire::ListClustersRequest { page_size, page_token } = request.into_inner();
        let (clusters, next_page_token) = self.manager.list(page_size, &page_token).await?;
        Ok(Response::new(wire::ListClustersResponse { clusters, next_page_token }))
    }

    async fn update_cluster(
        &self,
        request: Request<wire::UpdateClusterRequest>,
    ) -> Answer<wire::UpdateClusterResponse> {
        let (caller, request) = called("UpdateCluster", request)?;
        let wire::UpdateClusterRequest { cluster: resource, update_mask: mask, validate_only } = request;
        let cluster = Some(self.manager.update(caller, Update { resource, mask, validate_only }).await?);
        Ok(Response::new(wire::UpdateClusterResponse { cluster }))
    }

    async fn leave_cluster(
        &self,
        request: Request<wire::LeaveClusterRequest>,
    ) -> Answer<wire::LeaveClusterResponse> {
        let (caller, request) = called("LeaveCluster", request)?;
        let wire::LeaveClusterRequest { name, leave, etag, validate_only } = request;
        let departure = Deletion { name, etag, validate_only };
        let (cluster, deleted) = self.manager.leave_cluster(caller, departure, leave).await?;
        Ok(Response::new(wire::LeaveClusterResponse { cluster: Some(cluster), deleted }))
    }

    async fn delete_cluster(
        &self,
        request: Request<wire::DeleteClusterRequest>,
    ) -> Answer<wire::DeleteClusterResponse> {
        let (caller, request) = called("DeleteCluster", request)?;
        let wire::DeleteClusterRequest { name, etag, force, validate_only } = request;
        self.manager.delete_cluster(caller, Deletion { name, etag, validate_only }, force).await?;
        Ok(Response::new(wire::DeleteClusterResponse {}))
    }

    async fn watch_desired_state(
        &self,
        request: Request<wire::WatchDesiredStateRequest>,
    ) -> Answer<Self::WatchDesiredStateStream> {
        let identity = identity(&request)?;
        let watch = self.manager.watch_desired_state(identity, &request.into_inner()).await?;
        let messages = stream::try_unfold(watch, |mut watch| async move {
            let message = watch.next().await?;
            Ok::<_, Status>(Some((message, watch)))
        });
        Ok(self.stream(messages))
    }

    async fn issue_ticket(
        &self,
        request: Request<wire::IssueTicketRequest>,
    ) -> Answer<wire::IssueTicketResponse> {
        let (caller, request) = called("IssueTicket", request)?;
        Ok(Response::new(self.manager.issue_ticket(caller, &request.secret_link).await?))
    }

    async fn report_sync(
        &self,
        request: Request<wire::ReportSyncRequest>,
    ) -> Answer<wire::ReportSyncResponse> {
        let (caller, request) = called("ReportSync", request)?;
        let report = Report::parse(request)?;
        self.manager.report(caller, &report).await?;
        Ok(Response::new(wire::ReportSyncResponse {}))
    }

    async fn get_sync_status(
        &self,
        request: Request<wire::GetSyncStatusRequest>,
    ) -> Answer<wire::GetSyncStatusResponse> {
        let wire::GetSyncStatusRequest { names, cluster } = request.into_inner();
        let filter = Filter::parse(&names, &cluster)?;
        Ok(Response::new(self.manager.sync_status(&filter).await?))
    }

    async fn watch_sync_status(
        &self,
        request: Request<wire::WatchSyncStatusRequest>,
    ) -> Answer<Self::WatchSyncStatusStream> {
        let wire::WatchSyncStatusRequest { names, cluster } = request.into_inner();
        let watch = self.manager.watch_sync_status(Filter::parse(&names, &cluster)?);
        let statuses = stream::try_unfold(watch, |mut watch| async move {
            let wire::GetSyncStatusResponse { statuses, clusters, revision } = watch.next().await?;
            let message = wire::WatchSyncStatusResponse { statuses, clusters, revision };
            Ok::<_, Status>(Some((message, watch)))
        });
        Ok(self.stream(statuses))
    }

    async fn list_audit_events(
        &self,
        request: Request<wire::ListAuditEventsRequest>,
    ) -> Answer<wire::ListAuditEventsResponse> {
        Ok(Response::new(self.manager.audit_events(request.into_inner()).await?))
    }
}
