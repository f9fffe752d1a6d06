//! gRPC clients of the services, as whoever one likes.

use std::sync::Arc;

use anyhow::Context as _;
use pullpass_api::{
    applier::v1::cluster_applier_client::ClusterApplierClient,
    credential::v1::credential_store_client::CredentialStoreClient,
    grant::v1::{Cluster, CreateClusterRequest, grant_manager_client::GrantManagerClient},
    recovery::v1::recovery_client::RecoveryClient,
};
use pullpass_runtime::{
    Connection, Tls,
    config::{PeerConfig, TlsConfig},
    connect,
};
use tonic_health::pb::health_client::HealthClient;

use super::{Pullpass, Service};

impl Pullpass {
    /// The platform administrator's certificate files.
    pub fn admin(&self) -> TlsConfig {
        self.state.admin().clone()
    }

    /// The applier's own certificate files.
    pub fn applier(&self) -> TlsConfig {
        self.state.tls(Service::ClusterApplier).clone()
    }

    /// A connection to a service.
    pub fn connection(&self, caller: &TlsConfig, service: Service) -> Connection {
        connection(caller, &self.state.peer(service).expect("a peer"))
    }

    /// credential-store, as seen by `caller`.
    pub fn credential_store(&self, caller: &TlsConfig) -> CredentialStoreClient<Connection> {
        CredentialStoreClient::new(self.connection(caller, Service::CredentialStore))
    }

    /// grant-manager, as seen by `caller`.
    pub fn grant_manager(&self, caller: &TlsConfig) -> GrantManagerClient<Connection> {
        GrantManagerClient::new(self.connection(caller, Service::GrantManager))
    }

    /// cluster-applier, as seen by `caller`.
    pub fn cluster_applier(&self, caller: &TlsConfig) -> ClusterApplierClient<Connection> {
        ClusterApplierClient::new(self.connection(caller, Service::ClusterApplier))
    }

    /// What a service serves even while it is sealed, as seen by `caller`.
    pub fn recovery(&self, caller: &TlsConfig, service: Service) -> RecoveryClient<Connection> {
        RecoveryClient::new(self.connection(caller, service))
    }

    pub(super) fn health(&self, service: Service) -> HealthClient<Connection> {
        HealthClient::new(self.connection(&self.admin(), service))
    }

    /// Makes the cluster known to grant-manager.
    pub async fn register_cluster(&self) -> anyhow::Result<()> {
        let cluster = Cluster {
            applier_identity: self.state.identity(Service::ClusterApplier)?.to_string(),
            ..Default::default()
        };
        let request = CreateClusterRequest {
            cluster_id: self.state.cluster().id().to_owned(),
            cluster: Some(cluster),
            ..Default::default()
        };
        let created = self.grant_manager(&self.admin()).create_cluster(request).await;
        created.context("failed to register the cluster")?;
        Ok(())
    }
}

/// A connection as `caller` to `peer`, opened by the first call.
pub fn connection(caller: &TlsConfig, peer: &PeerConfig) -> Connection {
    connect(&Arc::new(Tls::load(caller).expect("certificate files")), peer)
}
