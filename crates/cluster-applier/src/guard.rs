//! Holds deletions that look like a mistake: where more than half of what is managed would be deleted, and over 50
//! objects, nothing is deleted before somebody says that it is meant.
//!
//! ```text
//!  a namespace is marked for work ─► recounted ─► sums ─► Hold, or none ─► View ─► plan: delete, or DELETIONS_HELD
//!                                        ▲
//!               confirmed: the objects of that moment, by uid, until they are gone
//! ```
//!
//! Only namespaces that were marked are counted anew, so guarding never costs more than the work that it guards. Nothing
//! is durable: after a restart what is left is judged anew.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pullpass_domain::name::Namespace;

use crate::{
    cluster::index::Index,
    desired::Desired,
    plan::unwanted::{self, Count},
};

/// So many objects may go unasked, whatever part of all they are.
const FEW: usize = 50;

/// Why deletions are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hold {
    /// They would be more than half of what is managed. `others` are the managed objects that would stay.
    MoreThanHalf { deletions: usize, others: usize },
}

impl Hold {
    /// The code of the reason that status and plan give.
    pub(crate) const CODE: &'static str = "DELETIONS_HELD";

    /// For people: what is the matter and what to do.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::MoreThanHalf { deletions, others } => format!(
                "{deletions} of {} managed objects would be deleted, more than half, and are kept with the entries \
                 that name them: if that is meant, run `pullpass sync --confirm-deletions`; if not, declare again what \
                 wants them",
                deletions + others
            ),
        }
    }
}

/// One namespace's part of the sums, and those of its objects whose deletion is confirmed, which are not counted.
#[derive(Debug, Default)]
struct Tally {
    count: Count,
    confirmed: BTreeSet<String>,
}

/// The guard.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    tallies: BTreeMap<Namespace, Tally>,
    sum: Count,
    stale: HashSet<Namespace>,
    hold: Option<Hold>,
}

impl Guard {
    /// Something about this namespace may be different.
    pub(crate) fn touch(&mut self, namespace: &Namespace) {
        self.stale.insert(namespace.clone());
    }

    /// Counts anew what may be different. Whether the judgement is another one now.
    pub(crate) fn judge(&mut self, index: &Index, desired: &Desired) -> bool {
        for namespace in std::mem::take(&mut self.stale) {
            self.recount(&namespace, index, desired);
        }
        let hold = self.verdict(self.sum, desired);
        let changed = hold != self.hold;
        self.hold = hold;
        changed
    }

    fn recount(&mut self, namespace: &Namespace, index: &Index, desired: &Desired) {
        let mut confirmed = BTreeSet::new();
        if let Some(before) = self.tallies.remove(namespace) {
            self.sum = self.sum.less(before.count);
            confirmed = before.confirmed;
        }
        let (mut count, unwanted) = unwanted::count(namespace, index, desired);
        confirmed.retain(|uid| unwanted.contains(&uid.as_str()));
        count = count.less(Count { managed: confirmed.len(), unwanted: confirmed.len() });
        self.sum = self.sum.and(count);
        if count.managed > 0 || !confirmed.is_empty() {
            self.tallies.insert(namespace.clone(), Tally { count, confirmed });
        }
    }

    /// What is created while deletions are held must not tip the scale: others are then at most those of the beginning.
    fn verdict(&self, sum: Count, desired: &Desired) -> Option<Hold> {
        if desired.leave.is_some() {
            // Somebody asked for it.
            return None;
        }
        let deletions = sum.unwanted;
        let mut others = sum.managed - deletions;
        if let Some(Hold::MoreThanHalf { others: before, .. }) = self.hold {
            others = others.min(before);
        }
        (deletions > FEW && deletions > others).then_some(Hold::MoreThanHalf { deletions, others })
    }

    /// The judgement if `desired` were the desired state.
    pub(crate) fn foresee(&self, index: &Index, desired: &Desired) -> Option<Hold> {
        let mut sum = Count::default();
        for (namespace, _) in index.namespaces() {
            let (count, unwanted) = unwanted::count(namespace, index, desired);
            let confirmed = unwanted.iter().filter(|uid| self.confirmed(namespace).contains(**uid)).count();
            sum = sum.and(count.less(Count { managed: confirmed, unwanted: confirmed }));
        }
        self.verdict(sum, desired)
    }

    /// Why deletions are held, if they are.
    pub(crate) fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// How many deletions are held.
    pub(crate) fn held(&self) -> usize {
        self.hold.as_ref().map_or(0, |_| self.sum.unwanted)
    }

    /// The uids of the objects in a namespace whose deletion is confirmed.
    pub(crate) fn confirmed(&self, namespace: &Namespace) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.tallies.get(namespace).map_or(&NONE, |tally| &tally.confirmed)
    }

    /// The namespaces in which something would be deleted.
    pub(crate) fn concerned(&self) -> Vec<Namespace> {
        let concerned = self.tallies.iter().filter(|(_, tally)| tally.count.unwanted > 0);
        concerned.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// Lets go what is held now, and gives its number. What would be deleted later is judged by itself.
    pub(crate) fn confirm(&mut self, index: &Index, desired: &Desired) -> usize {
        self.judge(index, desired);
        let held = self.held();
        if held > 0 {
            for namespace in self.concerned() {
                let (_, unwanted) = unwanted::count(&namespace, index, desired);
                if let Some(tally) = self.tallies.get_mut(&namespace) {
                    tally.confirmed.extend(unwanted.into_iter().map(str::to_owned));
                }
                self.touch(&namespace);
            }
            self.judge(index, desired);
        }
        held
    }
}

#[cfg(test)]
mod tests;
