//! An applier that is not the active one: it keeps everything warm, and marks, takes, fetches and reports nothing.

use std::time::Instant;

use pullpass_domain::name::Namespace;
use time::OffsetDateTime;

use super::State;
use crate::{
    board::Board,
    desired::Desired,
    guard,
    lease::Turn,
    material::{Material, Order},
    plan::View,
};

/// That we stand by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standby {
    /// The active one, as far as is known.
    pub(crate) holder: Option<String>,
}

impl State {
    /// There may be others: nothing is done before this turn is won.
    pub(crate) fn wait_for(&mut self, turn: Turn) {
        self.turn = turn;
        self.stand_by(None);
    }

    /// Whether we are here in case the active one fails.
    pub(crate) fn standby(&self) -> Option<&Standby> {
        self.standby.as_ref()
    }

    /// Not only told to act: a process that was stopped looks at the clock before anybody can tell it that it is late.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.standby.is_none() && self.turn.is_held(now)
    }

    /// Since when we are the active one, by the Lease; none without one.
    pub(crate) fn acquire_time(&self) -> Option<OffsetDateTime> {
        self.acquire_time
    }

    /// Whether what we know of the cluster is what it is told by.
    pub(crate) fn may_report(&self, now: Instant) -> bool {
        self.begun && self.is_active(now)
    }

    /// We are not the active one, but `holder` is, if anybody. While nobody is, the material is kept for the case that it
    /// is us again.
    pub(crate) fn stand_by(&mut self, holder: Option<String>) {
        if holder.is_some() {
            self.materials.forget();
        } else {
            self.materials.abandon();
        }
        self.standby = Some(Standby { holder });
        self.begun = false;
        self.board = Board::default();
        self.bells.fetch = true;
    }

    /// We are the active one since `acquired`: looks at everything once, for whatever the one before did or left.
    pub(crate) fn become_active(&mut self, acquired: Option<OffsetDateTime>) {
        self.standby = None;
        self.acquire_time = acquired;
        self.bells.fetch = true;
        self.begin_if_complete();
    }

    /// The fetches to be begun now; none at all while we stand by.
    pub(crate) fn fetches(&mut self, now: Instant) -> Option<Vec<Order>> {
        self.is_active(now).then(|| self.materials.due(now))
    }

    /// When there is something to fetch again although nothing happens.
    pub(crate) fn next_fetch(&self, now: Instant) -> Option<Instant> {
        self.materials.next_retry().filter(|_| self.is_active(now))
    }

    /// The view of a plan that is only shown. While we stand by we have no material: contents are not compared then.
    pub(crate) fn preview(
        &self,
        desired: &Desired,
        hold: Option<&guard::Hold>,
        namespace: &Namespace,
    ) -> View {
        let mut view = self.view_of(desired, hold, namespace);
        if self.standby.is_some() {
            for material in view.materials.values_mut() {
                *material = Material { unfetched: true, ..Material::default() };
            }
        }
        view
    }
}
