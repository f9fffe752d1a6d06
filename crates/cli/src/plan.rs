//! `pullpass plan`, and `--dry-run` of what declares and takes back: what would change, told by the appliers.

use clap::Args;
use futures::TryStreamExt as _;
use pullpass_api::{
    applier::v1::{Action, PlanSyncRequest, PlannedChange},
    grant::v1::{ImageGrant, SecretLink},
};
use pullpass_domain::name::ClusterName;
use serde_json::Value;

use crate::{
    client::Session,
    json,
    output::{self, Format, note},
    values,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass plan
  pullpass plan --cluster prod -o json
  pullpass link delete quay --dry-run       (the plan of a change that is not made yet)";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A cluster; can be repeated. Default: `clusters` in client.toml
    #[arg(long = "cluster", value_name = "K", value_delimiter = ',', value_parser = values::cluster)]
    clusters: Vec<ClusterName>,
}

impl Arguments {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let clusters = session.clusters(self.clusters)?;
        print(session, &clusters, Proposal::default()).await
    }
}

/// What to plan with beside the desired state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proposal(PlanSyncRequest);

impl Proposal {
    /// As if this link stood.
    pub(crate) fn link(link: SecretLink) -> Self {
        Self(PlanSyncRequest { proposed_secret_links: vec![link], ..Default::default() })
    }

    /// As if this grant stood.
    pub(crate) fn grant(grant: ImageGrant) -> Self {
        Self(PlanSyncRequest { proposed_image_grants: vec![grant], ..Default::default() })
    }

    /// As if this link or grant were deleted.
    pub(crate) fn removal(name: &str) -> Self {
        Self(PlanSyncRequest { proposed_removals: vec![name.to_owned()], ..Default::default() })
    }
}

/// Prints the plan of a proposal. Nothing is changed.
pub(crate) async fn show(
    session: &Session,
    clusters: &[ClusterName],
    proposal: Proposal,
) -> anyhow::Result<()> {
    note("dry run: nothing is changed; this is what would be");
    print(session, clusters, proposal).await
}

/// The clusters that a stored link or grant names.
pub(crate) fn clusters_of(names: &[String]) -> anyhow::Result<Vec<ClusterName>> {
    names.iter().map(|name| Ok(ClusterName::parse(name)?)).collect()
}

async fn print(session: &Session, clusters: &[ClusterName], proposal: Proposal) -> anyhow::Result<()> {
    let mut plan = Vec::new();
    for cluster in clusters {
        let changes = ask(session, cluster, proposal.clone()).await?;
        plan.extend(changes.into_iter().map(|change| (cluster.id().to_owned(), change)));
    }
    if plan.is_empty() {
        note("nothing to change");
    }
    output::emit(&render(session.format, &plan)?)
}

async fn ask(
    session: &Session,
    cluster: &ClusterName,
    proposal: Proposal,
) -> anyhow::Result<Vec<PlannedChange>> {
    let applier = session.applier(cluster)?;
    let attempted = || format!("plan for cluster {}", cluster.id());
    let stream = applier.call(attempted(), async |mut c| c.plan_sync(proposal.0).await).await?;
    let batches: Vec<_> = stream.try_collect().await.map_err(|status| applier.failed(attempted(), status))?;
    Ok(batches.into_iter().flat_map(|batch| batch.changes).collect())
}

/// In JSON an array of changes, each with the bare name of its cluster added.
fn render(format: Format, plan: &[(String, PlannedChange)]) -> anyhow::Result<String> {
    if format != Format::Table {
        let values: anyhow::Result<Vec<_>> = plan
            .iter()
            .map(|(cluster, change)| json::value_of(cluster, "pullpass.applier.v1.PlannedChange", change))
            .collect();
        return output::structured(format, &Value::Array(values?));
    }
    if plan.is_empty() {
        return Ok(String::new());
    }
    let headers = ["CLUSTER", "NAMESPACE", "ACTION", "OBJECT", "CHANGE", "CAUSE", "REASON"];
    Ok(output::table(&headers, plan.iter().map(|(cluster, change)| row(cluster, change))))
}

fn row(cluster: &str, change: &PlannedChange) -> Vec<String> {
    let action = match change.action() {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
        Action::Blocked => "blocked",
        Action::Unspecified => "unknown",
    };
    vec![
        cluster.to_owned(),
        change.namespace.clone(),
        action.to_owned(),
        format!("{}/{}", change.kind, change.object),
        change.change.clone(),
        change.cause.clone(),
        change.reason.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Vec<(String, PlannedChange)> {
        let change = PlannedChange {
            action: Action::Update.into(),
            kind: "ServiceAccount".into(),
            namespace: "team-a".into(),
            object: "default".into(),
            change: "append \"quay\" to imagePullSecrets".into(),
            cause: "secretLinks/quay".into(),
            reason: "the link asks for it".into(),
        };
        vec![("dev".to_owned(), change)]
    }

    #[test]
    fn a_plan_is_a_table_of_changes_with_their_reasons() {
        let text = render(Format::Table, &plan()).unwrap();
        let line = text.lines().nth(1).unwrap();
        let cells: Vec<_> = line.split("   ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
        let expected = [
            "dev",
            "team-a",
            "update",
            "ServiceAccount/default",
            "append \"quay\" to imagePullSecrets",
            "secretLinks/quay",
            "the link asks for it",
        ];
        assert_eq!(cells, expected);
    }

    #[test]
    fn an_empty_plan_is_nothing_or_an_empty_array() {
        assert_eq!(render(Format::Table, &[]).unwrap(), "");
        assert_eq!(render(Format::Json, &[]).unwrap(), "[]\n");
    }

    #[test]
    fn a_change_in_json_names_its_cluster() {
        let value: Value = serde_json::from_str(&render(Format::Json, &plan()).unwrap()).unwrap();
        assert_eq!(value[0]["cluster"], "dev");
        assert_eq!(value[0]["action"], "ACTION_UPDATE");
    }
}
