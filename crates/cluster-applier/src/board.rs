//! How every link and grant stands in every namespace, and the sums of it that are reported.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pullpass_api::grant::v1::{SyncReason, SyncState, SyncStatus, SyncedVersion};
use pullpass_domain::name::Namespace;

use crate::{
    desired::{Desired, Name},
    guard::Hold,
    material::Versions,
    plan::{Outcome, Outcomes, Reason, Standing},
};

/// So many reasons are told of one link or grant.
const REASONS: usize = 10;

/// The outcomes of all namespaces.
#[derive(Debug, Default)]
pub(crate) struct Board {
    outcomes: BTreeMap<Namespace, Outcomes>,
    /// What changed since a namespace was last taken up.
    awaiting: HashMap<Namespace, BTreeSet<Name>>,
}

impl Board {
    /// A namespace has been looked at. Whether anything is different. What changed while it was looked at still awaits its
    /// turn: of that the outcomes may tell how it was before.
    pub(crate) fn set(&mut self, namespace: &Namespace, mut outcomes: Outcomes) -> bool {
        for name in self.awaiting.get(namespace).into_iter().flatten() {
            match self.outcomes.get(namespace).and_then(|outcomes| outcomes.get(name)) {
                Some(awaiting) => drop(outcomes.insert(name.clone(), awaiting.clone())),
                None => drop(outcomes.remove(name)),
            }
        }
        if outcomes.is_empty() {
            return self.outcomes.remove(namespace).is_some();
        }
        let before = self.outcomes.insert(namespace.clone(), outcomes);
        before.as_ref() != self.outcomes.get(namespace)
    }

    /// The namespace waits for its turn to be brought to what a link or grant now wants of it.
    pub(crate) fn awaits_turn(&mut self, namespace: &Namespace, name: &Name, wanted: bool) {
        self.awaiting.entry(namespace.clone()).or_default().insert(name.clone());
        let outcomes = self.outcomes.entry(namespace.clone()).or_default();
        if wanted {
            outcomes.insert(name.clone(), Outcome::new(Standing::Pending));
        } else if let Some(outcome) = outcomes.get_mut(name) {
            *outcome = Outcome::new(Standing::Leaving);
        }
    }

    /// The namespace's turn has come: what is planned from now on is planned from all that is known.
    pub(crate) fn begins_turn(&mut self, namespace: &Namespace) {
        self.awaiting.remove(namespace);
    }

