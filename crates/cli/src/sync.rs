//! `pullpass sync`: what an operator asks the appliers to do now.

use clap::Args;
use pullpass_api::applier::v1::{SyncRequest, SyncResponse};
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
  pullpass sync
  pullpass sync --cluster prod --confirm-deletions

Where more than half of what Pullpass manages in a cluster would be deleted, and over 50 objects, or where grant-manager went
back to an older state, deletions are held: `pullpass status` says how many, `pullpass plan` which. --confirm-deletions carries out those of this moment and no others.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A cluster; can be repeated. Default: `clusters` in client.toml
    #[arg(long = "cluster", value_name = "K", value_delimiter = ',', value_parser = values::cluster)]
    clusters: Vec<ClusterName>,
    /// Carry out the deletions that are held now: they are meant
    #[arg(long)]
    confirm_deletions: bool,
}

impl Arguments {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let mut answers = Vec::new();
        for cluster in session.clusters(self.clusters)? {
            let request = SyncRequest { confirm_deletions: self.confirm_deletions };
            let attempted = format!("sync cluster {}", cluster.id());
            let answer =
                session.applier(&cluster)?.call(attempted, async |mut c| c.sync(request).await).await?;
            if answer.held_deletions > 0 {
                note(&held(cluster.id(), answer.held_deletions));
            }
            answers.push((cluster.id().to_owned(), answer));
        }
        output::emit(&render(session.format, &answers)?)
    }
}

fn held(cluster: &str, deletions: i64) -> String {
    format!(
        "{deletions} deletions are held in cluster {cluster}: see `pullpass plan --cluster {cluster}`; if they are meant, run \
         `pullpass sync --cluster {cluster} --confirm-deletions`"
    )
}

/// In JSON an array of answers, each with the bare name of its cluster added.
fn render(format: Format, answers: &[(String, SyncResponse)]) -> anyhow::Result<String> {
    if format != Format::Table {
        let values: anyhow::Result<Vec<_>> = answers
            .iter()
            .map(|(cluster, answer)| json::value_of(cluster, "pullpass.applier.v1.SyncResponse", answer))
            .collect();
        return output::structured(format, &Value::Array(values?));
    }
    let headers = ["CLUSTER", "NAMESPACES", "HELD DELETIONS", "CONFIRMED DELETIONS"];
    let row = |(cluster, answer): &(String, SyncResponse)| {
        let counts = [answer.namespaces, answer.held_deletions, answer.confirmed_deletions];
        std::iter::once(cluster.clone()).chain(counts.map(|count| count.to_string())).collect()
    };
    Ok(output::table(&headers, answers.iter().map(row)))
}
