//! What the appliers report: kept if it tells anything new, and taken as the confirmation that removals wait for.

use std::collections::BTreeMap;

use pullpass_api::{
    convert,
    grant::v1::{ReportSyncRequest, SyncStatus},
};
use pullpass_database::{from_micros, to_micros};
use time::OffsetDateTime;

use crate::{
    declarations,
    error::Error,
    leaving,
    manager::{Manager, Record as _},
    metrics,
    resource::{declaration_name, kind_of},
    store::{
        appliers::{self, Applier},
        targets::{self, Target},
    },
    transaction::{Caller, Transaction},
};

/// So many reasons are kept of one status.
pub(crate) const REASONS: usize = 10;

/// A report: what one cluster holds of each link and grant, at one revision of the desired state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    observed_revision: i64,
    /// Since when the applier is the active one, to the microsecond.
    acquire_time: Option<OffsetDateTime>,
    statuses: BTreeMap<String, SyncStatus>,
}

impl Report {
    /// Checks what an applier sent.
    pub(crate) fn parse(request: ReportSyncRequest) -> Result<Self, convert::Error> {
        let ReportSyncRequest { observed_revision, statuses, acquire_time } = request;
        if observed_revision < 0 {
            return Err(convert::Error::new("observed_revision", "must not be negative"));
        }
        let no_time = || convert::Error::new("acquire_time", "is not a point in time");
        let acquire_time = acquire_time.map(|stamp| convert::time(&stamp).ok_or_else(no_time)).transpose()?;
        let acquire_time = acquire_time.map(|time| from_micros(to_micros(time)));
        let mut by_name = BTreeMap::new();
        for (i, status) in statuses.into_iter().enumerate() {
            let field = |part: &str| format!("statuses[{i}].{part}");
            let name = declaration_name(&status.name).map_err(|e| convert::Error::new(field("name"), e))?;
            let status =
                normal(status).map_err(|part| convert::Error::new(field(part), "must not be negative"))?;
            if by_name.insert(name, status).is_some() {
                return Err(convert::Error::new(field("name"), "is reported twice"));
            }
        }
        Ok(Self { observed_revision, acquire_time, statuses: by_name })
    }

    /// An error if one that became active later has reported.
    fn check_turn(&self, known: &Applier) -> Result<(), Error> {
        match (known.acquire_time, self.acquire_time) {
            (Some(later), Some(given)) if given < later => {
                Err(Error::Superseded { cluster: known.cluster.name.clone(), given, later })
            }
            _ => Ok(()),
        }
    }

    /// What is new in it, given what is kept.
    fn news<'a>(&'a self, known: &Applier, targets: &[Target]) -> News<'a> {
        let is_same =
            (known.observed_revision, known.acquire_time) == (self.observed_revision, self.acquire_time);
        let mut news = News { observed: !is_same, ..News::default() };
        for target in targets {
            let status = self.statuses.get(&target.declaration);
            if self.confirms(target, status) {
                news.gone.push(target.declaration.clone());
            } else if target.report.as_ref() != status {
                news.statuses.push((target.declaration.clone(), status));
            }
        }
        news.left = known.cluster.is_leaving()
            && news.gone.len() == targets.len()
            && self.observed_revision >= known.cluster.revision
            && self.statuses.values().all(|status| status.leaving == 0);
        news
    }

    /// Whether the cluster has seen that it shall take this back, and has nothing left of it.
    fn confirms(&self, target: &Target, status: Option<&SyncStatus>) -> bool {
        target.left_at.is_some_and(|left_at| self.observed_revision >= left_at)
            && status.is_none_or(|status| status.leaving == 0)
    }
}

/// The cluster and the state are not the applier's to tell.
fn normal(mut status: SyncStatus) -> Result<SyncStatus, &'static str> {
    let counts = [
        ("revision", status.revision),
        ("wanted", status.wanted),
        ("synced", status.synced),
        ("pending", status.pending),
        ("failed", status.failed),
        ("leaving", status.leaving),
    ];
    if let Some((part, _)) = counts.into_iter().find(|(_, count)| *count < 0) {
        return Err(part);
    }
    status.reasons.truncate(REASONS);
    Ok(SyncStatus { cluster: String::new(), state: 0, ..status })
}

