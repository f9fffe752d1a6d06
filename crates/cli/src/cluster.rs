//! `pullpass cluster`.

use clap::{Args, Subcommand};
use pullpass_api::grant::v1::{
    Cluster, ClusterLeave, CreateClusterRequest, DeleteClusterRequest, DeleteClusterResponse,
    GetClusterRequest, GetSyncStatusRequest, LeaveClusterRequest, ListClustersRequest,
};
use pullpass_domain::name::ClusterName;
use pullpass_runtime::SpiffeId;

use crate::{
    client::{Grants, PAGE_SIZE, Session, all_pages},
    failure::CallError,
    output::{self, Resource, note},
    values,
    wait::Wait,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass cluster create prod --applier-identity spiffe://example.org/applier/prod
  pullpass cluster list
  pullpass cluster leave prod --wait";

const LEAVE: &str = "\
Examples:
  pullpass cluster leave prod --wait
  pullpass cluster leave prod --keep-secrets --wait

The cluster is taken out of every link and grant; those that name no other cluster are deleted. Its applier must run until
the cluster is gone from `pullpass cluster list`; then it can be stopped. `pullpass status` tells how much is left to do. If
the applier is gone for good, `pullpass cluster delete --force` forgets the cluster with whatever it holds.";

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
    /// Takes back all that is ours in a cluster, or lets it go, and then forgets the cluster
    #[command(after_help = LEAVE)]
    Leave(Leave),
    /// Forgets a cluster at once; what it holds of links and grants stays there
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

#[derive(Debug, Args)]
pub(crate) struct Leave {
    /// The cluster
    #[arg(value_parser = values::cluster)]
    name: ClusterName,
    /// Leave Secrets, entries in service accounts and bindings where they are, as plain objects without our marks
    #[arg(long)]
    keep_secrets: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Command {
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Create(_) => "pullpass cluster create",
            Self::List => "pullpass cluster list",
            Self::Get { .. } => "pullpass cluster get",
            Self::Leave(_) => "pullpass cluster leave",
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
            Self::Leave(leave) => leave.run(session).await,
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

impl Leave {
    async fn run(self, session: &Session) -> anyhow::Result<()> {
        let (grants, name) = (session.grants(), &self.name);
        let leave = if self.keep_secrets { ClusterLeave::Keep } else { ClusterLeave::TakeBack };
        let request =
            LeaveClusterRequest { name: name.to_string(), leave: leave.into(), ..Default::default() };
        let attempted = format!("let cluster {} leave", name.id());
        let response = grants.call(attempted, async |mut c| c.leave_cluster(request).await).await?;
        let leaving = response.cluster.unwrap_or_default();
        let what = if self.keep_secrets { "loses our marks and stays" } else { "is taken back" };
        note(&format!("cluster {} is leaving: what is ours there {what}", name.id()));
        for deleted in &response.deleted {
            note(&format!("{deleted} names no other cluster and is deleted"));
        }
        output::emit(&output::line(session.format, &leaving)?)?;
        let is_there = async || get(&grants, name).await.map(|now| now.uid == leaving.uid);
        let status = GetSyncStatusRequest { names: Vec::new(), cluster: leaving.name.clone() };
        self.wait.until_gone(&grants, &leaving.name, &status, is_there).await
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
    const HEADERS: &'static [&'static str] = &["NAME", "APPLIER", "STATE", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![
            values::short(&self.name),
            self.applier_identity.clone(),
            state(self),
            output::time(self.create_time.as_ref()),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Name", self.name.clone()),
            ("UID", self.uid.clone()),
            ("Applier", self.applier_identity.clone()),
            ("State", state(self)),
            ("Created", output::time(self.create_time.as_ref())),
            ("Updated", output::time(self.update_time.as_ref())),
            ("Revision", self.revision.to_string()),
        ]
    }
}

fn state(cluster: &Cluster) -> String {
    match cluster.leave() {
        ClusterLeave::Unspecified => "registered",
        ClusterLeave::TakeBack => "leaving",
        ClusterLeave::Keep => "leaving, objects stay",
    }
    .to_owned()
}
