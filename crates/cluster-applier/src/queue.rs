//! The work queue: which namespaces are to be looked at, in which order, and when those come again that failed.
//!
//! A namespace stands in it once, however often it is marked, and is worked on by one worker at a time. What happened in
//! the cluster (a new namespace, a deleted Secret) goes before what has to be done everywhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
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
    /// How often in a row it has failed until now.
    pub(crate) failures: u32,
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
    running_trace: String,
    failures: u32,
    held_until: Option<Instant>,
}

impl Entry {
    fn is_open(&self) -> bool {
        self.queued || self.running
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    urgent: VecDeque<Namespace>,
    bulk: VecDeque<Namespace>,
    delayed: BTreeSet<(Instant, Namespace)>,
    entries: HashMap<Namespace, Entry>,
    /// How many entries are queued or under way.
    open: usize,
    /// How many entries are queued or under way for each revision.
    unseen: BTreeMap<i64, usize>,
}

impl Queue {
    /// Changes an entry, and keeps the counts.
    fn update<T>(&mut self, namespace: &Namespace, change: impl FnOnce(&mut Entry) -> T) -> T {
        let entry = self.entries.entry(namespace.clone()).or_default();
        self.open -= usize::from(entry.is_open());
        for revision in [entry.queued_for, entry.running_for].into_iter().flatten() {
            if let Some(count) = self.unseen.get_mut(&revision) {
                *count -= 1;
            }
        }
        let result = change(entry);
        self.open += usize::from(entry.is_open());
        for revision in [entry.queued_for, entry.running_for].into_iter().flatten() {
            *self.unseen.entry(revision).or_default() += 1;
        }
        self.unseen.retain(|_, count| *count > 0);
        result
    }

    /// Asks for a look at a namespace, on behalf of a revision of the desired state if there is one.
    pub(crate) fn mark(&mut self, namespace: &Namespace, lane: Lane, revision: Option<i64>, trace: &str) {
        let free = self.update(namespace, |entry| {
            entry.queued = true;
            entry.queued_for = [entry.queued_for, revision].into_iter().flatten().min();
            if !trace.is_empty() {
                trace.clone_into(&mut entry.trace);
            }
            !entry.running && entry.held_until.is_none()
        });
        if free {
            self.push(namespace, lane);
        }
    }

    fn push(&mut self, namespace: &Namespace, lane: Lane) {
        match lane {
            Lane::Urgent => self.urgent.push_back(namespace.clone()),
            Lane::Bulk => self.bulk.push_back(namespace.clone()),
        }
    }

    /// Whether a namespace that failed comes again by itself: until then, looking at it means trying it again.
    pub(crate) fn waits_for_retry(&self, namespace: &Namespace) -> bool {
        self.entries.get(namespace).is_some_and(|entry| entry.failures > 0 && !entry.running)
    }

    /// The next job, which then counts as under way.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Job> {
        self.wake(now);
        while let Some(namespace) = self.urgent.pop_front().or_else(|| self.bulk.pop_front()) {
            // It may have been pushed twice, into both lanes, and be held since.
            let waits = |entry: &Entry| entry.queued && !entry.running && entry.held_until.is_none();
            if self.entries.get(&namespace).is_some_and(waits) {
                let (trace, failures) = self.update(&namespace, |entry| {
                    (entry.queued, entry.running) = (false, true);
                    entry.running_for = entry.queued_for.take();
                    entry.running_trace = std::mem::take(&mut entry.trace);
                    (entry.running_trace.clone(), entry.failures)
                });
                return Some(Job { namespace, trace, failures });
            }
        }
        None
    }

    fn wake(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, namespace)) = self.delayed.pop_first() else { return };
            // An earlier failure may have left its time here; what was asked for since then counts.
            let held = |entry: &Entry| entry.held_until.is_some_and(|until| until > now);
            if self.entries.get(&namespace).is_some_and(|entry| !held(entry)) {
                self.update(&namespace, |entry| entry.held_until = None);
                self.mark(&namespace, Lane::Bulk, None, "");
            }
        }
    }

    /// When the next delayed namespace comes again.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// The job is over. One that is tried again stays in the trace of the change that asked for it.
    pub(crate) fn done(&mut self, namespace: &Namespace, end: End, now: Instant) {
        let (failures, again) = self.update(namespace, |entry| {
            (entry.running, entry.running_for) = (false, None);
            let trace = std::mem::take(&mut entry.running_trace);
            entry.failures = match end {
                End::Settled => 0,
                End::Retry { .. } => entry.failures.saturating_add(1),
            };
            if let End::Retry { not_before } = end {
                entry.held_until = not_before.map(|delay| now + delay);
                if entry.trace.is_empty() {
                    entry.trace = trace;
                }
            }
            (entry.failures, entry.queued && entry.held_until.is_none())
        });
        if let End::Retry { not_before } = end {
            let delay = jittered(failures).max(not_before.unwrap_or_default());
            self.delayed.insert((now + delay, namespace.clone()));
        }
        if again {
            self.push(namespace, Lane::Urgent);
        } else if failures == 0 && !self.entries.get(namespace).is_some_and(Entry::is_open) {
            self.entries.remove(namespace);
        }
    }

    /// Lets everything come again now that waits for its next try, unless the API server asked to wait.
    pub(crate) fn retry_all(&mut self, now: Instant) {
        let held = |namespace: &Namespace| {
            self.entries.get(namespace).is_some_and(|entry| entry.held_until.is_some())
        };
        let (stay, come): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.delayed).into_iter().partition(|(_, namespace)| held(namespace));
        self.delayed = stay;
        self.delayed.extend(come.into_iter().map(|(_, namespace)| (now, namespace)));
    }

    /// The revision of which every namespace has been looked at once, given that `current` is the newest.
    pub(crate) fn observed(&self, current: i64) -> i64 {
        self.unseen.keys().next().map_or(current, |oldest| oldest - 1)
    }

    /// How many namespaces wait for their turn or are worked on.
    pub(crate) fn len(&self) -> usize {
        self.open
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
        assert_eq!((queue.entries.len(), queue.len()), (0, 0));
    }

    #[test]
    fn failures_come_again_later_and_news_of_them_at_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&ns("a"), Lane::Bulk, None, "trace");
        queue.take(now);
        queue.done(&ns("a"), End::Retry { not_before: None }, now);
        assert_eq!(taken(&mut queue, now), None);
        let again = queue.take(now + FIRST_RETRY);
        assert_eq!(again, Some(Job { namespace: ns("a"), trace: "trace".into(), failures: 1 }));
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
    fn the_time_of_an_earlier_failure_does_not_end_the_wait() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let wait = Duration::from_secs(7);
        for not_before in [None, Some(wait)] {
            queue.mark(&ns("a"), Lane::Urgent, None, "");
            queue.take(now);
            queue.done(&ns("a"), End::Retry { not_before }, now);
        }
        queue.mark(&ns("a"), Lane::Urgent, None, "");
        assert_eq!(taken(&mut queue, now + FIRST_RETRY), None);
        assert_eq!(taken(&mut queue, now + wait).as_deref(), Some("a"));
    }

    #[test]
    fn a_second_place_in_the_queue_does_not_end_the_wait() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let wait = Duration::from_secs(7);
        queue.mark(&ns("a"), Lane::Bulk, None, "");
        queue.mark(&ns("a"), Lane::Urgent, None, "");
        queue.take(now);
        queue.done(&ns("a"), End::Retry { not_before: Some(wait) }, now);
        queue.mark(&ns("a"), Lane::Urgent, None, "");
        assert_eq!(taken(&mut queue, now), None);
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
