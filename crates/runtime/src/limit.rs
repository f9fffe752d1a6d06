//! How much each principal may ask for: requests by a token bucket each, refused before their bodies are read.
//!
//! The state is bounded. A bucket that is full again is as good as none, so such ones are swept out; what is left is who
//! called within the last seconds. Should these be more than [`MOST`], whoever comes new shares one bucket with the
//! others that do.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tonic::{Code, Status};

use crate::{
    identity::SpiffeId,
    role::{self, Allowance},
    status,
};

/// The reason of such a refusal.
pub(crate) const RATE_LIMITED: &str = "RATE_LIMITED";
/// Buckets at one time, of 40 bytes each.
const MOST: usize = 65_536;
/// Below this there is no need to sweep.
const FEW: usize = 1024;
/// At the maximum it is swept this often at most.
const SWEEP: Duration = Duration::from_secs(1);
/// Nobody is told to come back sooner: a caller with many calls at hand would only be refused again.
const SOONEST: Duration = Duration::from_millis(100);
/// How often the log says that one principal is being refused.
const TELL: Duration = Duration::from_secs(10);

/// The buckets of all principals.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Keys cannot be guessed, so nobody can choose an id to share another's bucket.
    hasher: RandomState,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    of: HashMap<u64, Bucket>,
    shared: Bucket,
    most: usize,
    sweep_at: usize,
    swept: Option<Instant>,
}

/// The generic cell rate algorithm: one time says how full the bucket is.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: Option<Instant>,
    told: Option<Instant>,
    refused: u32,
}

/// A call that has to come back later.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    wait: Duration,
    /// How many were refused since this was last logged, if it is to be logged now.
    tell: Option<u32>,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        Self::with_room_for(MOST)
    }

    fn with_room_for(most: usize) -> Self {
        let sweep_at = FEW.min(most);
        let buckets = Buckets { of: HashMap::new(), shared: Bucket::default(), most, sweep_at, swept: None };
        Self { hasher: RandomState::new(), buckets: Mutex::new(buckets) }
    }

    /// Takes one request out of the bucket of `principal`.
    pub(crate) fn admit(&self, principal: &SpiffeId, allowed: &Allowance) -> Result<(), Status> {
        self.take(principal, allowed, Instant::now()).map_err(|refused| {
            let Allowance { role, requests_per_second, burst, .. } = allowed;
            role::count_refused(role, RATE_LIMITED);
            if let Some(calls) = refused.tell {
                tracing::warn!(%principal, role, requests_per_second, burst, calls, "calls over the limit are refused");
            }
            status::retry_with_reason(
                Code::ResourceExhausted,
                RATE_LIMITED,
                format!(
                    "{principal} asks too often: {requests_per_second} requests per second are allowed, {burst} at \
                     once; come back after {} ms, or have the role {role:?} of the service raised",
                    refused.wait.as_millis()
                ),
                [
                    ("principal", principal.to_string()),
                    ("role", (*role).to_owned()),
                    ("requestsPerSecond", requests_per_second.to_string()),
                    ("burst", burst.to_string()),
                ],
                refused.wait,
            )
        })
    }

    fn take(&self, principal: &SpiffeId, allowed: &Allowance, now: Instant) -> Result<(), Refused> {
        let key = self.hasher.hash_one(principal);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.of(key, now).take(allowed, now)
    }
}

impl Buckets {
    fn of(&mut self, key: u64, now: Instant) -> &mut Bucket {
        if !self.of.contains_key(&key) && self.of.len() >= self.sweep_at {
            self.sweep(now);
            if self.of.len() >= self.most {
                return &mut self.shared;
            }
        }
        self.of.entry(key).or_default()
    }

    fn sweep(&mut self, now: Instant) {
        if self.sweep_at == self.most && self.swept.is_some_and(|last| now < last + SWEEP) {
            return;
        }
        self.of.retain(|_, bucket| bucket.full_at > Some(now));
        self.sweep_at = (2 * self.of.len()).max(FEW).min(self.most);
        self.swept = Some(now);
    }
}

