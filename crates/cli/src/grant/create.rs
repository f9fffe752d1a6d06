//! `pullpass grant create`: from arguments to the message.

use clap::{ArgGroup, Args, ValueEnum};
use pullpass_api::{convert, grant::v1::ImageGrant};
use pullpass_domain::{
    grant::{self, Grant, Subject},
    name::{ClusterName, GrantName, Namespace, ServiceAccount, SubjectName},
};

use crate::{failure::Usage, values, wait::Wait};

pub(super) const EXAMPLES: &str = "\
Examples:
  oc policy add-role-to-user system:image-puller system:serviceaccount:project-a:default -n project-b     is here
    pullpass grant create a-pulls-b --project project-b --to-service-account project-a/default
  oc policy add-role-to-group system:image-puller system:serviceaccounts:project-a -n project-b           is here
    pullpass grant create all-a-pull-b --project project-b --to-project project-a --wait
  pushing, for a group of people:
    pullpass grant create devs-push --project project-b --to-group developers --role push";

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("subject").required(true).args(["to_service_account", "to_project", "to_group", "to_user"])))]
pub(crate) struct Create {
    /// The name to give it: lower-case letters, digits and `-`
    #[arg(value_parser = values::grant)]
    pub(super) name: GrantName,
    /// The project whose images are granted; it need not exist yet
    #[arg(long, value_name = "P", value_parser = values::namespace)]
    project: Namespace,
    /// To one service account
    #[arg(long, value_name = "NS/SA", value_parser = values::service_account_in)]
    to_service_account: Option<(Namespace, ServiceAccount)>,
    /// To all service accounts of a project
    #[arg(long, value_name = "NS", value_parser = values::namespace)]
    to_project: Option<Namespace>,
    /// To a group
    #[arg(long, value_name = "G", value_parser = values::subject)]
    to_group: Option<SubjectName>,
    /// To a user
    #[arg(long, value_name = "U", value_parser = values::subject)]
    to_user: Option<SubjectName>,
    /// What is granted
    #[arg(long, value_name = "ROLE", value_enum, ignore_case = true, default_value = "pull")]
    role: Role,
    /// A cluster; can be repeated. Default: `clusters` in client.toml
    #[arg(long = "cluster", value_name = "K", value_delimiter = ',', value_parser = values::cluster)]
    pub(super) clusters: Vec<ClusterName>,
    /// Change nothing; check it, and show what would change in each cluster
    #[arg(long, conflicts_with = "wait")]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// What is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// system:image-puller
    Pull,
    /// system:image-pusher
    Push,
    /// system:image-builder
    Build,
}

impl Create {
    /// The grant that the arguments describe.
    pub(crate) fn message(&self, clusters: &[ClusterName]) -> Result<ImageGrant, Usage> {
        let role = match self.role {
            Role::Pull => grant::Role::Pull,
            Role::Push => grant::Role::Push,
            Role::Build => grant::Role::Build,
        };
        let clusters = clusters.iter().cloned().collect();
        let grant = Grant::new(self.project.clone(), self.subject()?, role, clusters);
        Ok(convert::grant_message(&self.name, &grant.map_err(|e| Usage(e.to_string()))?))
    }

    fn subject(&self) -> Result<Subject, Usage> {
        let account =
            self.to_service_account.clone().map(|(namespace, name)| Subject::ServiceAccount(namespace, name));
        account
            .or_else(|| self.to_project.clone().map(Subject::ProjectServiceAccounts))
            .or_else(|| self.to_group.clone().map(Subject::Group))
            .or_else(|| self.to_user.clone().map(Subject::User))
            .ok_or_else(|| {
                Usage(
                    "nobody is named: use --to-service-account, --to-project, --to-group or --to-user".into(),
                )
            })
    }
}
