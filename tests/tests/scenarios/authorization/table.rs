//! Who may call what, written down by hand: it is what the shipped configurations are checked by, so it must not be made
//! from them. A new method needs a row here, or the test that compares the rows with the descriptors fails.

use e2e::pullpass::Service;

/// A kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// A portal, a pipeline with a certificate, the `pullpass` command.
    Platform,
    /// The applier of the registered cluster.
    Applier,
    /// The applier of a cluster that is not registered.
    OtherApplier,
    GrantManager,
    CredentialStore,
    /// Who may let an older database count.
    Recovery,
    /// A certificate of our authority whose identity no role names.
    Stranger,
    /// … or one that only looks like one that a role names.
    AlmostPlatform,
    /// A service account of the namespace `ci`, by a token.
    Pipeline,
    /// One of another namespace.
    OtherAccount,
    /// A service account that calls itself like the platform.
    Impostor,
    ExpiredToken,
    /// A token of an issuer that is not configured.
    ForeignToken,
    /// Neither certificate nor token.
    Nobody,
    /// Of our authority, but in another trust domain.
    OtherTrustDomain,
    /// With the right identity by another authority.
    OtherAuthority,
}

use Who::{Applier, OtherApplier, Pipeline, Platform};

impl Who {
    pub(super) const ALL: &[Self] = &[
        Self::Platform,
        Self::Applier,
        Self::OtherApplier,
        Self::GrantManager,
        Self::CredentialStore,
        Self::Recovery,
        Self::Stranger,
        Self::AlmostPlatform,
        Self::Pipeline,
        Self::OtherAccount,
        Self::Impostor,
        Self::ExpiredToken,
        Self::ForeignToken,
        Self::Nobody,
        Self::OtherTrustDomain,
        Self::OtherAuthority,
    ];
}

/// Everybody who can say who he is.
const EVERYBODY: &[Who] = &[
    Platform,
    Applier,
    OtherApplier,
    Who::GrantManager,
    Who::CredentialStore,
    Who::Recovery,
    Who::Stranger,
    Who::AlmostPlatform,
    Pipeline,
    Who::OtherAccount,
    Who::Impostor,
];
const PLATFORM: &[Who] = &[Platform];
const RECOVERY: &[Who] = &[Who::Recovery];
const APPLIERS: &[Who] = &[Applier, OtherApplier];
/// By the role that the test adds to what is shipped.
const PIPELINES_TOO: &[Who] = &[Platform, Pipeline];
const NONE: &[Who] = &[];

/// A method and who gets as far as its handler.
pub(super) struct Row {
    /// None: each of them has it.
    pub(super) service: Option<Service>,
    pub(super) method: &'static str,
    pub(super) may: &'static [Who],
}

macro_rules! rows {
    ($($service:expr, $package:literal { $($method:literal => $may:expr),* $(,)? })*) => {
        &[$($(Row { service: $service, method: concat!($package, "/", $method), may: $may }),*),*]
    };
}

pub(super) const METHODS: &[Row] = rows! {
    Some(Service::CredentialStore), "pullpass.credential.v1.CredentialStore" {
        "CreateCredential" => PLATFORM,
        "AddCredentialVersion" => PIPELINES_TOO,
        "GetCredential" => PLATFORM,
        "ListCredentials" => PIPELINES_TOO,
        "UpdateCredential" => PLATFORM,
        "DeleteCredential" => PLATFORM,
        "DestroyCredentialVersion" => PLATFORM,
        "WatchCredentials" => APPLIERS,
        "FetchPullSecret" => APPLIERS,
        "ListAuditEvents" => PLATFORM,
        "GetKeyStatus" => PLATFORM,
        "RewrapDataKeys" => PLATFORM,
        "ListExposures" => PLATFORM,
    }
    Some(Service::CredentialStore), "pullpass.recovery.v1.Recovery" {
        "AcceptRollback" => RECOVERY,
    }
    Some(Service::GrantManager), "pullpass.recovery.v1.Recovery" {
        "AcceptRollback" => RECOVERY,
    }
    Some(Service::GrantManager), "pullpass.grant.v1.GrantManager" {
        "CreateSecretLink" => PLATFORM,
        "GetSecretLink" => PLATFORM,
        "ListSecretLinks" => PIPELINES_TOO,
        "UpdateSecretLink" => PLATFORM,
        "DeleteSecretLink" => PLATFORM,
        "CreateImageGrant" => PLATFORM,
        "GetImageGrant" => PLATFORM,
        "ListImageGrants" => PLATFORM,
        "UpdateImageGrant" => PLATFORM,
        "DeleteImageGrant" => PLATFORM,
        "CreateCluster" => PLATFORM,
        "GetCluster" => PLATFORM,
        "ListClusters" => PLATFORM,
        "UpdateCluster" => PLATFORM,
        "LeaveCluster" => PLATFORM,
        "DeleteCluster" => PLATFORM,
        "WatchDesiredState" => APPLIERS,
        "IssueTicket" => APPLIERS,
        "ReportSync" => APPLIERS,
        "GetSyncStatus" => PLATFORM,
        "WatchSyncStatus" => PLATFORM,
        "ListAuditEvents" => PLATFORM,
    }
    Some(Service::ClusterApplier), "pullpass.applier.v1.ClusterApplier" {
        "PlanSync" => PLATFORM,
        "Sync" => PLATFORM,
        "GetSyncStatus" => PLATFORM,
    }
    None, "grpc.health.v1.Health" {
        "Check" => EVERYBODY,
        "Watch" => EVERYBODY,
    }
    None, "grpc.reflection.v1.ServerReflection" {
        "ServerReflectionInfo" => NONE,
    }
    None, "pullpass.made.up.v1.Service" {
        "Method" => NONE,
    }
};
