//! How far the clusters agree: what is declared, joined with what they reported of it.

use std::collections::{BTreeSet, HashMap};

use pullpass_api::{
    convert,
    grant::v1::{Cluster, ClusterStatus, GetSyncStatusResponse, SyncReason, SyncState, SyncStatus},
};
use tokio::sync::watch;

use crate::{
    error::Error,
    manager::Manager,
    presence::Presence,
    reports::REASONS,
    resource::{Resource as _, declaration_name},
    store::{
        appliers::{self, Applier},
        targets::{self, Target},
    },
};

/// The reason while an applier has not said anything of the current revision.
const WAITING: &str = "WAITING_FOR_APPLIER";
/// So many names can be asked for by name.
const NAMES: usize = 1000;

/// Which part of the status is asked for; all of it by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    names: BTreeSet<String>,
    cluster: Option<String>,
}

impl Filter {
    pub(crate) fn parse(names: &[String], cluster: &str) -> Result<Self, convert::Error> {
        if names.len() > NAMES {
            return Err(convert::Error::new("names", format!("are more than {NAMES}: ask for all instead")));
        }
        let name = |(i, name): (usize, &String)| {
            declaration_name(name).map_err(|problem| convert::Error::new(format!("names[{i}]"), problem))
        };
        let cluster = Some(cluster).filter(|cluster| !cluster.is_empty()).map(Cluster::parse_name);
        let cluster = cluster.transpose().map_err(|problem| convert::Error::new("cluster", problem))?;
        Ok(Self { names: names.iter().enumerate().map(name).collect::<Result<_, _>>()?, cluster })
    }
}

impl Manager {
    /// The status now.
    pub(crate) async fn sync_status(&self, filter: &Filter) -> Result<GetSyncStatusResponse, Error> {
        let mut read = self.read().await?;
        let revision = read.revision().await?;
        let cluster = filter.cluster.as_deref();
        let targets = targets::list(read.connection(), cluster, &filter.names).await?;
        let appliers = appliers::all(read.connection(), cluster).await?;
        drop(read);
        let clusters: Vec<_> =
            appliers.iter().map(|applier| cluster_status(applier, &self.presence)).collect();
        let known: HashMap<_, _> = clusters.iter().map(|status| (status.cluster.as_str(), status)).collect();
        let statuses = targets.into_iter().filter_map(|target| {
            let cluster = *known.get(target.cluster.as_str())?;
            Some(summary(target, cluster))
        });
        Ok(GetSyncStatusResponse { statuses: statuses.collect(), revision, clusters: clusters.clone() })
    }

    /// The status now, and again whenever it changes.
    pub(crate) fn watch_sync_status(&self, filter: Filter) -> Watch {
        let (revisions, reports) = (self.database.subscribe(), self.presence.subscribe());
        Watch { manager: self.clone(), filter, revisions, reports, last: None }
    }
}

/// One stream of the status.
#[derive(Debug)]
pub(crate) struct Watch {
    manager: Manager,
    filter: Filter,
    revisions: watch::Receiver<i64>,
    reports: watch::Receiver<()>,
    last: Option<GetSyncStatusResponse>,
}

impl Watch {
    /// The next status that differs from the last one; waits for it. What changes meanwhile comes as one.
    pub(crate) async fn next(&mut self) -> Result<GetSyncStatusResponse, Error> {
        loop {
            self.revisions.mark_unchanged();
            self.reports.mark_unchanged();
            let status = self.manager.sync_status(&self.filter).await?;
            if self.last.as_ref() != Some(&status) {
                self.last = Some(status.clone());
                return Ok(status);
            }
            // Neither ends before we do: we hold both of their senders.
            tokio::select! {
                _ = self.revisions.changed() => {}
                _ = self.reports.changed() => {}
            }
        }
    }
}

fn cluster_status(applier: &Applier, presence: &Presence) -> ClusterStatus {
    let uid = &applier.cluster.uid;
    let report_time = presence.report_time(uid).or(applier.report_time);
    ClusterStatus {
        cluster: applier.cluster.name.clone(),
        connected: presence.is_connected(uid),
        report_time: report_time.map(convert::timestamp),
        observed_revision: applier.observed_revision,
    }
}

/// One link or grant in one cluster, as its applier last reported it, if it did.
fn summary(target: Target, cluster: &ClusterStatus) -> SyncStatus {
    let waiting = match target.left_at {
        Some(left_at) => cluster.observed_revision < left_at,
        None => target.report.as_ref().is_none_or(|report| report.revision < target.revision),
    };
    let leaving = target.left_at.is_some();
    let mut status = target.report.unwrap_or_default();
    status.state = state(leaving, waiting, &status).into();
    if waiting {
        status.reasons.insert(0, waiting_reason(cluster));
        status.reasons.truncate(REASONS);
    }
    SyncStatus { name: target.declaration, cluster: target.cluster, ..status }
}

