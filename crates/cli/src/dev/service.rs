//! The three services, as a development state folder knows them.

/// One of the three services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Keeps the credentials.
    CredentialStore,
    /// Decides who gets what.
    GrantManager,
    /// Makes the cluster agree.
    ClusterApplier,
}

impl Service {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 3] = [Self::CredentialStore, Self::GrantManager, Self::ClusterApplier];

    /// Name of the executable, and of everything in the state folder that belongs to the service.
    pub fn binary_name(self) -> &'static str {
        match self {
            Self::CredentialStore => "credential-store",
            Self::GrantManager => "grant-manager",
            Self::ClusterApplier => "cluster-applier",
        }
    }

    /// The gRPC service it serves, as health checks name it.
    pub fn grpc_name(self) -> &'static str {
        match self {
            Self::CredentialStore => pullpass_api::service::CREDENTIAL_STORE,
            Self::GrantManager => pullpass_api::service::GRANT_MANAGER,
            Self::ClusterApplier => pullpass_api::service::CLUSTER_APPLIER,
        }
    }

    /// Path of its SPIFFE id; the applier's holds its cluster.
    pub(crate) fn identity_path(self, cluster: &str) -> String {
        match self {
            Self::ClusterApplier => format!("/applier/{cluster}"),
            other => format!("/{}", other.binary_name()),
        }
    }
}
