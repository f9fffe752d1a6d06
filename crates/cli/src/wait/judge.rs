//! Whether there is anything left to wait for: a pure function of what was declared and what is reported.

use std::collections::BTreeMap;

use pullpass_api::grant::v1::{ImageGrant, SecretLink, SyncState, SyncStatus, WatchSyncStatusResponse};
use pullpass_domain::name::LinkName;

use crate::values;

/// The reason of what is not done before somebody confirms it.
const HELD: &str = "DELETIONS_HELD";

/// A link or grant that each of its clusters shall have, at this revision or a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) revision: i64,
    pub(crate) clusters: Vec<String>,
}

impl From<&SecretLink> for Target {
    fn from(link: &SecretLink) -> Self {
        Self { name: link.name.clone(), revision: link.revision, clusters: link.clusters.clone() }
    }
}

impl From<&ImageGrant> for Target {
    fn from(grant: &ImageGrant) -> Self {
        Self { name: grant.name.clone(), revision: grant.revision, clusters: grant.clusters.clone() }
    }
}

/// What shall be reached.
#[derive(Debug, Default)]
pub(crate) struct Goal {
    /// What must be reported as done. What is reported beside it must be done too.
    pub(crate) targets: Vec<Target>,
    /// The version of each credential, by resource name, that links must have at least.
    pub(crate) versions: BTreeMap<String, i64>,
}

/// Where things stand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is left to wait for.
    Done,
    /// For this.
    Waiting(String),
    /// Nothing is left to wait for, but these failed.
    Failed(Vec<String>),
}

/// Where one link or grant stands in one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Done,
    Waiting,
    Failed,
}

impl Goal {
    pub(crate) fn one(target: Target) -> Self {
        Self { targets: vec![target], versions: BTreeMap::new() }
    }

    pub(crate) fn judge(&self, status: &WatchSyncStatusResponse) -> Verdict {
        let standings: Vec<_> = status.statuses.iter().map(|row| (row, self.standing(row))).collect();
        let waiting = standings.iter().filter(|(_, s)| *s == Standing::Waiting).count();
        let missing = self.missing(status).count();
        if waiting + missing > 0 {
            return Verdict::Waiting(counts(status, waiting + missing));
        }
        let failed: Vec<_> =
            standings.iter().filter(|(_, s)| *s == Standing::Failed).map(|(row, _)| describe(row)).collect();
        if failed.is_empty() { Verdict::Done } else { Verdict::Failed(failed) }
    }

    fn standing(&self, row: &SyncStatus) -> Standing {
        let revision =
            self.targets.iter().find(|target| target.name == row.name).map_or(0, |target| target.revision);
        let moving = row.revision < revision
            || row.pending > 0
            || row.leaving > 0
            || matches!(row.state(), SyncState::Pending | SyncState::Deleting | SyncState::Unspecified);
        if moving {
            Standing::Waiting
        } else if row.failed > 0 || row.state() == SyncState::Failed {
            Standing::Failed
        } else if self.is_behind(row) {
            Standing::Waiting
        } else {
            Standing::Done
        }
    }

    /// Whether a link's Secrets are of older credential versions than there are.
    fn is_behind(&self, row: &SyncStatus) -> bool {
        let is_link = row.name.strip_prefix(LinkName::COLLECTION).is_some_and(|rest| rest.starts_with('/'));
        let old = |held: &pullpass_api::grant::v1::SyncedVersion| {
            self.versions.get(&held.credential).is_some_and(|newest| held.version < *newest)
        };
        let unknown = row.versions.is_empty() && !self.versions.is_empty();
        is_link && row.synced > 0 && (unknown || row.versions.iter().any(old))
    }

    /// What is declared for a cluster and not in the report at all.
    fn missing<'a>(
        &'a self,
        status: &'a WatchSyncStatusResponse,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs =
            self.targets.iter().flat_map(|t| t.clusters.iter().map(|c| (t.name.as_str(), c.as_str())));
        pairs.filter(|(name, cluster)| {
            !status.statuses.iter().any(|row| row.name == *name && row.cluster == *cluster)
        })
    }
}

/// One line for each link or grant and cluster that is not done.
pub(crate) fn unfinished(goal: &Goal, status: &WatchSyncStatusResponse) -> Vec<String> {
    let rows = status.statuses.iter().filter(|row| goal.standing(row) != Standing::Done);
    let missing = goal
        .missing(status)
        .map(|(name, cluster)| format!("{name} in {}: nothing is reported", values::short(cluster)));
    rows.map(describe).chain(missing).collect()
}

/// Where one link or grant stands in one cluster, with the first reasons.
pub(crate) fn describe(row: &SyncStatus) -> String {
    let counts = [(row.pending, "pending"), (row.failed, "failed"), (row.leaving, "still to be left")];
    let counts: Vec<_> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}")).collect();
    let cluster = values::short(&row.cluster);
    let line = format!(
        "{} in {cluster}: {} of {} namespaces done{}",
        row.name,
        row.synced,
        row.wanted,
        counts.concat()
    );
    let reasons = row.reasons.iter().map(|reason| match reason.namespace.as_str() {
        "" => format!("  {} ({})", reason.message, reason.code),
        namespace => format!("  {namespace}: {} ({})", reason.message, reason.code),
    });
    std::iter::once(line).chain(reasons).collect::<Vec<_>>().join("\n")
}

fn counts(status: &WatchSyncStatusResponse, waiting: usize) -> String {
    let sum = |count: fn(&SyncStatus) -> i64| status.statuses.iter().map(count).sum::<i64>();
    let (synced, wanted) = (sum(|row| row.synced), sum(|row| row.wanted));
    let (failed, leaving) = (sum(|row| row.failed), sum(|row| row.leaving));
    let all = status.statuses.len().max(waiting);
    let more = |n: i64, what: &str| if n > 0 { format!(", {n} {what}") } else { String::new() };
    let (failed, leaving) = (more(failed, "failed"), more(leaving, "still to be left"));
    let unsynced = status.statuses.iter().filter(|row| row.state() != SyncState::Synced);
    let mut reasons = unsynced.flat_map(|row| &row.reasons);
    // What waits for a decision does not pass by waiting.
    let reason = reasons.clone().find(|reason| reason.code == HELD).or_else(|| reasons.next());
    let reason = reason.map(|first| format!("; {}: {}", first.code, first.message)).unwrap_or_default();
    format!("waiting for {waiting} of {all}: {synced} of {wanted} namespaces done{failed}{leaving}{reason}")
}

#[cfg(test)]
mod tests;
