//! What is lost when grant-manager goes back to an older state: of that nothing is deleted before somebody decides anew.

use super::State;
use crate::{desired::Desired, plan::unwanted::count_for};

impl State {
    /// A database that was restored from a backup, or a new one, does not name what nobody ever took back.
    pub(super) fn hold_what_is_lost(&mut self, desired: &Desired) {
        let mut lost = std::mem::take(&mut self.lost);
        let went_back = !desired.continues(&self.desired);
        if went_back {
            lost.links.extend(self.desired.links.clone());
            lost.grants.extend(self.desired.grants.clone());
            lost.unreadable.extend(self.desired.unreadable.clone());
        }
        if desired.leave.is_some() {
            return; // that was decided
        }
        self.lost = lost.less(desired);
        let lost: Vec<_> = self.lost.names().map(|name| name.to_string()).collect();
        if went_back && !lost.is_empty() {
            let (known, now) = (self.desired.revision, desired.revision);
            tracing::warn!(known, now, ?lost, "grant-manager went back, of what it lost nothing is deleted");
        }
    }

    /// How many deletions are held for it.
    pub(super) fn lost_deletions(&self) -> usize {
        if self.lost.names().next().is_none() {
            return 0;
        }
        let namespaces = self.index.namespaces().map(|(namespace, _)| namespace);
        namespaces.map(|namespace| count_for(&self.lost, namespace, &self.index, &self.desired)).sum()
    }
}
