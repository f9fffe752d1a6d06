//! Secret links: which credentials become which Secret in which namespaces, linked to which service accounts.

use std::collections::BTreeSet;

use crate::{
    docker_config::SecretType,
    name::{ClusterName, CredentialName, SecretName},
    selector::{Namespaces, ServiceAccounts},
};

/// What a service account uses the Secret for: the two lists that `oc secrets link --for` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Usage {
    /// `imagePullSecrets`.
    Pull,
    /// `secrets`.
    Mount,
}

/// Why something is not a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A link without a credential renders nothing.
    #[error("names no credential: give at least one")]
    NoCredential,
    /// Merging a credential with itself is a mistake.
    #[error("names `{0}` twice")]
    RepeatedCredential(CredentialName),
    /// A link without a cluster goes nowhere.
    #[error("names no cluster: give at least one")]
    NoCluster,
    /// A link for nothing.
    #[error("has no usage: give pull, mount or both")]
    NoUsage,
}

/// What a link says; its name and its bookkeeping are kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    credentials: Vec<CredentialName>,
    clusters: BTreeSet<ClusterName>,
    namespaces: Namespaces,
    service_accounts: ServiceAccounts,
    usages: BTreeSet<Usage>,
    secret_name: SecretName,
    secret_type: SecretType,
}

impl Link {
    /// Checks that the parts make a link.
    pub fn new(
        credentials: Vec<CredentialName>,
        clusters: BTreeSet<ClusterName>,
        namespaces: Namespaces,
        service_accounts: ServiceAccounts,
        usages: BTreeSet<Usage>,
        secret_name: SecretName,
        secret_type: SecretType,
    ) -> Result<Self, Error> {
        if credentials.is_empty() {
            return Err(Error::NoCredential);
        }
        if let Some(twice) = first_repeated(&credentials) {
            return Err(Error::RepeatedCredential(twice.clone()));
        }
        if clusters.is_empty() {
            return Err(Error::NoCluster);
        }
        if usages.is_empty() {
            return Err(Error::NoUsage);
        }
        Ok(Self { credentials, clusters, namespaces, service_accounts, usages, secret_name, secret_type })
    }

    /// The credentials, in the order in which they are merged; the first wins.
    pub fn credentials(&self) -> &[CredentialName] {
        &self.credentials
    }

    /// The clusters it applies to.
    pub fn clusters(&self) -> &BTreeSet<ClusterName> {
        &self.clusters
    }

    /// Where the Secret shall be.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Who is linked to it there.
    pub fn service_accounts(&self) -> &ServiceAccounts {
        &self.service_accounts
    }

    /// By which lists.
    pub fn usages(&self) -> &BTreeSet<Usage> {
        &self.usages
    }

    /// Name of the Secret.
    pub fn secret_name(&self) -> &SecretName {
        &self.secret_name
    }

    /// Type of the Secret.
    pub fn secret_type(&self) -> SecretType {
        self.secret_type
    }
}

fn first_repeated(credentials: &[CredentialName]) -> Option<&CredentialName> {
    let mut seen = BTreeSet::new();
    credentials.iter().find(|name| !seen.insert(*name))
}
