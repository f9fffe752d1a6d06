//! `pullpass status`.

use clap::Args;
use pullpass_api::grant::v1::{
    ClusterStatus, GetSyncStatusRequest, GetSyncStatusResponse, SyncState, SyncStatus, WatchSyncStatusRequest,
};
use pullpass_domain::name::ClusterName;

use crate::{
    client::{Grants, Session},
    credential, grant, json, link,
    output::{self, Format},
    values,
    wait::{Goal, Target, Wait},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass status
  pullpass status --cluster prod -o json
  pullpass credential rotate quay --password-stdin < token && pullpass status --wait --timeout 5m

With --wait it waits until every link and grant is synced, nothing is being taken back, and every Secret is of the
newest version of its credentials. Without, the exit code says only whether the status could be read.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only this cluster
    #[arg(long, value_name = "K", value_parser = values::cluster)]
    cluster: Option<ClusterName>,
    #[command(flatten)]
    wait: Wait,
}

impl Arguments {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let grants = session.grants();
        let cluster = self.cluster.as_ref().map(ToString::to_string).unwrap_or_default();
        if !self.wait.is_wanted() {
            return output::emit(&render(session.format, &get(&grants, cluster).await?)?);
        }
        let goal = goal(session, &grants, &cluster).await?;
        let request = WatchSyncStatusRequest { names: Vec::new(), cluster };
        let waited = self.wait.until_reached(&grants, request, &goal).await;
        if let Some(last) = waited.last {
            let last = GetSyncStatusResponse {
                statuses: last.statuses,
                clusters: last.clusters,
                revision: last.revision,
            };
            output::emit(&render(session.format, &last)?)?;
        }
        waited.outcome
    }
}

async fn get(grants: &Grants, cluster: String) -> anyhow::Result<GetSyncStatusResponse> {
    let request = GetSyncStatusRequest { names: Vec::new(), cluster };
    Ok(grants.call("get the status", async |mut c| c.get_sync_status(request).await).await?)
}

/// What is declared now, as it is declared now: what comes later is not waited for.
async fn goal(session: &Session, grants: &Grants, cluster: &str) -> anyhow::Result<Goal> {
    let credentials = credential::list(&session.store()).await?;
    let links = link::list(grants).await?;
    let image_grants = grant::list(grants).await?;
    let links = links.iter().filter(|link| link.delete_time.is_none()).map(Target::from);
    let image_grants = image_grants.iter().filter(|grant| grant.delete_time.is_none()).map(Target::from);
    let mut targets: Vec<_> = links.chain(image_grants).collect();
    if !cluster.is_empty() {
        for target in &mut targets {
            target.clusters.retain(|named| named == cluster);
        }
    }
    let versions = credentials.into_iter().map(|credential| (credential.name, credential.version)).collect();
    Ok(Goal { targets, versions })
}

fn render(format: Format, status: &GetSyncStatusResponse) -> anyhow::Result<String> {
    if format != Format::Table {
        return output::structured(format, &json::value("pullpass.grant.v1.GetSyncStatusResponse", status)?);
    }
    let headers = ["NAME", "CLUSTER", "STATE", "WANTED", "SYNCED", "PENDING", "FAILED", "REASON"];
    let rows = output::table(&headers, status.statuses.iter().map(row));
    let clusters =
        output::table(&["CLUSTER", "APPLIER", "LAST REPORT"], status.clusters.iter().map(cluster_row));
    Ok(format!("{rows}\n{clusters}"))
}

fn row(row: &SyncStatus) -> Vec<String> {
    vec![
        row.name.clone(),
        values::short(&row.cluster),
        state(row.state()).to_owned(),
        row.wanted.to_string(),
        row.synced.to_string(),
        row.pending.to_string(),
        row.failed.to_string(),
        reason(row),
    ]
}

/// The first reason; of what is being taken back, how much there is to do.
fn reason(row: &SyncStatus) -> String {
    let first = row.reasons.first().map(|reason| match reason.namespace.as_str() {
        "" => format!("{}: {}", reason.code, reason.message),
        namespace => format!("{} in {namespace}: {}", reason.code, reason.message),
    });
    match first {
        Some(first) => first,
        None if row.leaving > 0 => format!("{} namespaces still to be left", row.leaving),
        None => String::new(),
    }
}

fn cluster_row(cluster: &ClusterStatus) -> Vec<String> {
    let applier = if cluster.connected { "connected" } else { "away" };
    let report = cluster.report_time.as_ref().map_or("never".to_owned(), |time| output::time(Some(time)));
    vec![values::short(&cluster.cluster), applier.to_owned(), report]
}

fn state(state: SyncState) -> &'static str {
    match state {
        SyncState::Pending => "PENDING",
        SyncState::Synced => "SYNCED",
        SyncState::Failed => "FAILED",
        SyncState::Deleting => "DELETING",
        SyncState::Unspecified => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use pullpass_api::grant::v1::SyncReason;

    use super::*;

    fn status() -> GetSyncStatusResponse {
        let reason =
            SyncReason { namespace: "a".into(), code: "NOT_OURS".into(), message: "not made by us".into() };
        let link = SyncStatus {
            name: "secretLinks/web".into(),
            cluster: "clusters/dev".into(),
            state: SyncState::Failed.into(),
            wanted: 3,
            synced: 2,
            failed: 1,
            reasons: vec![reason],
            ..Default::default()
        };
        let cluster = ClusterStatus { cluster: "clusters/dev".into(), connected: true, ..Default::default() };
        GetSyncStatusResponse { statuses: vec![link], clusters: vec![cluster], revision: 4 }
    }

    #[test]
    fn the_table_has_links_first_and_then_clusters() {
        let text = render(Format::Table, &status()).unwrap();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["NAME", "CLUSTER", "STATE", "WANTED", "SYNCED", "PENDING", "FAILED", "REASON"]);
        assert_eq!(words[1][..7], ["secretLinks/web", "dev", "FAILED", "3", "2", "0", "1"]);
        assert!(text.contains("NOT_OURS in a: not made by us"));
        assert_eq!(words[2], [""; 0]);
        assert_eq!(words[4], ["dev", "connected", "never"]);
    }

    #[test]
    fn what_is_remarkable_about_a_link_that_is_synced_is_told_too() {
        let mut status = status();
        let row = &mut status.statuses[0];
        (row.state, row.synced, row.failed) = (SyncState::Synced.into(), 3, 0);
        row.reasons[0] = SyncReason {
            namespace: "a".into(),
            code: "POD_BEFORE_LINK".into(),
            message: "pod web-1 cannot pull".into(),
        };
        let text = render(Format::Table, &status).unwrap();
        assert!(
            text.contains("SYNCED") && text.contains("POD_BEFORE_LINK in a: pod web-1 cannot pull"),
            "{text}"
        );
    }

    #[test]
    fn json_is_the_answer_of_the_api() {
        let value: serde_json::Value =
            serde_json::from_str(&render(Format::Json, &status()).unwrap()).unwrap();
        assert_eq!(value["statuses"][0]["state"], "SYNC_STATE_FAILED");
        assert_eq!(value["statuses"][0]["pending"], 0);
        assert_eq!(value["clusters"][0]["connected"], true);
    }
}
