//! Time and ids as a parameter, so that tests decide both.

use std::sync::{Arc, Mutex, PoisonError};

use time::{Duration, OffsetDateTime};
use uuid::{NoContext, Timestamp, Uuid};

/// Tells the time and makes ids. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<ManualClock>);

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// The time now, in UTC.
    pub fn now(&self) -> OffsetDateTime {
        match &self.0 {
            None => OffsetDateTime::now_utc(),
            Some(manual) => *manual.lock(),
        }
    }

    /// A new id: unique, not guessable, sorted by time (UUID version 7).
    pub fn new_id(&self) -> Uuid {
        let now = self.now();
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.nanosecond()))
    }
}

/// A clock for tests that stands still until it is moved.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<OffsetDateTime>>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: OffsetDateTime) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    /// The clock to hand to the code under test.
    pub fn clock(&self) -> Clock {
        Clock(Some(self.clone()))
    }

    /// Moves the time on, or back.
    pub fn advance(&self, by: Duration) {
        *self.lock() += by;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OffsetDateTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let manual = ManualClock::new(OffsetDateTime::UNIX_EPOCH);
        let clock = manual.clock();
        manual.advance(Duration::MINUTE);
        assert_eq!(clock.now(), OffsetDateTime::UNIX_EPOCH + Duration::MINUTE);
        assert_eq!(clock.now(), clock.now());
    }

    #[test]
    fn ids_carry_the_time_and_differ() {
        let manual = ManualClock::new(OffsetDateTime::UNIX_EPOCH + Duration::DAY);
        let (first, same_moment) = (manual.clock().new_id(), manual.clock().new_id());
        manual.advance(Duration::MILLISECOND);
        assert_ne!(first, same_moment);
        assert!(manual.clock().new_id() > first.max(same_moment));
    }
}