    /// The namespaces that shall have it, or still do.
    pub(crate) fn namespaces_of(&self, name: &Name) -> BTreeSet<Namespace> {
        let with = self.outcomes.iter().filter(|(_, outcomes)| outcomes.contains_key(name));
        with.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// The namespaces that shall have it.
    pub(crate) fn wanting(&self, name: &Name) -> Vec<Namespace> {
        let wants = |outcomes: &Outcomes| outcomes.get(name).is_some_and(|o| o.standing != Standing::Leaving);
        let wanting = self.outcomes.iter().filter(|(_, outcomes)| wants(outcomes));
        wanting.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// One status for every link and grant that applies or still has traces, in order of name.
    pub(crate) fn statuses(&self, desired: &Desired, hold: Option<&Hold>) -> Vec<SyncStatus> {
        let mut sums: BTreeMap<Name, Sum> = desired.names().map(|name| (name, Sum::default())).collect();
        for (namespace, outcomes) in &self.outcomes {
            for (name, outcome) in outcomes {
                match sums.get_mut(name) {
                    Some(sum) => sum.add(namespace, outcome),
                    None => sums.entry(name.clone()).or_default().add(namespace, outcome),
                }
            }
        }
        let mut statuses: Vec<_> =
            sums.into_iter().map(|(name, sum)| sum.into_status(&name, desired, hold)).collect();
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
        statuses
    }
}

#[derive(Default)]
struct Sum {
    counts: HashMap<Standing, i64>,
    reasons: Vec<(Standing, SyncReason)>,
    versions: Vec<Versions>,
    /// Whether deletions of it are held.
    held: bool,
}

impl Sum {
    fn add(&mut self, namespace: &Namespace, outcome: &Outcome) {
        *self.counts.entry(outcome.standing).or_default() += 1;
        if outcome.standing == Standing::Synced && !self.versions.contains(&outcome.versions) {
            self.versions.push(outcome.versions.clone());
        }
        for reason in &outcome.reasons {
            if reason.of_guard {
                self.held = true;
                continue;
            }
            self.keep(reason.standing, || told(namespace, reason));
        }
    }

    /// The first of each kind, and failures rather than anything else.
    fn keep(&mut self, standing: Standing, reason: impl FnOnce() -> SyncReason) {
        if self.reasons.len() == REASONS {
            let milder = self.reasons.iter().rposition(|(kept, _)| *kept < standing);
            let Some(milder) = milder else { return };
            self.reasons.remove(milder);
        }
        self.reasons.push((standing, reason()));
    }

    fn count(&self, standing: Standing) -> i64 {
        self.counts.get(&standing).copied().unwrap_or_default()
    }

    fn into_status(mut self, name: &Name, desired: &Desired, hold: Option<&Hold>) -> SyncStatus {
        if let Some(unreadable) = desired.unreadable.get(name) {
            let message = format!(
                "the applier does not understand it: {}; is it older than grant-manager?",
                unreadable.problem
            );
            let reason = SyncReason { namespace: String::new(), code: "NOT_UNDERSTOOD".into(), message };
            self.reasons.insert(0, (Standing::Failed, reason));
        }
        self.reasons.sort_by_key(|(standing, _)| std::cmp::Reverse(*standing));
        // Said once, with the numbers of now, and first: only this waits for a decision.
        if let Some(hold) = hold.filter(|_| self.held) {
            let code = Hold::CODE.to_owned();
            let reason = SyncReason { namespace: String::new(), code, message: hold.message() };
            self.reasons.insert(0, (Standing::Pending, reason));
        }
        let [synced, pending, failed, leaving] =
            [Standing::Synced, Standing::Pending, Standing::Failed, Standing::Leaving].map(|s| self.count(s));
        let revision = desired.revision_of(name);
        SyncStatus {
            name: name.to_string(),
            cluster: desired.cluster.clone().unwrap_or_default(),
            state: state(
                revision.is_some(),
                failed > 0 || desired.unreadable.contains_key(name),
                pending + leaving,
            )
            .into(),
            revision: revision.unwrap_or_default(),
            wanted: synced + pending + failed,
            synced,
            pending,
            failed,
            leaving,
            reasons: self.reasons.into_iter().take(REASONS).map(|(_, reason)| reason).collect(),
            versions: told_versions(&self.versions),
        }
    }
}

fn state(applies: bool, failed: bool, unfinished: i64) -> SyncState {
    match (applies, failed, unfinished) {
        (false, ..) => SyncState::Deleting,
        (true, true, _) => SyncState::Failed,
        (true, false, 0) => SyncState::Synced,
        (true, false, _) => SyncState::Pending,
    }
}

fn told_versions(held: &[Versions]) -> Vec<SyncedVersion> {
    let versions: BTreeSet<_> = held.iter().flat_map(|versions| versions.iter().cloned()).collect();
    versions.into_iter().map(|(credential, version)| SyncedVersion { credential, version }).collect()
}

fn told(namespace: &Namespace, reason: &Reason) -> SyncReason {
    SyncReason {
        namespace: namespace.to_string(),
        code: reason.code.to_string(),
        message: reason.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pullpass_domain::name::LinkName;

    use super::*;
    use crate::plan::testing;

    fn ns(name: &str) -> Namespace {
        Namespace::new(name).expect("a namespace")
    }

    fn web() -> Name {
        Name::Link(LinkName::from_id("web").expect("a name"))
    }

    fn outcome(standing: Standing, reason: Option<Reason>) -> Outcomes {
        let versions = Arc::from([("credentials/quay".to_owned(), 3)]);
        let outcome = Outcome { standing, reasons: reason.into_iter().collect(), versions };
        [(web(), outcome)].into_iter().collect()
    }

    fn status(board: &Board, desired: &Desired) -> SyncStatus {
        board.statuses(desired, None).remove(0)
    }

    #[test]
    fn counts_add_up_and_make_the_state() {
        let desired = testing::desired_link("web");
        let mut board = Board::default();
        assert_eq!(status(&board, &desired).state(), SyncState::Synced, "wanted nowhere");
        board.set(&ns("a"), outcome(Standing::Synced, None));
        let all_synced = status(&board, &desired);
        assert_eq!((all_synced.wanted, all_synced.synced, all_synced.state()), (1, 1, SyncState::Synced));
        assert_eq!(all_synced.versions[0].version, 3);
        board.awaits_turn(&ns("b"), &web(), true);
        assert_eq!(status(&board, &desired).state(), SyncState::Pending);
        board.begins_turn(&ns("b"));
        board.set(&ns("b"), outcome(Standing::Failed, None));
        assert_eq!(status(&board, &desired).state(), SyncState::Failed);
        board.set(&ns("b"), outcome(Standing::Leaving, None));
        let shrunk = status(&board, &desired);
        assert_eq!((shrunk.wanted, shrunk.leaving, shrunk.state()), (1, 1, SyncState::Pending));
        let removed = status(&board, &Desired::default());
        assert_eq!((removed.revision, removed.state()), (0, SyncState::Deleting));
    }

    #[test]
    fn what_is_not_wanted_any_more_leaves_and_then_is_not_told_of() {
        let mut board = Board::default();
        board.set(&ns("a"), outcome(Standing::Synced, None));
        board.awaits_turn(&ns("a"), &web(), false);
        board.awaits_turn(&ns("b"), &web(), false);
        assert_eq!(status(&board, &Desired::default()).leaving, 1);
        board.begins_turn(&ns("a"));
        assert!(board.set(&ns("a"), Outcomes::new()));
        assert_eq!(board.statuses(&Desired::default(), None), []);
    }

    #[test]
    fn what_changes_while_a_namespace_is_worked_on_is_not_answered_by_an_older_plan() {
        let mut board = Board::default();
        board.begins_turn(&ns("a"));
        board.awaits_turn(&ns("a"), &web(), true);
        board.set(&ns("a"), Outcomes::new());
        assert_eq!(status(&board, &testing::desired_link("web")).state(), SyncState::Pending, "made anew");
        board.begins_turn(&ns("a"));
        board.set(&ns("a"), outcome(Standing::Synced, None));
        board.awaits_turn(&ns("a"), &web(), false);
        board.set(&ns("a"), outcome(Standing::Synced, None));
        assert_eq!(status(&board, &Desired::default()).leaving, 1, "taken back");
    }

    #[test]
    fn ten_reasons_are_told_failures_first() {
        let mut board = Board::default();
        for i in 0..12 {
            let reason = Reason::pending("WAITING_FOR_MATERIAL", "Secret", "web", "wait".into());
            board.set(&ns(&format!("a{i}")), outcome(Standing::Pending, Some(reason)));
        }
        let reason = Reason::failed("NOT_OURS", "Secret", "web", "foreign".into());
        board.set(&ns("z"), outcome(Standing::Failed, Some(reason)));
        let reasons = status(&board, &testing::desired_link("web")).reasons;
        assert_eq!((reasons.len(), reasons[0].code.as_str()), (10, "NOT_OURS"));
    }
}
