//! The wire: types, clients and servers generated from `proto/`, and their conversions to and from the domain.

#![expect(
    clippy::allow_attributes,
    reason = "generated code trips a set of lints that changes with its generator"
)]

pub mod convert;
mod redacted;
pub mod ticket;

/// The audit trail's event.
pub mod audit {
    /// Version 1.
    pub mod v1 {
        #![allow(warnings, clippy::pedantic, reason = "generated code")]
        tonic::include_proto!("pullpass.audit.v1");
    }
}

/// credential-store.
pub mod credential {
    /// Version 1.
    pub mod v1 {
        #![allow(warnings, clippy::pedantic, reason = "generated code")]
        tonic::include_proto!("pullpass.credential.v1");
    }
}

/// grant-manager.
pub mod grant {
    /// Version 1.
    pub mod v1 {
        #![allow(warnings, clippy::pedantic, reason = "generated code")]
        tonic::include_proto!("pullpass.grant.v1");
    }
}

/// cluster-applier.
pub mod applier {
    /// Version 1.
    pub mod v1 {
        #![allow(warnings, clippy::pedantic, reason = "generated code")]
        tonic::include_proto!("pullpass.applier.v1");
    }
}

/// What both services with a database do about an older copy of it.
pub mod recovery {
    /// Version 1.
    pub mod v1 {
        #![allow(warnings, clippy::pedantic, reason = "generated code")]
        tonic::include_proto!("pullpass.recovery.v1");
    }
}

/// The compiled descriptors of all of `proto/`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pullpass.bin"));

/// Full gRPC names of the services, as health checks and roles spell them.
pub mod service {
    /// credential-store.
    pub const CREDENTIAL_STORE: &str = "pullpass.credential.v1.CredentialStore";
    /// grant-manager.
    pub const GRANT_MANAGER: &str = "pullpass.grant.v1.GrantManager";
    /// cluster-applier.
    pub const CLUSTER_APPLIER: &str = "pullpass.applier.v1.ClusterApplier";
    /// What both services with a database serve even while they are sealed.
    pub const RECOVERY: &str = "pullpass.recovery.v1.Recovery";
}
