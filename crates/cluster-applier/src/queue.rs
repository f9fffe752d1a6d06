//! The work queue: which namespaces are to be looked at, in which order, and when those come again that failed.
//!
//! A namespace stands in it once, however often it is marked, and is worked on by one worker at a time. What happened in
//! the cluster (a new namespace, a deleted Secret) goes before what has to be done everywhere.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant},
};

use pullpass_domain::name::Namespace;

const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Which work goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Urgent,
    Bulk,
}

/// A namespace to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) namespace: Namespace,
    /// Trace of the change that asked for it; may be empty.
    pub(crate) trace: String,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything is as it shall be, or nothing can be done before something changes.
    Settled,
    /// Try again, each time later. `not_before` is what the API server asked for and is never undercut.
    Retry { not_before: Option<Duration> },
}

#[derive(Debug, Default)]
struct Entry {
    queued: bool,
    running: bool,
    /// The oldest revision of the desired state that queued it.
    queued_for: Option<i64>,
    /// The same of the job under way.
    running_for: Option<i64>,
    trace: String,
    failures: u32,
    held_until: Option<Instant>,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    urgent: VecDeque<Namespace>,
    bulk: VecDeque<Namespace>,
    delayed: BTreeSet<(Instant, Namespace)>,
    entries: HashMap<Namespace, Entry>,
}

impl Queue {
    /// Asks for a look at a namespace, on behalf of a revision of the desired state if there is one.
    pub(crate) fn mark(&mut self, namespace: &Namespace, lane: Lane, revision: Option<i64>, trace: &str) {
        let entry = self.entries.entry(namespace.clone()).or_default();
        entry.queued = true;
        entry.queued_for = [entry.queued_for, revision].into_iter().flatten().min();
        if !trace.is_empty() {
            trace.clone_into(&mut entry.trace);
        }
        if !entry.running && entry.held_until.is_none() {
            self.push(namespace, lane);
        }
    }

    fn push(&mut self, namespace: &Namespace, lane: Lane) {
        match lane {
            Lane::Urgent => self.urgent.push_back(namespace.clone()),
            Lane::Bulk => self.bulk.push_back(namespace.clone()),
        }
    }

    /// The next job, which then counts as under way.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Job> {
        self.wake(now);
        while let Some(namespace) = self.urgent.pop_front().or_else(|| self.bulk.pop_front()) {
            // It may have been pushed twice, into both lanes.
            let entry = self.entries.get_mut(&namespace);
            if let Some(entry) = entry.filter(|entry| entry.queued && !entry.running) {
                (entry.queued, entry.running) = (false, true);
                entry.running_for = entry.queued_for.take();
                let trace = std::mem::take(&mut entry.trace);
                return Some(Job { namespace, trace });
            }
        }
        None
    }

    fn wake(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, namespace)) = self.delayed.pop_first() else { return };
            if let Some(entry) = self.entries.get_mut(&namespace) {
                (entry.queued, entry.held_until) = (true, None);
                if !entry.running {
                    self.bulk.push_back(namespace);
                }
            }
        }
    }

    /// When the next delayed namespace comes again.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// The job is over.
    pub(crate) fn done(&mut self, namespace: &Namespace, end: End, now: Instant) {
        let Some(entry) = self.entries.get_mut(namespace) else { return };
        (entry.running, entry.running_for) = (false, None);
        match end {
            End::Settled => entry.failures = 0,
            End::Retry { not_before } => {
                entry.failures = entry.failures.saturating_add(1);
                let delay = jittered(entry.failures).max(not_before.unwrap_or_default());
                self.delayed.insert((now + delay, namespace.clone()));
                entry.held_until = not_before.map(|delay| now + delay);
            }
        }
        let (queued, held, idle) = (entry.queued, entry.held_until.is_some(), entry.failures == 0);
        if queued && !held {
            self.push(namespace, Lane::Urgent);
        } else if !queued && idle {
            self.entries.remove(namespace);
        }
    }

    /// Lets everything come again now that waits for its next try, unless the API server asked to wait.
    pub(crate) fn retry_all(&mut self, now: Instant) {
        let held = |namespace: &Namespace| self.entries.get(namespace).is_some_and(|entry| entry.held_until.is_some());
        let (stay, come): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.delayed).into_iter().partition(|(_, namespace)| held(namespace));
        self.delayed = stay;
        self.delayed.extend(come.into_iter().map(|(_, namespace)| (now, namespace)));
    }

    /// The revision of which every namespace has been looked at once, given that `current` is the newest.
    pub(crate) fn observed(&self, current: i64) -> i64 {
        let unseen = self.entries.values().flat_map(|entry| [entry.queued_for, entry.running_for]);
        unseen.flatten().min().map_or(current, |oldest| oldest - 1)
    }

    /// How many namespaces wait for their turn or are worked on.
    pub(crate) fn len(&self) -> usize {
        self.entries.values().filter(|entry| entry.queued || entry.running).count()
    }
}

