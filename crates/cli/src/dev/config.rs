//! The services' configuration files. Their own types live in their crates, which this one must not know; each service
//! refuses a field that it does not know, so a difference shows at once.

use std::path::PathBuf;

use pullpass_runtime::{
    Pattern, Role,
    config::{PeerConfig, ServerConfig},
};
use serde::Serialize;

/// credential-store's file.
#[derive(Debug, Serialize)]
pub(super) struct CredentialStoreFile {
    pub(super) ticket_public_key: PathBuf,
    pub(super) key_encryption: KeyEncryptionSection,
    pub(super) database: DatabaseSection,
    pub(super) audit: AuditSection,
    pub(super) server: ServerConfig,
}

/// Where the key comes from that wraps the data keys.
#[derive(Debug, Serialize)]
pub(super) struct KeyEncryptionSection {
    pub(super) provider: &'static str,
    pub(super) file: PathBuf,
}

/// grant-manager's file.
#[derive(Debug, Serialize)]
pub(super) struct GrantManagerFile {
    pub(super) ticket_signing_key: PathBuf,
    pub(super) database: DatabaseSection,
    pub(super) audit: AuditSection,
    pub(super) server: ServerConfig,
}

/// cluster-applier's file.
#[derive(Debug, Serialize)]
pub(super) struct ClusterApplierFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) grant_manager: PeerConfig,
    pub(super) credential_store: PeerConfig,
    pub(super) server: ServerConfig,
}

/// Where a service keeps its database.
#[derive(Debug, Serialize)]
pub(super) struct DatabaseSection {
    pub(super) url: String,
}

/// How a service chains its audit trail, and where it remembers how far its database is.
#[derive(Debug, Serialize)]
pub(super) struct AuditSection {
    pub(super) key: PathBuf,
    pub(super) state_file: PathBuf,
}

const STORE_PLATFORM: [&str; 11] = [
    "CreateCredential",
    "AddCredentialVersion",
    "GetCredential",
    "ListCredentials",
    "UpdateCredential",
    "DeleteCredential",
    "DestroyCredentialVersion",
    "ListAuditEvents",
    "GetKeyStatus",
    "RewrapDataKeys",
    "ListExposures",
];
const STORE_APPLIER: [&str; 2] = ["WatchCredentials", "FetchPullSecret"];
const GRANTS_PLATFORM: [&str; 19] = [
    "CreateSecretLink",
    "GetSecretLink",
    "ListSecretLinks",
    "UpdateSecretLink",
    "DeleteSecretLink",
    "CreateImageGrant",
    "GetImageGrant",
    "ListImageGrants",
    "UpdateImageGrant",
    "DeleteImageGrant",
    "CreateCluster",
    "GetCluster",
    "ListClusters",
    "UpdateCluster",
    "LeaveCluster",
    "DeleteCluster",
    "GetSyncStatus",
    "WatchSyncStatus",
    "ListAuditEvents",
];
const GRANTS_APPLIER: [&str; 3] = ["WatchDesiredState", "IssueTicket", "ReportSync"];

/// Who may call what, in development as in production: platform tooling manages, appliers watch and fetch.
#[derive(Debug)]
pub(super) struct Roles {
    platform: Pattern,
    applier: Pattern,
    /// Who may let an older copy of a database count: nobody else of the platform.
    admin: Pattern,
}

impl Roles {
    pub(super) fn new(trust_domain: &str) -> anyhow::Result<Self> {
        Ok(Self {
            platform: format!("spiffe://{trust_domain}/platform/*").parse()?,
            applier: format!("spiffe://{trust_domain}/applier/*").parse()?,
            admin: format!("spiffe://{trust_domain}/platform/admin").parse()?,
        })
    }

    pub(super) fn credential_store(&self) -> Vec<Role> {
        let service = pullpass_api::service::CREDENTIAL_STORE;
        let watch = ["WatchCredentials"];
        vec![
            role("platform", &self.platform, service, STORE_PLATFORM.iter().chain(&watch)),
            role("applier", &self.applier, service, &STORE_APPLIER),
            self.recovery(),
        ]
    }

    pub(super) fn grant_manager(&self) -> Vec<Role> {
        let service = pullpass_api::service::GRANT_MANAGER;
        vec![
            role("platform", &self.platform, service, &GRANTS_PLATFORM),
            role("applier", &self.applier, service, &GRANTS_APPLIER),
            self.recovery(),
        ]
    }

    fn recovery(&self) -> Role {
        role("recovery", &self.admin, pullpass_api::service::RECOVERY, &["AcceptRollback"])
    }

    pub(super) fn cluster_applier(&self) -> Vec<Role> {
        vec![role("platform", &self.platform, pullpass_api::service::CLUSTER_APPLIER, &["*"])]
    }
}

fn role<'a>(
    name: &str,
    principal: &Pattern,
    service: &str,
    methods: impl IntoIterator<Item = &'a &'a str>,
) -> Role {
    let methods = methods.into_iter().map(|method| format!("{service}/{method}"));
    Role::new(name, vec![principal.clone()], methods.collect())
}