impl Bucket {
    fn take(&mut self, allowed: &Allowance, now: Instant) -> Result<(), Refused> {
        let one = Duration::from_secs(1) / allowed.requests_per_second.max(1);
        let depth = one * allowed.burst.max(1);
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + one;
        let over = (full_at - now).saturating_sub(depth);
        if over.is_zero() {
            self.full_at = Some(full_at);
            return Ok(());
        }
        self.refused = self.refused.saturating_add(1);
        let due = self.told.is_none_or(|last| now >= last + TELL);
        let tell = due.then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.refused)
        });
        Err(Refused { wait: over.max(SOONEST), tell })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(requests_per_second: u32, burst: u32) -> Allowance<'static> {
        Allowance { role: "test", requests_per_second, burst, max_message_bytes: 1 }
    }

    fn id(name: impl std::fmt::Display) -> SpiffeId {
        format!("spiffe://d/platform/{name}").parse().unwrap()
    }

    /// How many of `calls` at one moment are admitted.
    fn admitted(limiter: &Limiter, name: &str, allowed: &Allowance, calls: u32, now: Instant) -> u32 {
        (0..calls).map(|_| u32::from(limiter.take(&id(name), allowed, now).is_ok())).sum()
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let (limiter, allowed, start) = (Limiter::new(), allowed(10, 20), Instant::now());
        assert_eq!(admitted(&limiter, "a", &allowed, 100, start), 20);
        let mut over_a_second = 0;
        for tenth in 1..=10 {
            over_a_second +=
                admitted(&limiter, "a", &allowed, 100, start + tenth * Duration::from_millis(100));
        }
        assert_eq!(over_a_second, 10);
        assert_eq!(admitted(&limiter, "a", &allowed, 100, start + Duration::from_mins(1)), 20);
    }

    #[test]
    fn refused_calls_cost_nothing_and_the_wait_that_was_told_is_enough() {
        let (limiter, fast, allowed) = (Limiter::new(), allowed(100_000, 1), allowed(1, 1));
        let start = Instant::now();
        limiter.take(&id("a"), &allowed, start).unwrap();
        let waits: Vec<_> =
            (0..1000).map(|_| limiter.take(&id("a"), &allowed, start).unwrap_err().wait).collect();
        assert!(waits.iter().all(|wait| *wait == Duration::from_secs(1)));
        limiter.take(&id("a"), &allowed, start + waits[999]).unwrap();
        limiter.take(&id("b"), &fast, start).unwrap();
        assert_eq!(limiter.take(&id("b"), &fast, start).unwrap_err().wait, SOONEST);
    }

    #[test]
    fn nobody_pays_for_another() {
        let (limiter, allowed, now) = (Limiter::new(), allowed(10, 20), Instant::now());
        assert_eq!(admitted(&limiter, "loud", &allowed, 1000, now), 20);
        assert_eq!(admitted(&limiter, "quiet", &allowed, 20, now), 20);
    }

    #[test]
    fn the_log_hears_of_the_first_refusal_and_then_now_and_again() {
        let (limiter, allowed, start) = (Limiter::new(), allowed(1, 1), Instant::now());
        let tell = |after: u64| {
            limiter.take(&id("a"), &allowed, start + Duration::from_millis(after)).err().map(|r| r.tell)
        };
        assert_eq!(tell(0), None);
        assert_eq!([tell(1), tell(2), tell(3)], [Some(Some(1)), Some(None), Some(None)]);
        let again: Vec<_> = (0..20_000).step_by(100).filter_map(|after| tell(after)?).collect();
        assert_eq!(again.len(), 1, "{again:?}");
        assert!(again[0] > 50, "{again:?}");
    }

    #[test]
    fn those_who_are_quiet_are_forgotten_and_memory_is_bounded() {
        let (limiter, allowed, start) = (Limiter::with_room_for(4096), allowed(1, 10), Instant::now());
        let count = || limiter.buckets.lock().unwrap().of.len();
        for n in 0..100_000_u32 {
            limiter.take(&id(n), &allowed, start + n * Duration::from_millis(10)).unwrap();
        }
        assert!(count() <= FEW, "{} buckets for the 100 principals that are not full", count());
        for n in 0..4096_u32 {
            limiter.take(&id(format!("crowd-{n}")), &allowed, start + Duration::from_hours(1)).unwrap();
        }
        let late = start + Duration::from_hours(1);
        let strangers = (0..1000).map(|n| limiter.take(&id(format!("late-{n}")), &allowed, late).is_ok());
        assert_eq!(strangers.filter(|admitted| *admitted).count(), 10, "strangers share one bucket");
        assert!(count() <= 4096, "{}", count());
        let later = late + Duration::from_mins(1);
        assert_eq!(admitted(&limiter, "late-1", &allowed, 20, later), 10, "there is room again");
    }
}