#[derive(Debug, Default)]
struct News<'a> {
    /// How far the applier is, or which one it is.
    observed: bool,
    statuses: Vec<(String, Option<&'a SyncStatus>)>,
    /// What is taken back.
    gone: Vec<String>,
    /// The cluster leaves, and nothing of ours is left in it, also nothing that we do not know of.
    left: bool,
}

impl News<'_> {
    fn is_none(&self) -> bool {
        !self.observed && self.statuses.is_empty() && self.gone.is_empty() && !self.left
    }
}

impl Manager {
    /// Takes a report in. One that tells nothing new costs a few reads.
    pub(crate) async fn report(&self, caller: Caller, report: &Report) -> Result<(), Error> {
        let identity = caller.identity.spiffe_id.clone();
        let mut read = self.read().await?;
        let ours = read.revision().await?;
        let applier = appliers::of_identity(read.connection(), &identity).await?;
        if report.observed_revision > ours {
            return Err(Error::RevisionAhead { given: report.observed_revision, ours });
        }
        report.check_turn(&applier)?;
        let name = applier.cluster.name.as_str();
        let targets = targets::list(read.connection(), Some(name), &[].into()).await?;
        drop(read);
        let news = !report.news(&applier, &targets).is_none();
        if news {
            let mut transaction = self.write(caller).await?;
            let purged = keep(&mut transaction, &identity, report).await?;
            transaction.commit(false).await?;
            metrics::purged(purged);
        }
        self.presence.reported(&applier.cluster.uid, self.clock.now(), news);
        metrics::report(news);
        Ok(())
    }
}

/// Writes what is new, and gives how many links and grants were purged. What is new is worked out again: others may have
/// written since.
async fn keep(
    transaction: &mut Transaction,
    identity: &pullpass_runtime::SpiffeId,
    report: &Report,
) -> Result<u64, Error> {
    let applier = appliers::of_identity(transaction.connection(), identity).await?;
    report.check_turn(&applier)?;
    let cluster = applier.cluster.name.as_str();
    let targets = targets::list(transaction.connection(), Some(cluster), &[].into()).await?;
    let news = report.news(&applier, &targets);
    for (name, status) in news.statuses {
        targets::report(transaction.connection(), &name, cluster, status).await?;
    }
    let mut purged = 0;
    for name in news.gone {
        targets::forget(transaction.connection(), &name, cluster).await?;
        let gone = declarations::purge_if_forgotten(transaction, kind_of(&name), &name, cluster).await?;
        purged += u64::from(gone);
    }
    if news.left {
        leaving::forget(transaction, cluster).await?;
        return Ok(purged);
    }
    let now = transaction.now();
    let Report { observed_revision, acquire_time, .. } = *report;
    appliers::reported(transaction.connection(), cluster, observed_revision, acquire_time, now).await?;
    Ok(purged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str) -> SyncStatus {
        SyncStatus { name: name.into(), ..SyncStatus::default() }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_field() {
        let request = |observed_revision, statuses| ReportSyncRequest {
            observed_revision,
            statuses,
            ..ReportSyncRequest::default()
        };
        let field = |observed, statuses| Report::parse(request(observed, statuses)).unwrap_err().field;
        let no_time = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        let request = ReportSyncRequest { acquire_time: Some(no_time), ..request(1, vec![]) };
        assert_eq!(Report::parse(request).unwrap_err().field, "acquire_time");
        assert_eq!(field(-1, vec![]), "observed_revision");
        assert_eq!(field(1, vec![status("clusters/a")]), "statuses[0].name");
        assert_eq!(field(1, vec![status("secretLinks/a"), status("secretLinks/a")]), "statuses[1].name");
        let negative = SyncStatus { leaving: -1, ..status("imageGrants/a") };
        assert_eq!(field(1, vec![negative]), "statuses[0].leaving");
    }

    #[test]
    fn cluster_state_and_surplus_reasons_are_not_kept() {
        let sent = SyncStatus {
            cluster: "clusters/other".into(),
            state: 2,
            reasons: vec![pullpass_api::grant::v1::SyncReason::default(); 11],
            ..status("secretLinks/a")
        };
        let request = ReportSyncRequest { statuses: vec![sent], ..ReportSyncRequest::default() };
        let report = Report::parse(request).unwrap();
        let kept = &report.statuses["secretLinks/a"];
        assert_eq!((kept.cluster.as_str(), kept.state, kept.reasons.len()), ("", 0, REASONS));
    }
}
