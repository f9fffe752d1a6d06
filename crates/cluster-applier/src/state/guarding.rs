//! When deletions are judged, and what follows from it for the namespaces concerned.

use pullpass_domain::name::Namespace;

use super::State;
use crate::{desired::Desired, guard::Hold, queue::Lane};

impl State {
    /// Lets the deletions go that are held now, also those that an older desired state asks for. Gives their number.
    pub(crate) fn confirm_deletions(&mut self) -> usize {
        self.judge();
        let lost = self.lost_deletions();
        self.lost = Desired::default();
        let concerned = self.guard.concerned();
        let confirmed = self.guard.confirm(&self.index, &self.desired).max(lost);
        if confirmed > 0 {
            self.release(&concerned);
        }
        confirmed
    }

    /// How many deletions are held.
    pub(crate) fn held_deletions(&self) -> usize {
        self.guard.held().max(self.lost_deletions())
    }

    /// Judges the deletions that are due, as far as something changed.
    pub(super) fn judge(&mut self) {
        let before = self.guard.hold().is_some();
        if !self.begun || !self.guard.judge(&self.index, &self.desired) {
            return;
        }
        self.bells.report = true;
        match self.guard.hold() {
            Some(hold) if !before => tracing::warn!("deletions are held: {}", hold.message()),
            Some(_) => {}
            None => self.release(&self.guard.concerned()),
        }
        crate::metrics::held(self.guard.held());
    }

    /// Nothing is held any more: what was can go.
    fn release(&mut self, concerned: &[Namespace]) {
        tracing::info!(namespaces = concerned.len(), "deletions are not held any more");
        crate::metrics::held(0);
        for namespace in concerned {
            self.mark(namespace, Lane::Bulk, None, "");
        }
        self.ring(true);
    }

    /// Why deletions would be held if `desired` were the desired state.
    pub(crate) fn hold_of(&mut self, desired: &Desired) -> Option<Hold> {
        self.judge();
        self.guard.foresee(&self.index, desired)
    }
}
