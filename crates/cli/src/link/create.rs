//! `pullpass link create`: from arguments to the message.

use clap::{ArgGroup, Args, ValueEnum};
use pullpass_api::{convert, grant::v1::SecretLink};
use pullpass_domain::{
    docker_config,
    link::{Link, Usage},
    name::{ClusterName, CredentialName, LinkName, Namespace, SecretName, ServiceAccount},
    selector::{By, Namespaces, ServiceAccounts},
};

use crate::{failure, values, wait::Wait};

pub(super) const EXAMPLES: &str = "\
Examples:
  oc secrets link default quay --for=pull            is here
    pullpass link create quay --credential quay --namespace team-a --service-account default
  oc secrets link builder quay                       is here
    pullpass link create quay --credential quay --namespace team-a --service-account builder --for pull,mount
  everywhere, also in namespaces yet to come:
    pullpass link create quay --credential quay --all-namespaces --all-service-accounts --wait
  what would that do?
    pullpass link create quay --credential quay --namespace-selector team=a --service-account default --dry-run";

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("where").required(true).args(["namespaces", "namespace_selector", "all_namespaces"])),
    group(ArgGroup::new("who").required(true).args(["service_accounts", "service_account_selector", "all_service_accounts"])),
)]
pub(crate) struct Create {
    /// The name to give it: lower-case letters, digits and `-`
    #[arg(value_parser = values::link)]
    pub(super) name: LinkName,
    /// A credential; repeat it to merge several into one Secret: where two have the same registry, the first wins
    #[arg(long = "credential", value_name = "C", required = true, value_delimiter = ',', value_parser = values::credential)]
    credentials: Vec<CredentialName>,
    /// A cluster; can be repeated. Default: `clusters` in client.toml
    #[arg(long = "cluster", value_name = "K", value_delimiter = ',', value_parser = values::cluster)]
    pub(super) clusters: Vec<ClusterName>,
    /// A namespace, which need not exist yet; can be repeated
    #[arg(long = "namespace", value_name = "NS", value_delimiter = ',', value_parser = values::namespace)]
    namespaces: Vec<Namespace>,
    /// All namespaces that carry this label, now and later; several must all be there
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = values::label)]
    namespace_selector: Vec<(String, String)>,
    /// All namespaces, now and later, but for `kube-*`, `openshift` and `openshift-*`
    #[arg(long)]
    all_namespaces: bool,
    /// Never this namespace, whatever else matches; can be repeated
    #[arg(long = "exclude-namespace", value_name = "NS", value_delimiter = ',', value_parser = values::namespace)]
    excluded: Vec<Namespace>,
    /// A service account, which need not exist yet; can be repeated
    #[arg(long = "service-account", value_name = "SA", value_delimiter = ',', value_parser = values::service_account)]
    service_accounts: Vec<ServiceAccount>,
    /// All service accounts that carry this label; several must all be there
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = values::label)]
    service_account_selector: Vec<(String, String)>,
    /// All service accounts of those namespaces
    #[arg(long)]
    all_service_accounts: bool,
    /// What the service accounts use it for (unlike `oc secrets link`, which takes mount if nothing is said)
    #[arg(
        long = "for",
        value_name = "USAGE",
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        default_value = "pull"
    )]
    usages: Vec<For>,
    /// Name of the Secret; default: the link's name
    #[arg(long, value_name = "S", value_parser = values::secret_name)]
    secret_name: Option<SecretName>,
    /// Type of the Secret
    #[arg(long, value_name = "TYPE", value_enum, ignore_case = true, default_value = "dockerconfigjson")]
    secret_type: SecretType,
    /// Change nothing; check it, and show what would change in each cluster
    #[arg(long, conflicts_with = "wait")]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// What a service account uses the Secret for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum For {
    /// In `imagePullSecrets`: pods pull their images with it
    Pull,
    /// In `secrets`: builds may use it, pods may mount it
    Mount,
}

/// The two types that hold registry credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SecretType {
    /// kubernetes.io/dockerconfigjson
    #[value(alias = "kubernetes.io/dockerconfigjson")]
    Dockerconfigjson,
    /// kubernetes.io/dockercfg, the older one
    #[value(alias = "kubernetes.io/dockercfg")]
    Dockercfg,
}

impl Create {
    /// The link that the arguments describe.
    pub(crate) fn message(&self, clusters: &[ClusterName]) -> Result<SecretLink, failure::Usage> {
        let usage = |problem: String| failure::Usage(problem);
        let labels = |pairs: &[(String, String)]| values::labels(pairs.to_vec()).map_err(usage);
        let by = By::new(
            self.namespaces.iter().cloned().collect(),
            labels(&self.namespace_selector)?,
            self.all_namespaces,
        );
        let namespaces = by.and_then(|by| Namespaces::new(by, self.excluded.iter().cloned().collect()));
        let accounts = By::new(
            self.service_accounts.iter().cloned().collect(),
            labels(&self.service_account_selector)?,
            self.all_service_accounts,
        );
        let link = Link::new(
            self.credentials.clone(),
            clusters.iter().cloned().collect(),
            namespaces.map_err(|e| usage(format!("the namespaces: {e}")))?,
            ServiceAccounts::new(accounts.map_err(|e| usage(format!("the service accounts: {e}")))?),
            self.usages.iter().copied().map(Usage::from).collect(),
            self.secret_name()?,
            self.secret_type.into(),
        );
        Ok(convert::link_message(&self.name, &link.map_err(|e| usage(e.to_string()))?))
    }

    fn secret_name(&self) -> Result<SecretName, failure::Usage> {
        match &self.secret_name {
            Some(given) => Ok(given.clone()),
            None => SecretName::new(self.name.id()).map_err(|e| failure::Usage(e.to_string())),
        }
    }
}

impl From<For> for Usage {
    fn from(usage: For) -> Self {
        match usage {
            For::Pull => Self::Pull,
            For::Mount => Self::Mount,
        }
    }
}

impl From<SecretType> for docker_config::SecretType {
    fn from(secret_type: SecretType) -> Self {
        match secret_type {
            SecretType::Dockerconfigjson => Self::DockerConfigJson,
            SecretType::Dockercfg => Self::Dockercfg,
        }
    }
}