/// A failure that an older revision had says nothing of the current one, so waiting comes before failed.
fn state(leaving: bool, waiting: bool, status: &SyncStatus) -> SyncState {
    if leaving {
        SyncState::Deleting
    } else if waiting {
        SyncState::Pending
    } else if status.failed > 0 {
        SyncState::Failed
    } else if status.pending > 0 || status.leaving > 0 {
        SyncState::Pending
    } else {
        SyncState::Synced
    }
}

fn waiting_reason(cluster: &ClusterStatus) -> SyncReason {
    let name = &cluster.cluster;
    let message = if cluster.connected {
        format!("the applier of {name} is connected and has not reported on this revision yet")
    } else {
        format!("the applier of {name} is not connected: check that it runs and reaches this service")
    };
    SyncReason { namespace: String::new(), code: WAITING.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link at revision 5 in a cluster whose applier has reported up to `observed`.
    fn look(left_at: Option<i64>, observed: i64, report: Option<SyncStatus>) -> SyncStatus {
        let target = Target {
            declaration: "secretLinks/web".into(),
            cluster: "clusters/east".into(),
            revision: 5,
            left_at,
            report,
        };
        let cluster =
            ClusterStatus { observed_revision: observed, connected: true, ..ClusterStatus::default() };
        summary(target, &cluster)
    }

    #[expect(clippy::unnecessary_wraps, reason = "most, but not all, lines of the table have a report")]
    fn report(revision: i64, change: fn(&mut SyncStatus)) -> Option<SyncStatus> {
        let mut status = SyncStatus { revision, wanted: 3, synced: 3, ..SyncStatus::default() };
        change(&mut status);
        Some(status)
    }

    #[test]
    fn the_state_follows_from_what_is_declared_and_what_is_reported() {
        use SyncState::{Deleting, Failed, Pending, Synced};
        let cases = [
            ("nothing reported", None, 0, None, Pending, true),
            ("seen, but not reported on", None, 5, None, Pending, true),
            ("the older revision agrees", None, 4, report(4, |_| ()), Pending, true),
            ("the older revision failed", None, 4, report(4, |s| s.failed = 1), Pending, true),
            ("all agree", None, 5, report(5, |_| ()), Synced, false),
            ("nothing is wanted", None, 5, report(5, |s| (s.wanted, s.synced) = (0, 0)), Synced, false),
            ("one waits", None, 5, report(5, |s| s.pending = 1), Pending, false),
            ("one has to be taken back", None, 5, report(5, |s| s.leaving = 1), Pending, false),
            ("one failed", None, 5, report(5, |s| s.failed = 1), Failed, false),
            (
                "one failed and one waits",
                None,
                5,
                report(5, |s| (s.failed, s.pending) = (1, 1)),
                Failed,
                false,
            ),
            ("deleted, not seen yet", Some(5), 4, report(4, |_| ()), Deleting, true),
            ("deleted, never reported", Some(5), 0, None, Deleting, true),
            ("deleted and on its way out", Some(5), 5, report(5, |s| s.leaving = 2), Deleting, false),
            (
                "deleted and failing",
                Some(5),
                6,
                report(5, |s| (s.leaving, s.failed) = (2, 1)),
                Deleting,
                false,
            ),
        ];
        for (what, left_at, observed, reported, state, waits) in cases {
            let counts = reported.clone().unwrap_or_default();
            let status = look(left_at, observed, reported);
            assert_eq!(status.state(), state, "{what}");
            assert_eq!(status.reasons.iter().any(|reason| reason.code == WAITING), waits, "{what}");
            assert_eq!((status.leaving, status.failed), (counts.leaving, counts.failed), "{what}");
            assert_eq!((status.name.as_str(), status.cluster.as_str()), ("secretLinks/web", "clusters/east"));
        }
    }

    #[test]
    fn waiting_says_whether_the_applier_is_there_and_stays_within_the_limit() {
        let full = report(4, |s| s.reasons = vec![SyncReason::default(); REASONS]);
        let status = look(None, 4, full);
        assert_eq!(status.reasons.len(), REASONS);
        assert!(status.reasons[0].message.contains("is connected"), "{}", status.reasons[0].message);
        let away = waiting_reason(&ClusterStatus::default());
        assert!(away.message.contains("is not connected"), "{}", away.message);
    }

    #[test]
    fn a_filter_names_links_grants_and_a_cluster() {
        let names = ["secretLinks/a".to_owned(), "imageGrants/b".to_owned()];
        assert!(Filter::parse(&names, "clusters/east").is_ok());
        assert_eq!(Filter::parse(&[], ""), Ok(Filter::default()));
        let field = |names: &[String], cluster| Filter::parse(names, cluster).unwrap_err().field;
        assert_eq!(field(&["secretLinks/a".into(), "a".into()], ""), "names[1]");
        assert_eq!(field(&[], "east"), "cluster");
        assert_eq!(field(&vec![String::new(); NAMES + 1], ""), "names");
    }
}