/// 250 ms, doubled with every failure up to 30 s, less a random half.
pub(crate) fn jittered(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY);
    let random = RandomState::new().build_hasher().finish() % 1000;
    full / 2 + full.mul_f64(f64::from(u32::try_from(random).unwrap_or_default()) / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(name: &str) -> Namespace {
        Namespace::new(name).expect("a namespace")
    }

    fn taken(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.take(now).map(|job| job.namespace.to_string())
    }

    #[test]
    fn a_namespace_stands_in_the_queue_once_and_urgent_ones_first() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, lane) in [("a", Lane::Bulk), ("b", Lane::Bulk), ("b", Lane::Urgent), ("b", Lane::Urgent)] {
            queue.mark(&ns(name), lane, None, "");
        }
        assert_eq!(taken(&mut queue, now).as_deref(), Some("b"));
        assert_eq!(taken(&mut queue, now).as_deref(), Some("a"));
        assert_eq!(taken(&mut queue, now), None);
    }

    #[test]
    fn what_is_marked_while_it_is_worked_on_comes_again_afterwards() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&ns("a"), Lane::Bulk, None, "");
        queue.take(now);
        queue.mark(&ns("a"), Lane::Bulk, None, "trace");
        assert_eq!(taken(&mut queue, now), None);
        queue.done(&ns("a"), End::Settled, now);
        assert_eq!(queue.take(now).map(|job| job.trace), Some("trace".into()));
        queue.done(&ns("a"), End::Settled, now);
        assert!(queue.entries.is_empty());
    }

    #[test]
    fn failures_come_again_later_and_news_of_them_at_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&ns("a"), Lane::Bulk, None, "");
        queue.take(now);
        queue.done(&ns("a"), End::Retry { not_before: None }, now);
        assert_eq!(taken(&mut queue, now), None);
        assert_eq!(taken(&mut queue, now + FIRST_RETRY).as_deref(), Some("a"));
        queue.done(&ns("a"), End::Retry { not_before: None }, now);
        queue.mark(&ns("a"), Lane::Urgent, None, "");
        assert_eq!(taken(&mut queue, now).as_deref(), Some("a"));
    }

    #[test]
    fn what_the_api_server_asked_for_is_never_undercut() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let wait = Duration::from_secs(7);
        queue.mark(&ns("a"), Lane::Bulk, None, "");
        queue.take(now);
        queue.done(&ns("a"), End::Retry { not_before: Some(wait) }, now);
        queue.mark(&ns("a"), Lane::Urgent, None, "");
        queue.retry_all(now);
        assert_eq!(taken(&mut queue, now + wait / 2), None);
        assert_eq!(taken(&mut queue, now + wait).as_deref(), Some("a"));
    }

    #[test]
    fn a_revision_is_observed_when_all_its_namespaces_were_looked_at_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        assert_eq!(queue.observed(4), 4);
        queue.mark(&ns("a"), Lane::Bulk, Some(5), "");
        queue.mark(&ns("b"), Lane::Bulk, Some(6), "");
        assert_eq!(queue.observed(6), 4);
        queue.take(now);
        queue.mark(&ns("a"), Lane::Bulk, Some(7), "");
        assert_eq!(queue.observed(7), 4);
        queue.done(&ns("a"), End::Retry { not_before: None }, now);
        assert_eq!(queue.observed(7), 5);
        assert_eq!(taken(&mut queue, now).as_deref(), Some("a"));
        queue.done(&ns("a"), End::Settled, now);
        assert_eq!(queue.observed(7), 5);
        assert_eq!(taken(&mut queue, now).as_deref(), Some("b"));
        queue.done(&ns("b"), End::Settled, now);
        assert_eq!(queue.observed(7), 7);
    }

    #[test]
    fn retries_grow_to_half_a_minute_and_are_spread() {
        for (failures, most) in [(1, 250), (2, 500), (5, 4000), (50, 30_000)] {
            let delay = jittered(failures).as_millis();
            assert!(delay >= most / 2 && delay <= most, "{failures} {delay}");
        }
    }
}
