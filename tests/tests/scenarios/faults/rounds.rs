//! Rounds: in a storm a few things change, and the applier is killed at a step of its work; then the storm is over, and the
//! cluster must be as the model says. `PULLPASS_ROUNDS` says how many.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use e2e::{
    FaultProxy, Scenario, eventually,
    pullpass::Service,
    wait::{seen, within},
};
use pullpass_api::grant::v1::{GetSyncStatusRequest, SyncState, SyncStatus};

use super::{
    change::{Chooser, Kind},
    cluster::{Found, look, prepare},
    declare,
    model::{CREDENTIALS, NAMESPACES},
    storm,
};
use crate::dice::Dice;

/// Each step of the applier's work, and what makes it do that.
const STEPS: [(&str, Kind); 30] = [
    ("after-take", Kind::Any),
    ("before-create-secret", Kind::Link),
    ("after-create-secret", Kind::Link),
    ("before-edit-account", Kind::Link),
    ("after-edit-account", Kind::Unlink),
    ("before-delete-secret", Kind::Unlink),
    ("after-delete-secret", Kind::Unlink),
    ("after-ticket", Kind::Link),
    ("after-fetch", Kind::Rotate),
    ("before-update-secret", Kind::Rotate),
    ("after-update-secret", Kind::Rotate),
    ("before-recreate-secret", Kind::Retype),
    ("after-create-stand-in", Kind::Retype),
    ("amid-recreate", Kind::Retype),
    ("after-recreate-secret", Kind::Retype),
    ("before-done", Kind::Any),
    ("before-ask", Kind::Grant),
    ("after-ask", Kind::Grant),
    ("before-create-binding", Kind::Grant),
    ("after-create-binding", Kind::Grant),
    ("before-recreate-binding", Kind::ChangeRole),
    ("amid-recreate", Kind::ChangeRole),
    ("after-recreate-binding", Kind::ChangeRole),
    ("before-update-binding", Kind::EditBinding),
    ("after-update-binding", Kind::EditBinding),
    ("before-delete-binding", Kind::Revoke),
    ("after-delete-binding", Kind::Revoke),
    ("before-report", Kind::Any),
    ("after-report", Kind::Any),
    ("never", Kind::Any),
];
/// So long does a round wait for the applier to reach its step.
const REACH: Duration = Duration::from_millis(1500);
/// At most so many things change in a round beside the one that leads to the step.
const OTHERS: u64 = 4;
/// The latest end of the storm after the applier was started again, in milliseconds.
const LATEST: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_and_wherever_the_applier_is_killed_the_final_state_is_the_same() {
    let rounds = std::env::var("PULLPASS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds = rounds.unwrap_or(STEPS.len());
    let (s, proxy) = Scenario::own_with_faults("storm").await;
    let mut dice = Dice::new();
    prepare(&s).await;
    for name in CREDENTIALS {
        declare::credential(&s, name).await;
    }
    let mut field = Field { found: look(&s).await, chooser: Chooser::new(dice.split()), s, proxy, dice };
    let mut killed = BTreeMap::<_, usize>::new();
    let began = Instant::now();
    for round in 0..rounds {
        let (step, kind) = STEPS[round % STEPS.len()];
        let reached = field.round(round, step, kind).await;
        *killed.entry(step).or_default() += usize::from(reached);
    }
    let kills: usize = killed.values().sum();
    println!("{rounds} rounds in {:?}, {kills} kills at their steps: {killed:?}", began.elapsed());
    assert!(2 * kills >= rounds, "too many steps were not reached: {killed:?}");
}

/// Where the rounds are fought out.
struct Field {
    s: Scenario,
    proxy: FaultProxy,
    dice: Dice,
    chooser: Chooser,
    /// What was there after the round before.
    found: Found,
}

impl Field {
    /// Whether the applier reached the step and died there.
    async fn round(&mut self, round: usize, step: &str, kind: Kind) -> bool {
        let failpoint = format!("{step}:{}", 1 + self.dice.below(2));
        println!("── round {round}: {failpoint}");
        self.chooser.touched.clear();
        self.proxy.take_record();
        self.proxy.break_by(storm::rule(self.dice.split()));
        self.s.pullpass.kill9(Service::ClusterApplier);
        let armed = [("PULLPASS_FAILPOINT", failpoint.as_str())];
        self.s.pullpass.launch_with(Service::ClusterApplier, &armed).expect("the applier starts");
        if self.dice.below(2) == 0 {
            self.followed_or_dead().await;
        }
        self.change(kind).await;
        for _ in 0..self.dice.below(OTHERS) {
            self.change(Kind::Any).await;
        }
        let reached =
            within(REACH, async || self.s.pullpass.ended(Service::ClusterApplier).ok_or_else(String::new))
                .await;
        if reached.is_ok() {
            self.change(Kind::Any).await;
            self.s.pullpass.launch(Service::ClusterApplier).expect("the applier starts");
            tokio::time::sleep(Duration::from_millis(self.dice.below(LATEST))).await;
        }
        self.proxy.mend();
        let broken = self.proxy.take_record().iter().filter(|exchange| exchange.fault.is_some()).count();
        println!("   {broken} requests broke; reached: {}", reached.is_ok());
        self.comes_right().await;
        reached.is_ok()
    }

    /// So that it hears of what follows as changes, not as what there was when it came.
    async fn followed_or_dead(&self) {
        let _ = within(REACH, async || {
            let ended = self.s.pullpass.ended(Service::ClusterApplier).is_some();
            let mut grants = self.s.pullpass.grant_manager(&self.s.pullpass.admin());
            let status = grants.get_sync_status(GetSyncStatusRequest::default()).await;
            let clusters = status.map_err(|status| status.message().to_owned())?.into_inner().clusters;
            seen(ended || clusters.iter().all(|cluster| cluster.connected), &clusters)
        })
        .await;
    }

    async fn change(&mut self, kind: Kind) {
        let before = self.chooser.model.clone();
        let change = self.chooser.next(kind);
        println!("   {change:?}");
        declare::carry_out(&self.s, &change, &before, &self.chooser.model).await;
    }

    /// The cluster becomes what the model says, and the report says so.
    async fn comes_right(&mut self) {
        let (s, model) = (&self.s, &self.chooser.model);
        let expected: BTreeMap<_, _> = NAMESPACES.map(|name| (name.to_owned(), model.ours(name))).into();
        let found = eventually("the cluster is as the model says, and the status too", async || {
            if s.pullpass.ended(Service::ClusterApplier).is_some() {
                // It reached its step after all.
                s.pullpass.launch(Service::ClusterApplier).expect("the applier starts");
            }
            self.settled().await?;
            let found = look(s).await;
            if found.ours == expected {
                Ok(found)
            } else {
                Err(format!("{:#?}\nnot {expected:#?}", found.ours))
            }
        })
        .await;
        assert_eq!(found.foreign, self.found.foreign, "what is not ours was touched");
        self.order_was_kept(&found);
        self.found = found;
    }

    /// Whether everything that is declared is reported as synced, save where it must fail, and nothing else is reported.
    async fn settled(&self) -> Result<(), String> {
        let mut grants = self.s.pullpass.grant_manager(&self.s.pullpass.admin());
        let answer = grants.get_sync_status(GetSyncStatusRequest::default()).await;
        let statuses = answer.map_err(|status| status.message().to_owned())?.into_inner().statuses;
        let model = &self.chooser.model;
        let mut declared: Vec<_> = model.links.keys().map(|name| format!("secretLinks/{name}")).collect();
        declared.extend(model.grants.keys().map(|name| format!("imageGrants/{name}")));
        declared.sort_unstable();
        let mut reported: Vec<_> = statuses.iter().map(|status| status.name.clone()).collect();
        reported.sort_unstable();
        if reported != declared {
            return Err(format!("{reported:?} are reported, {declared:?} declared"));
        }
        let wrong: Vec<_> =
            statuses.iter().filter(|status| !is_right(status, model.failing(&status.name))).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:#?}")) }
    }

    /// Entries that were not touched in this round stand in the order in which they stood.
    fn order_was_kept(&self, found: &Found) {
        for (place, now) in &found.order {
            let before = self.found.order.get(place).map(Vec::as_slice).unwrap_or_default();
            let stayed = |names: &[String], others: &[String]| -> Vec<String> {
                let stayed =
                    |name: &&String| others.contains(name) && !self.chooser.touched.contains(name.as_str());
                names.iter().filter(stayed).cloned().collect()
            };
            assert_eq!(stayed(now, before), stayed(before, now), "the order of {place:?}");
        }
    }
}

fn is_right(status: &SyncStatus, failing: i64) -> bool {
    let state = if failing > 0 { SyncState::Failed } else { SyncState::Synced };
    let reasons = status.reasons.iter().filter(|reason| reason.code == "NOT_OURS").count();
    status.state() == state
        && (status.failed, status.pending, status.leaving) == (failing, 0, 0)
        && i64::try_from(reasons) == Ok(failing)
}
