//! Everything the applier knows, behind one lock that is held only to look or to note, never while waiting.
//!
//! Whatever changes here says by itself which namespaces must be looked at, and wakes whoever has work by it.

mod guarding;
mod lost;
mod standby;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use pullpass_api::grant::v1::SyncStatus;
use pullpass_domain::{
    grant::Role,
    link::{Link, Usage},
    name::Namespace,
};
use time::OffsetDateTime;
use tokio::sync::Notify;

use self::standby::Standby;
use crate::{
    board::Board,
    cluster::{index::Index, object::NamespaceFacts},
    desired::{Desired, Leave, Name},
    guard::{Guard, Hold},
    lease::Turn,
    material::{Failure, Materials, Order, Rendered},
    plan::{Outcomes, View},
    queue::{End, Job, Lane, Queue},
};

/// The state, and the bells that ring when a part of it has work.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// There are namespaces to look at.
    pub(crate) work: Notify,
    /// There may be material to fetch.
    pub(crate) fetch: Notify,
    /// There is something to report.
    pub(crate) report: Notify,
    /// Everything is known that must be known before anything is changed.
    pub(crate) complete: Notify,
}

impl Shared {
    /// Nothing is known yet; each of the `caches` has to be filled before anything is done.
    pub(crate) fn new(caches: impl IntoIterator<Item = &'static str>) -> Self {
        let state = State { empty_caches: caches.into_iter().collect(), ..State::default() };
        let [work, fetch, report, complete] = [(); 4].map(|()| Notify::new());
        Self { state: Mutex::new(state), work, fetch, report, complete }
    }

    /// Looks at the state, or notes something in it. What it marked is then worked on.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state);
        let bells = std::mem::take(&mut state.bells);
        drop(state);
        for (rung, bell) in [
            (bells.work, &self.work),
            (bells.fetch, &self.fetch),
            (bells.report, &self.report),
            (bells.complete, &self.complete),
        ] {
            if rung {
                bell.notify_one();
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::struct_excessive_bools, reason = "one for each bell")]
#[derive(Debug, Default)]
struct Bells {
    work: bool,
    fetch: bool,
    report: bool,
    complete: bool,
}

/// What is wanted, what is there, what is known of the material, what is to be done, and how it stands.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) desired: Desired,
    /// What an older desired state lost when grant-manager went back to it, as it stood before: of that nothing is deleted
    /// before somebody decides anew.
    lost: Desired,
    pub(crate) index: Index,
    pub(crate) materials: Materials,
    pub(crate) board: Board,
    guard: Guard,
    queue: Queue,
    empty_caches: BTreeSet<&'static str>,
    turn: Turn,
    standby: Option<Standby>,
    acquire_time: Option<OffsetDateTime>,
    /// We are at work: everything is known, and we are the active one.
    begun: bool,
    connections: u64,
    bells: Bells,
}

impl State {
    /// Whether everything is known that must be known before anything is changed.
    pub(crate) fn is_ready(&self) -> bool {
        self.empty_caches.is_empty() && self.desired.cluster.is_some()
    }

