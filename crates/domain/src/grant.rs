//! Image grants: who may pull, push or build the images of which project in the integrated registry.

use std::collections::BTreeSet;

use crate::name::{ClusterName, Namespace, ServiceAccount, SubjectName};

/// What is granted, by which of OpenShift's ClusterRoles (openshift-apiserver `pkg/bootstrappolicy/policy.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `system:image-puller`.
    Pull,
    /// `system:image-pusher`.
    Push,
    /// `system:image-builder`.
    Build,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Build];

    /// Name of the ClusterRole.
    pub fn cluster_role(self) -> &'static str {
        match self {
            Self::Pull => "system:image-puller",
            Self::Push => "system:image-pusher",
            Self::Build => "system:image-builder",
        }
    }
}

/// Who is granted something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One service account.
    ServiceAccount(Namespace, ServiceAccount),
    /// All service accounts of a project: the group `system:serviceaccounts:{project}`.
    ProjectServiceAccounts(Namespace),
    /// A group.
    Group(SubjectName),
    /// A user.
    User(SubjectName),
}

impl Subject {
    /// The project whose service accounts are meant, if it is about service accounts.
    pub fn project(&self) -> Option<&Namespace> {
        match self {
            Self::ServiceAccount(project, _) | Self::ProjectServiceAccounts(project) => Some(project),
            Self::Group(_) | Self::User(_) => None,
        }
    }
}

/// Why something is not a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A grant without a cluster goes nowhere.
    #[error("names no cluster: give at least one")]
    NoCluster,
    /// RBAC knows service accounts as such, not as users (`oc` would bind a `User` that `oc` itself cannot remove).
    #[error("`{0}` is a service account: grant to the service account, not to a user")]
    ServiceAccountAsUser(SubjectName),
}

/// What a grant says; its name and its bookkeeping are kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    project: Namespace,
    subject: Subject,
    role: Role,
    clusters: BTreeSet<ClusterName>,
}

impl Grant {
    /// Checks that the parts make a grant.
    pub fn new(
        project: Namespace,
        subject: Subject,
        role: Role,
        clusters: BTreeSet<ClusterName>,
    ) -> Result<Self, Error> {
        if clusters.is_empty() {
            return Err(Error::NoCluster);
        }
        match subject {
            Subject::User(user) if user.as_str().starts_with("system:serviceaccount:") => {
                Err(Error::ServiceAccountAsUser(user))
            }
            subject => Ok(Self { project, subject, role, clusters }),
        }
    }

    /// The project whose images are granted.
    pub fn project(&self) -> &Namespace {
        &self.project
    }

    /// Who gets it.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What is granted.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The clusters it applies to.
    pub fn clusters(&self) -> &BTreeSet<ClusterName> {
        &self.clusters
    }

    /// Whether it stays within one project, where OpenShift permits pulling from the start.
    pub fn is_within_one_project(&self) -> bool {
        self.subject.project() == Some(&self.project)
    }
}
