//! The election as one candidate sees it: what the Lease says, since when it has said so, and what to do about it. Pure:
//! both clocks are parameters.
//!
//! The rules are those of client-go's `tools/leaderelection`. Whether a holder still lives is judged by our own steady
//! clock, from the moment at which we first saw its record: what clock the holder's times are by does not matter. Every
//! write names the version that was seen, so of two candidates one wins, and a record that changed unseen is not
//! overwritten.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use time::OffsetDateTime;

use crate::cluster::object::Identity;

/// What a candidate does next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Read the Lease.
    Look,
    /// Create it, or replace the version that it names.
    Write(Box<Lease>),
    /// Nothing before this moment, unless the Lease changes.
    Wait(Instant),
}

/// The Lease, or that there is none, and when we first saw it so.
#[derive(Debug)]
struct Seen {
    lease: Option<Lease>,
    since: Instant,
}

/// One candidate's view.
#[derive(Debug)]
pub(super) struct Election {
    name: String,
    us: String,
    /// So long may others take it that we live after a write of ours.
    duration: Duration,
    /// None before the first look.
    seen: Option<Seen>,
    /// It may be different by now.
    doubtful: bool,
    held_until: Option<Instant>,
    /// When the next request may be sent.
    next: Instant,
}

impl Election {
    /// For the Lease `name`, as the candidate `us`.
    pub(super) fn new(name: &str, us: &str, duration: Duration, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            us: us.to_owned(),
            duration,
            seen: None,
            doubtful: false,
            held_until: None,
            next: now,
        }
    }

    /// The Lease's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Until when we may write. Others wait for a third of the duration longer: for what is on its way then.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Since when it is ours, by what the Lease says.
    pub(super) fn acquired(&self) -> Option<OffsetDateTime> {
        let lease = self.seen.as_ref()?.lease.as_ref().filter(|lease| holder(lease) == Some(&self.us))?;
        let micros = lease.spec.as_ref()?.acquire_time.as_ref()?.0.as_microsecond();
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()
    }

    /// How often the holder renews, and how long a request may take.
    pub(super) fn third(&self) -> Duration {
        self.duration / 3
    }

    /// Who else holds it, as far as we know.
    pub(super) fn other(&self) -> Option<&str> {
        self.seen.as_ref()?.lease.as_ref().and_then(holder).filter(|holder| *holder != self.us)
    }

    /// The Lease is like this, or not there. What is older than what we know is no news.
    pub(super) fn saw(&mut self, lease: Option<Lease>, now: Instant) {
        self.doubtful = false;
        if let (Some(Seen { lease: Some(known), .. }), Some(told)) = (&self.seen, &lease) {
            let (known, told) = (Identity::of(&known.metadata), Identity::of(&told.metadata));
            if known == told || known.is_newer_than(&told) {
                return;
            }
        }
        if lease.as_ref().and_then(holder) != Some(&self.us) {
            self.held_until = None;
        }
        self.seen = Some(Seen { lease, since: now });
    }

    /// A write of ours that was sent at `sent` was answered with this.
    pub(super) fn won(&mut self, lease: Lease, sent: Instant) {
        self.doubtful = false;
        self.seen = Some(Seen { lease: Some(lease), since: sent });
        self.held_until = Some(sent + self.third() * 2);
        self.next = sent + self.third();
    }

    /// The Lease is perhaps not what we thought: look before the next write.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// There was no answer that helps; try again in a while.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next = now + self.third() / 4;
    }

    /// What to do now. `wall` is what others shall read as the time.
    pub(super) fn step(&self, now: Instant, wall: &MicroTime) -> Step {
        if now < self.next {
            return Step::Wait(self.next);
        }
        let Some(Seen { lease, since }) = self.seen.as_ref().filter(|_| !self.doubtful) else {
            return Step::Look;
        };
        match lease {
            Some(lease) if holder(lease).is_some_and(|holder| holder != self.us) => {
                let over = *since + duration_of(lease).unwrap_or(self.duration);
                if now < over {
                    Step::Wait(over)
                } else {
                    Step::Write(Box::new(self.claim(Some(lease), wall)))
                }
            }
            lease => Step::Write(Box::new(self.claim(lease.as_ref(), wall))),
        }
    }

    /// The Lease with us as its holder.
    fn claim(&self, was: Option<&Lease>, wall: &MicroTime) -> Lease {
        let spec = was.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let ours = spec.holder_identity.as_ref() == Some(&self.us);
        let transitions = spec.lease_transitions.unwrap_or_default();
        let metadata = was.map(|lease| lease.metadata.clone());
        Lease {
            metadata: metadata
                .unwrap_or_else(|| ObjectMeta { name: Some(self.name.clone()), ..Default::default() }),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.us.clone()),
                lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
                lease_transitions: Some(transitions + i32::from(was.is_some() && !ours)),
                acquire_time: if ours { spec.acquire_time } else { Some(after(spec.acquire_time, wall)) },
                renew_time: Some(wall.clone()),
                ..spec
            }),
        }
    }

    /// The Lease without a holder, if it is ours: others need not wait. We hold it no more.
    pub(super) fn resign(&mut self, wall: &MicroTime) -> Option<Lease> {
        self.held_until = None;
        let mut lease = self.seen.take()?.lease.filter(|lease| holder(lease) == Some(&self.us))?;
        let spec = lease.spec.get_or_insert_default();
        (spec.holder_identity, spec.renew_time) = (None, Some(wall.clone()));
        Some(lease)
    }
}

/// The time now, or, where clocks differ, just after the holder before began: whoever comes later has the later time.
fn after(before: Option<MicroTime>, wall: &MicroTime) -> MicroTime {
    let next = before.and_then(|before| Timestamp::from_microsecond(before.0.as_microsecond() + 1).ok());
    MicroTime(next.map_or(wall.0, |next| next.max(wall.0)))
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn duration_of(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