    /// The caches that are not filled yet.
    pub(crate) fn empty_caches(&self) -> &BTreeSet<&'static str> {
        &self.empty_caches
    }

    /// The watch of this kind has told everything that there is.
    pub(crate) fn cache_filled(&mut self, cache: &'static str) {
        self.empty_caches.remove(cache);
        self.begin_if_complete();
    }

    /// A complete snapshot of the desired state: takes the place of all that was known.
    pub(crate) fn replace_desired(&mut self, desired: Desired, trace: &str) {
        self.hold_what_is_lost(&desired);
        self.desired = desired;
        let links = &self.desired.links;
        self.materials.retain(|name| links.contains_key(name));
        for (name, link) in links {
            self.materials.set_link(name, Some(&link.what), trace);
        }
        self.bells.fetch = true;
        self.begin_if_complete();
        if self.begun {
            self.mark_everything();
        }
    }

    fn begin_if_complete(&mut self) {
        self.bells.complete |= self.is_ready();
        if !self.begun && self.is_ready() && self.standby.is_none() {
            self.begun = true;
            tracing::info!(revision = self.desired.revision, "all caches are filled, work begins");
            self.mark_everything();
        }
    }

    /// Everything has to be looked at, and nothing counts as observed before it was.
    fn mark_everything(&mut self) {
        let known: Vec<_> = self.index.namespaces().map(|(name, _)| name.clone()).collect();
        for name in self.desired.names().collect::<Vec<_>>() {
            self.mark_for(&name, &BTreeSet::new(), "");
        }
        for namespace in known {
            self.mark(&namespace, Lane::Bulk, Some(1), "");
        }
        self.ring(true);
    }

    /// Whatever is a reason to look at a namespace again is one to judge its deletions again.
    fn mark(&mut self, namespace: &Namespace, lane: Lane, revision: Option<i64>, trace: &str) {
        self.guard.touch(namespace);
        self.queue.mark(namespace, lane, revision, trace);
    }

    /// One link or grant is different from what it was.
    pub(crate) fn desired_changed(&mut self, name: &Name, trace: &str) {
        self.lost.remove(name);
        if let Name::Link(link) = name {
            let wanted = self.desired.links.get(link);
            self.materials.set_link(link, wanted.map(|wanted| &wanted.what), trace);
            self.bells.fetch = true;
        }
        if let Name::Grant(_) = name {
            // Whoever declares a grant anew wants to know how it is now.
            let projects = self.reached(name);
            self.ask_anew(&projects);
        }
        if self.begun {
            let before = self.board.namespaces_of(name);
            self.mark_for(name, &before, trace);
            self.ring(true);
        }
    }

    /// The namespaces that it reaches now, and those that it did, have to be looked at.
    fn mark_for(&mut self, name: &Name, before: &BTreeSet<Namespace>, trace: &str) {
        let now = self.reached(name);
        for namespace in before.union(&now) {
            self.board.awaits_turn(namespace, name, now.contains(namespace));
            self.mark(namespace, Lane::Bulk, Some(self.desired.revision), trace);
        }
    }

    fn reached(&self, name: &Name) -> BTreeSet<Namespace> {
        match name {
            Name::Grant(grant) => {
                self.desired.grants.get(grant).map(|grant| grant.what.project().clone()).into_iter().collect()
            }
            Name::Link(link) => {
                let Some(link) = self.desired.links.get(link) else { return BTreeSet::new() };
                let selection = link.what.namespaces();
                let matching = self.index.namespaces().filter(|(name, state)| {
                    let facts = state.facts.as_ref().filter(|facts| !facts.terminating);
                    facts.is_some_and(|facts| selection.matches(name, &facts.labels))
                });
                matching.map(|(name, _)| name).chain(selection.by().names()).cloned().collect()
            }
        }
    }

    /// Something happened in a namespace.
    pub(crate) fn namespace_changed(&mut self, namespace: &Namespace) {
        if self.begun {
            self.mark(namespace, Lane::Urgent, None, "");
            self.ring(false);
        }
    }

    /// Something happened in each of these.
    pub(crate) fn namespaces_changed(&mut self, namespaces: &[Namespace]) {
        for namespace in namespaces {
            self.namespace_changed(namespace);
        }
    }

    /// A pod that cannot pull came or went. That is told of where a link for pulling reaches, and nothing is done about it:
    /// it is no reason to try again what failed.
    pub(crate) fn stuck_pods_changed(&mut self, namespace: &Namespace) {
        let facts = self.index.namespace(namespace).and_then(|state| state.facts.as_ref());
        let mut links = self.desired.links.values().map(|link| &link.what);
        let told = links.any(|link| link.usages().contains(&Usage::Pull) && reaches(link, namespace, facts));
        if self.begun && told && !self.queue.waits_for_retry(namespace) {
            self.queue.mark(namespace, Lane::Bulk, None, "");
            self.ring(false);
        }
    }

    /// A `ClusterRole` appeared or went.
    pub(crate) fn set_role(&mut self, role: Role, exists: bool) {
        if self.index.set_role(role, exists) {
            let grants = self.desired.grants.values().filter(|grant| grant.what.role() == role);
            let projects: Vec<_> = grants.map(|grant| grant.what.project().clone()).collect();
            self.namespaces_changed(&projects);
        }
    }

    /// The desired state is followed by a new connection: whatever was reported by the old one is told again.
    pub(crate) fn connected(&mut self) {
        self.connections += 1;
        self.bells.report = true;
    }

    /// How often we have connected to grant-manager.
    pub(crate) fn connections(&self) -> u64 {
        self.connections
    }

    /// A message moved the revision, perhaps without concerning us.
    pub(crate) fn revision_changed(&mut self) {
        self.bells.report = true;
    }

    /// The credentials changed: there may be something to fetch.
    pub(crate) fn credentials_changed(&mut self) {
        self.bells.fetch = true;
    }

    /// A fetch was answered: its namespaces get the new content, or the report the reason why there is none.
    pub(crate) fn fetched(&mut self, order: &Order, answer: Result<Rendered, Failure>, now: Instant) {
        if self.materials.fetched(order, answer, now) && self.begun {
            let name = Name::Link(order.link.clone());
            for namespace in self.board.wanting(&name) {
                self.board.awaits_turn(&namespace, &name, true);
                self.mark(&namespace, Lane::Bulk, None, &order.trace);
            }
            self.ring(true);
        }
        // It may have changed again while we fetched.
        self.bells.fetch = true;
    }

    /// Looks at every namespace again, also those that wait for their next try. Gives their number.
    pub(crate) fn retry_everything(&mut self, now: Instant) -> usize {
        self.queue.retry_all(now);
        self.materials.retry_all(now);
        let known: Vec<_> = self.index.namespaces().map(|(name, _)| name.clone()).collect();
        self.ask_anew(&known);
        self.namespaces_changed(&known);
        self.bells.fetch = true;
        self.queue.len()
    }

    /// Asks again about what is permitted and may not stay so, for no watch tells of it.
    pub(crate) fn ask_again(&mut self) {
        let permitted = self.index.namespaces().filter(|(_, state)| state.permitted.values().any(|yes| *yes));
        let permitted: Vec<_> = permitted.map(|(name, _)| name.clone()).collect();
        self.ask_anew(&permitted);
        self.namespaces_changed(&permitted);
    }

    fn ask_anew<'a>(&mut self, projects: impl IntoIterator<Item = &'a Namespace>) {
        for project in projects {
            self.index.forget_permitted(project);
        }
    }

    /// The next namespace to work on.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Job> {
        if !self.is_active(now) {
            return None;
        }
        let job = self.queue.take(now)?;
        self.board.begins_turn(&job.namespace);
        Some(job)
    }

    /// When there is something to take again although nothing happens.
    pub(crate) fn next_wake(&self, now: Instant) -> Option<Instant> {
        self.queue.next_wake().filter(|_| self.is_active(now))
    }

    /// A namespace has been worked on.
    pub(crate) fn done(&mut self, namespace: &Namespace, outcomes: Outcomes, end: End, now: Instant) {
        let revision = self.observed_revision();
        let changed = self.board.set(namespace, outcomes);
        let keeps_all = self.desired.leave == Some(Leave::Keep);
        self.index.forget_departed(namespace, keeps_all);
        self.queue.done(namespace, end, now);
        self.guard.touch(namespace);
        self.judge();
        let news = changed || revision != self.observed_revision();
        self.bells.report |= news;
        self.bells.work = true;
    }

    /// The revision of which every namespace has been looked at.
    pub(crate) fn observed_revision(&self) -> i64 {
        if self.begun { self.queue.observed(self.desired.revision) } else { 0 }
    }

    /// How many namespaces wait for their turn or are worked on.
    pub(crate) fn backlog(&self) -> usize {
        self.queue.len()
    }

    /// All that the plan of a namespace depends on.
    pub(crate) fn view(&mut self, namespace: &Namespace) -> View {
        self.judge();
        self.view_of(&self.desired, self.guard.hold(), namespace)
    }

    /// The same as if `desired` were the desired state. Links that are not in the real one count as proposed.
    fn view_of(&self, desired: &Desired, hold: Option<&Hold>, namespace: &Namespace) -> View {
        let state = self.index.namespace(namespace).cloned().unwrap_or_default();
        let links: BTreeMap<_, _> = desired
            .links
            .iter()
            .filter(|(_, link)| reaches(&link.what, namespace, state.facts.as_ref()))
            .map(|(n, l)| (n.clone(), l.clone()))
            .collect();
        let grants = desired.grants.iter().filter(|(_, grant)| grant.what.project() == namespace);
        let materials = links
            .iter()
            .map(|(name, link)| (name.clone(), self.materials.for_plan(name, &link.what)))
            .collect();
        View {
            name: namespace.clone(),
            grants: grants.map(|(name, grant)| (name.clone(), grant.clone())).collect(),
            materials,
            roles: self.index.roles().clone(),
            unreadable: desired.unreadable.keys().cloned().collect(),
            lost: self.lost.names().collect(),
            leave: desired.leave,
            hold: hold.cloned(),
            confirmed: self.guard.confirmed(namespace).clone(),
            links,
            state,
        }
    }

    /// How every link and grant stands.
    pub(crate) fn statuses(&self) -> Vec<SyncStatus> {
        self.board.statuses(&self.desired, self.guard.hold())
    }

    /// Every namespace that exists or is named by `desired`, in order.
    pub(crate) fn all_namespaces(&self, desired: &Desired) -> BTreeSet<Namespace> {
        let known = self.index.namespaces().map(|(name, _)| name);
        let linked = desired.links.values().flat_map(|link| link.what.namespaces().by().names());
        let granted = desired.grants.values().map(|grant| grant.what.project());
        known.chain(linked).chain(granted).cloned().collect()
    }

    fn ring(&mut self, report: bool) {
        self.bells.work = true;
        self.bells.report |= report;
    }
}

/// Whether a link is for a namespace, of which nothing is known while it does not exist.
fn reaches(link: &Link, namespace: &Namespace, facts: Option<&NamespaceFacts>) -> bool {
    match facts {
        Some(facts) => link.namespaces().matches(namespace, &facts.labels),
        None => link.namespaces().by().names().any(|name| name == namespace),
    }
}

#[cfg(test)]
mod tests;
