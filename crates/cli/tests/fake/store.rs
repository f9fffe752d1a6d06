//! credential-store.

use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use pullpass_api::credential::v1::{credential_store_server::CredentialStore, *};
use tonic::{Request, Response, Status};

use super::{Script, lock};

pub(super) struct Store(pub(super) Arc<Mutex<Script>>);

#[tonic::async_trait]
impl CredentialStore for Store {
    async fn create_credential(
        &self,
        request: Request<CreateCredentialRequest>,
    ) -> Result<Response<CreateCredentialResponse>, Status> {
        let (mut script, request) = (lock(&self.0), request.into_inner());
        script.refused()?;
        let name = format!("credentials/{}", request.credential_id);
        script.created.push(request);
        Ok(Response::new(CreateCredentialResponse {
            credential: Some(Credential { name, version: 1, ..Default::default() }),
        }))
    }

    async fn add_credential_version(
        &self,
        request: Request<AddCredentialVersionRequest>,
    ) -> Result<Response<AddCredentialVersionResponse>, Status> {
        let (mut script, request) = (lock(&self.0), request.into_inner());
        script.refused()?;
        let credential = Some(Credential { name: request.name.clone(), version: 2, ..Default::default() });
        script.rotated.push(request);
        Ok(Response::new(AddCredentialVersionResponse { credential }))
    }

    async fn get_credential(
        &self,
        request: Request<GetCredentialRequest>,
    ) -> Result<Response<GetCredentialResponse>, Status> {
        let name = request.into_inner().name;
        let found = lock(&self.0).credentials.iter().find(|c| c.name == name).cloned();
        let found = found.ok_or_else(|| Status::not_found(format!("{name} does not exist")))?;
        Ok(Response::new(GetCredentialResponse { credential: Some(found) }))
    }

    /// One a page, so that paging is seen.
    async fn list_credentials(
        &self,
        request: Request<ListCredentialsRequest>,
    ) -> Result<Response<ListCredentialsResponse>, Status> {
        let at: usize = request.into_inner().page_token.parse().unwrap_or_default();
        let all = lock(&self.0).credentials.clone();
        let next_page_token = if at + 1 < all.len() { (at + 1).to_string() } else { String::new() };
        let credentials = all.into_iter().skip(at).take(1).collect();
        Ok(Response::new(ListCredentialsResponse { credentials, next_page_token }))
    }

    async fn update_credential(
        &self,
        _: Request<UpdateCredentialRequest>,
    ) -> Result<Response<UpdateCredentialResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_credential(
        &self,
        _: Request<DeleteCredentialRequest>,
    ) -> Result<Response<DeleteCredentialResponse>, Status> {
        lock(&self.0).refused()?;
        Ok(Response::new(DeleteCredentialResponse {}))
    }

    async fn destroy_credential_version(
        &self,
        _: Request<DestroyCredentialVersionRequest>,
    ) -> Result<Response<DestroyCredentialVersionResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type WatchCredentialsStream = BoxStream<'static, Result<WatchCredentialsResponse, Status>>;

    async fn watch_credentials(
        &self,
        _: Request<WatchCredentialsRequest>,
    ) -> Result<Response<Self::WatchCredentialsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_pull_secret(
        &self,
        _: Request<FetchPullSecretRequest>,
    ) -> Result<Response<FetchPullSecretResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_audit_events(
        &self,
        _: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let event = pullpass_api::audit::v1::AuditEvent {
            sequence: 1,
            service: "credential-store".into(),
            action: "CreateCredential".into(),
            ..Default::default()
        };
        Ok(Response::new(ListAuditEventsResponse { events: vec![event], ..Default::default() }))
    }

    async fn get_key_status(
        &self,
        _: Request<GetKeyStatusRequest>,
    ) -> Result<Response<GetKeyStatusResponse>, Status> {
        Ok(Response::new(lock(&self.0).key_status.clone()))
    }

    /// One answer after the other.
    async fn rewrap_data_keys(
        &self,
        _: Request<RewrapDataKeysRequest>,
    ) -> Result<Response<RewrapDataKeysResponse>, Status> {
        let mut script = lock(&self.0);
        if script.rewraps.is_empty() {
            script.refused()?;
            return Err(Status::internal("nothing is left to answer"));
        }
        Ok(Response::new(script.rewraps.remove(0)))
    }

    async fn list_exposures(
        &self,
        request: Request<ListExposuresRequest>,
    ) -> Result<Response<ListExposuresResponse>, Status> {
        let ListExposuresRequest { cluster, page_token, .. } = request.into_inner();
        let credential = format!("credentials/of-{}", cluster.trim_start_matches("clusters/"));
        let version = if page_token.is_empty() { 1 } else { 2 };
        let state = if version == 1 { ExposureState::Superseded } else { ExposureState::Current };
        let exposure =
            Exposure { credential, version, state: state.into(), fetches: 7, ..Default::default() };
        let next_page_token = if version == 1 { "2".to_owned() } else { String::new() };
        Ok(Response::new(ListExposuresResponse { exposures: vec![exposure], next_page_token }))
    }
}
