//! `pullpass cluster`.

use clap::{Args, Subcommand};
use pullpass_api::grant::v1::{
    Cluster, CreateClusterRequest, DeleteClusterRequest, DeleteClusterResponse, GetClusterRequest,
    ListClustersRequest,
};
use pullpass_domain::name::ClusterName;
use pullpass_runtime::SpiffeId;

use crate::{
    client::{Grants, PAGE_SIZE, Session, all_pages},
    failure::CallError,
    output::{self, Resource, note},
    values,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass cluster create prod --applier-identity spiffe://example.org/applier/prod
  pullpass cluster list";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Registers a cluster and the identity of the one applier that may act for it
    #[command(
        after_help = "Examples:\n  pullpass cluster create prod --applier-identity spiffe://example.org/applier/prod"
    )]
    Create(Create),
    /// Lists the clusters
    #[command(after_help = "Examples:\n  pullpass cluster list\n  pullpass cluster list -o json")]
    List,
    /// Shows a cluster
    #[command(after_help = "Examples:\n  pullpass cluster get prod")]
    Get {
        /// The cluster
        #[arg(value_parser = values::cluster)]
        name: ClusterName,
    },
    /// Forgets a cluster; what it holds of links and grants stays there
    #[command(
        after_help = "Examples:\n  pullpass cluster delete prod\n  pullpass cluster delete prod --force"
    )]
    Delete {
        /// The cluster
        #[arg(value_parser = values::cluster)]
        name: ClusterName,
        /// Also take it out of every link and grant that names it
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The name to give it: lower-case letters, digits and `-`
    #[arg(value_parser = values::cluster)]
    name: ClusterName,
    /// SPIFFE id of its applier
    #[arg(long, value_name = "SPIFFE-ID")]
    applier_identity: SpiffeId,
}

impl Command {
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Create(_) => "pullpass cluster create",
            Self::List => "pullpass cluster list",
            Self::Get { .. } => "pullpass cluster get",
            Self::Delete { .. } => "pullpass cluster delete",
        }
    }

    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let grants = session.grants();
        match self {
            Self::Create(Create { name, applier_identity }) => {
                let cluster = create(&grants, &name, &applier_identity).await?;
                note(&format!("cluster {} created", name.id()));
                output::emit(&output::line(session.format, &cluster)?)
            }
            Self::List => output::emit(&output::list(session.format, &list(&grants).await?)?),
            Self::Get { name } => {
                output::emit(&output::details(session.format, &get(&grants, &name).await?)?)
            }
            Self::Delete { name, force } => {
                let request = DeleteClusterRequest { name: name.to_string(), force, ..Default::default() };
                let attempted = format!("delete cluster {}", name.id());
                let DeleteClusterResponse {} =
                    grants.call(attempted, async |mut c| c.delete_cluster(request).await).await?;
                note(&format!("cluster {} deleted", name.id()));
                output::emit_empty(session.format)
            }
        }
    }
}

pub(crate) async fn create(
    grants: &Grants,
    name: &ClusterName,
    applier: &SpiffeId,
) -> Result<Cluster, CallError> {
    let request = CreateClusterRequest {
        cluster_id: name.id().to_owned(),
        cluster: Some(Cluster { applier_identity: applier.to_string(), ..Default::default() }),
        ..Default::default()
    };
    let attempted = format!("create cluster {}", name.id());
    let response = grants.call(attempted, async |mut c| c.create_cluster(request).await).await?;
    Ok(response.cluster.unwrap_or_default())
}

pub(crate) async fn get(grants: &Grants, name: &ClusterName) -> Result<Cluster, CallError> {
    let request = GetClusterRequest { name: name.to_string() };
    let attempted = format!("get cluster {}", name.id());
    let response = grants.call(attempted, async |mut c| c.get_cluster(request).await).await?;
    Ok(response.cluster.unwrap_or_default())
}

async fn list(grants: &Grants) -> Result<Vec<Cluster>, CallError> {
    all_pages(async |page_token| {
        let request = ListClustersRequest { page_size: PAGE_SIZE, page_token };
        let page = grants.call("list clusters", async |mut c| c.list_clusters(request).await).await?;
        Ok((page.clusters, page.next_page_token))
    })
    .await
}

impl Resource for Cluster {
    const NAME: &'static str = "pullpass.grant.v1.Cluster";
    const HEADERS: &'static [&'static str] = &["NAME", "APPLIER", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![
            values::short(&self.name),
            self.applier_identity.clone(),
            output::time(self.create_time.as_ref()),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Name", self.name.clone()),
            ("UID", self.uid.clone()),
            ("Applier", self.applier_identity.clone()),
            ("Created", output::time(self.create_time.as_ref())),
            ("Updated", output::time(self.update_time.as_ref())),
            ("Revision", self.revision.to_string()),
        ]
    }
}
