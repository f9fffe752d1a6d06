//! The handlers: convert, call, convert. Who may call is decided before; what a ticket is bound to, in `fetch`.

pub(crate) mod convert;

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use pullpass_api::credential::v1::{self as wire, credential_store_server::CredentialStore};
use pullpass_domain::name::CredentialName;
use pullpass_runtime::{Shutdown, peer};
use tonic::{Request, Response, Status};

use crate::{
    credentials::{Call, Credentials},
    exposures,
    fetch::Fetch,
    rewrap::Rewrap,
    watch,
};

#[derive(Debug)]
pub(crate) struct Grpc {
    pub(crate) credentials: Credentials,
    pub(crate) fetch: Fetch,
    pub(crate) rewrap: Rewrap,
    pub(crate) shutdown: Shutdown,
}

type Answer<T> = Result<Response<T>, Status>;

fn call<T>(request: &Request<T>, action: &'static str) -> Result<Call, Status> {
    let principal = peer(request)?.spiffe_id.to_string();
    Ok(Call { principal, action, request_id: None, validate_only: false })
}

#[tonic::async_trait]
impl CredentialStore for Grpc {
    async fn create_credential(
        &self,
        request: Request<wire::CreateCredentialRequest>,
    ) -> Answer<wire::CreateCredentialResponse> {
        let (call, message) = (call(&request, "CreateCredential")?, request.into_inner());
        let material = convert::material(message.material)?;
        let name = convert::field("credential_id", CredentialName::from_id(message.credential_id))?;
        let description = convert::description("description", message.description)?;
        let request_id = convert::request_id(&message.request_id)?;
        let call = Call { request_id, validate_only: message.validate_only, ..call };
        let created = self.credentials.create(&call, &name, &description, &material).await?;
        Ok(Response::new(wire::CreateCredentialResponse { credential: Some(convert::credential(created)) }))
    }

    async fn add_credential_version(
        &self,
        request: Request<wire::AddCredentialVersionRequest>,
    ) -> Answer<wire::AddCredentialVersionResponse> {
        let (call, message) = (call(&request, "AddCredentialVersion")?, request.into_inner());
        let material = convert::material(message.material)?;
        let name = convert::field("name", CredentialName::parse(&message.name))?;
        let request_id = convert::request_id(&message.request_id)?;
        let call = Call { request_id, validate_only: message.validate_only, ..call };
        let rotated = self.credentials.add_version(&call, &name, &message.etag, &material).await?;
        Ok(Response::new(wire::AddCredentialVersionResponse {
            credential: Some(convert::credential(rotated)),
        }))
    }

    async fn get_credential(
        &self,
        request: Request<wire::GetCredentialRequest>,
    ) -> Answer<wire::GetCredentialResponse> {
        let name = convert::field("name", CredentialName::parse(&request.get_ref().name))?;
        let credential = Some(convert::credential(self.credentials.get(&name).await?));
        Ok(Response::new(wire::GetCredentialResponse { credential }))
    }

    async fn list_credentials(
        &self,
        request: Request<wire::ListCredentialsRequest>,
    ) -> Answer<wire::ListCredentialsResponse> {
        let message = request.into_inner();
        let size = convert::page_size(message.page_size)?;
        let after = convert::credential_page_token(&message.page_token)?;
        let credentials = self.credentials.list(&after, size + 1).await?;
        Ok(Response::new(convert::credential_page(credentials, size)))
    }

    async fn update_credential(
        &self,
        request: Request<wire::UpdateCredentialRequest>,
    ) -> Answer<wire::UpdateCredentialResponse> {
        let (call, message) = (call(&request, "UpdateCredential")?, request.into_inner());
        let new = message.credential.unwrap_or_default();
        let name = convert::field("credential.name", CredentialName::parse(&new.name))?;
        convert::only_description(message.update_mask.as_ref())?;
        let description = convert::description("credential.description", new.description)?;
        let call = Call { validate_only: message.validate_only, ..call };
        let updated = self.credentials.describe(&call, &name, &new.etag, &description).await?;
        Ok(Response::new(wire::UpdateCredentialResponse { credential: Some(convert::credential(updated)) }))
    }

    async fn delete_credential(
        &self,
        request: Request<wire::DeleteCredentialRequest>,
    ) -> Answer<wire::DeleteCredentialResponse> {
        let (call, message) = (call(&request, "DeleteCredential")?, request.into_inner());
        let name = convert::field("name", CredentialName::parse(&message.name))?;
        let call = Call { validate_only: message.validate_only, ..call };
        self.credentials.delete(&call, &name, &message.etag).await?;
        Ok(Response::new(wire::DeleteCredentialResponse {}))
    }

    async fn destroy_credential_version(
        &self,
        request: Request<wire::DestroyCredentialVersionRequest>,
    ) -> Answer<wire::DestroyCredentialVersionResponse> {
        let (call, message) = (call(&request, "DestroyCredentialVersion")?, request.into_inner());
        let name = convert::field("name", CredentialName::parse(&message.name))?;
        let credential = self.credentials.destroy_version(&call, &name, message.version).await?;
        let credential = Some(convert::credential(credential));
        Ok(Response::new(wire::DestroyCredentialVersionResponse { credential }))
    }

    type WatchCredentialsStream = BoxStream<'static, Result<wire::WatchCredentialsResponse, Status>>;

    async fn watch_credentials(
        &self,
        request: Request<wire::WatchCredentialsRequest>,
    ) -> Answer<Self::WatchCredentialsStream> {
        let after = convert::revision("after_revision", request.get_ref().after_revision)?;
        let events = watch::watch(&self.credentials.database, after, &request.get_ref().epoch).await?;
        let messages = events.map_ok(convert::event).map_err(Status::from);
        Ok(Response::new(self.shutdown.guard(messages).boxed()))
    }

    async fn fetch_pull_secret(
        &self,
        request: Request<wire::FetchPullSecretRequest>,
    ) -> Answer<wire::FetchPullSecretResponse> {
        let fetched = self.fetch.fetch(peer(&request)?, &request.get_ref().ticket).await?;
        Ok(Response::new(convert::fetched(fetched)))
    }

    async fn list_audit_events(
        &self,
        request: Request<wire::ListAuditEventsRequest>,
    ) -> Answer<wire::ListAuditEventsResponse> {
        let message = request.into_inner();
        let size = convert::page_size(message.page_size)?;
        let (events, head) = self.credentials.audit(convert::events(&message)?, size + 1).await?;
        Ok(Response::new(convert::audit_page(events, size, &head)))
    }

    async fn list_exposures(
        &self,
        request: Request<wire::ListExposuresRequest>,
    ) -> Answer<wire::ListExposuresResponse> {
        let message = request.into_inner();
        let size = convert::page_size(message.page_size)?;
        let (asked, after) = convert::exposures_asked(&message)?;
        let exposures = exposures::exposures(&self.credentials.database, &asked).await?;
        Ok(Response::new(convert::exposure_page(exposures, &after, size)))
    }

    async fn get_key_status(
        &self,
        _: Request<wire::GetKeyStatusRequest>,
    ) -> Answer<wire::GetKeyStatusResponse> {
        Ok(Response::new(convert::key_state(self.rewrap.state().await?)))
    }

    async fn rewrap_data_keys(
        &self,
        request: Request<wire::RewrapDataKeysRequest>,
    ) -> Answer<wire::RewrapDataKeysResponse> {
        let principal = peer(&request)?.spiffe_id.to_string();
        Ok(Response::new(convert::progress(self.rewrap.step(&principal).await?)))
    }
}

#[cfg(test)]
mod tests;
