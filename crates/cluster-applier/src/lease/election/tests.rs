use k8s_openapi::jiff::Timestamp;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const DURATION: Duration = Duration::from_secs(15);

fn wall(seconds: i64) -> MicroTime {
    MicroTime(Timestamp::from_second(seconds).expect("a time"))
}

fn candidate(us: &str, now: Instant) -> Election {
    Election::new("turns", us, DURATION, now)
}

/// The Lease as the API server gives it in this version.
fn stored(mut lease: Lease, version: u32) -> Lease {
    lease.metadata.uid = Some("u".into());
    lease.metadata.resource_version = Some(version.to_string());
    lease
}

fn held_by(holder: &str, version: u32) -> Lease {
    let spec = LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(3),
        ..Default::default()
    };
    stored(Lease { spec: Some(spec), ..Default::default() }, version)
}

fn written(step: Step) -> Lease {
    match step {
        Step::Write(lease) => *lease,
        other => panic!("it does not write: {other:?}"),
    }
}

fn version(lease: &Lease) -> Option<&str> {
    lease.metadata.resource_version.as_deref()
}

/// A candidate that has won the Lease at `now`.
fn active(now: Instant) -> Election {
    let mut election = candidate("a", now);
    election.saw(None, now);
    let lease = written(election.step(now, &wall(0)));
    election.won(stored(lease, 10), now);
    election
}

#[test]
fn the_first_one_looks_creates_and_holds_for_two_thirds() {
    let now = Instant::now();
    let mut election = candidate("a", now);
    assert_eq!((election.step(now, &wall(0)), election.held_until()), (Step::Look, None));
    election.saw(None, now);
    let lease = written(election.step(now, &wall(7)));
    assert_eq!(
        (lease.metadata.name.as_deref(), version(&lease)),
        (Some("turns"), None),
        "the name must be free"
    );
    let spec = lease.spec.clone().expect("a spec");
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some("a"), Some(15)));
    assert_eq!(
        (spec.lease_transitions, spec.acquire_time, spec.renew_time),
        (Some(0), Some(wall(7)), Some(wall(7)))
    );
    assert_eq!(election.held_until(), None, "not before the answer");
    election.won(stored(lease, 10), now);
    assert_eq!(election.held_until(), Some(now + 10 * SECOND));
    assert_eq!(election.other(), None);
    assert_eq!(election.step(now + 4 * SECOND, &wall(0)), Step::Wait(now + 5 * SECOND));
}

#[test]
fn a_renewal_names_its_version_and_counts_from_when_it_was_sent() {
    let now = Instant::now();
    let mut election = active(now);
    let sent = now + 5 * SECOND;
    let lease = written(election.step(sent, &wall(9)));
    let spec = lease.spec.clone().expect("a spec");
    assert_eq!((version(&lease), spec.lease_transitions), (Some("10"), Some(0)));
    assert_eq!((spec.acquire_time, spec.renew_time), (Some(wall(0)), Some(wall(9))));
    election.won(stored(lease, 11), sent);
    assert_eq!(election.held_until(), Some(sent + 10 * SECOND));
}

#[test]
fn another_is_waited_for_by_our_clock_from_when_its_record_was_first_seen() {
    let now = Instant::now();
    let mut election = candidate("b", now);
    election.saw(Some(held_by("a", 10)), now);
    assert_eq!(election.step(now, &wall(0)), Step::Wait(now + DURATION));
    election.saw(Some(held_by("a", 10)), now + 3 * SECOND);
    assert_eq!(
        election.step(now, &wall(0)),
        Step::Wait(now + DURATION),
        "the same record is no sign of life"
    );
    election.saw(Some(held_by("a", 11)), now + 5 * SECOND);
    election.saw(Some(held_by("a", 10)), now + 6 * SECOND);
    assert_eq!(election.step(now + DURATION, &wall(0)), Step::Wait(now + 20 * SECOND), "nor is an older one");
    let lease = written(election.step(now + 20 * SECOND, &wall(5)));
    let spec = lease.spec.clone().expect("a spec");
    assert_eq!((version(&lease), spec.holder_identity.as_deref()), (Some("11"), Some("b")));
    assert_eq!((spec.lease_transitions, spec.acquire_time), (Some(4), Some(wall(5))));
}

#[test]
fn whoever_comes_later_has_the_later_time_also_where_its_clock_is_behind() {
    let now = Instant::now();
    let mut election = candidate("b", now);
    let mut ahead = held_by("a", 10);
    ahead.spec.as_mut().expect("a spec").acquire_time = Some(wall(60));
    election.saw(Some(ahead), now);
    let lease = written(election.step(now + DURATION, &wall(5)));
    let acquired = lease.spec.as_ref().and_then(|spec| spec.acquire_time.clone()).expect("a time");
    assert!(acquired > wall(60) && acquired < wall(61), "{acquired:?}");
    assert_eq!(election.acquired(), None, "it is not ours before it is won");
    election.won(stored(lease, 11), now + DURATION);
    let ours = election.acquired().expect("it is ours").unix_timestamp_nanos();
    assert_eq!(ours, i128::from(acquired.0.as_microsecond()) * 1000);
}

#[test]
fn the_holder_says_how_long_it_is_to_be_waited_for() {
    let now = Instant::now();
    for (seconds, wait) in [(Some(60), 60), (Some(0), 15), (None, 15)] {
        let mut lease = held_by("a", 10);
        lease.spec.as_mut().expect("a spec").lease_duration_seconds = seconds;
        let mut election = candidate("b", now);
        election.saw(Some(lease), now);
        assert_eq!(election.step(now, &wall(0)), Step::Wait(now + wait * SECOND), "{seconds:?}");
    }
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once() {
    let now = Instant::now();
    let mut first = active(now);
    let given = first.resign(&wall(3)).expect("it is ours");
    assert_eq!((first.held_until(), version(&given)), (None, Some("10")));
    let mut second = candidate("b", now);
    second.saw(Some(stored(given, 11)), now);
    let spec = written(second.step(now, &wall(4))).spec.expect("a spec");
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("b"), Some(1)));
    assert_eq!(second.resign(&wall(5)), None, "what is not ours is not given back");
}

#[test]
fn whoever_sees_another_in_its_place_stops_at_once() {
    let now = Instant::now();
    let mut election = active(now);
    election.saw(Some(held_by("b", 11)), now + SECOND);
    assert_eq!((election.held_until(), election.other()), (None, Some("b")));
    assert_eq!(election.step(now + 5 * SECOND, &wall(0)), Step::Wait(now + 16 * SECOND));
    let mut deleted = active(now);
    deleted.saw(None, now + SECOND);
    assert_eq!(deleted.held_until(), None);
    assert_eq!(version(&written(deleted.step(now + 5 * SECOND, &wall(0)))), None);
}

#[test]
fn a_failed_write_is_looked_after_before_the_next_and_the_hold_is_no_longer_for_it() {
    let now = Instant::now();
    let mut election = active(now);
    let late = now + 5 * SECOND;
    election.doubt();
    election.failed(late);
    assert_eq!(election.held_until(), Some(now + 10 * SECOND));
    assert_eq!(election.step(late, &wall(0)), Step::Wait(late + DURATION / 12));
    let late = late + DURATION / 12;
    assert_eq!(election.step(late, &wall(0)), Step::Look);
    // It had arrived: by this alone we do not hold it longer, for we do not know when others saw it.
    election.saw(Some(held_by("a", 11)), late);
    assert_eq!(election.held_until(), Some(now + 10 * SECOND));
    assert_eq!(version(&written(election.step(late, &wall(0)))), Some("11"));
}

#[test]
fn a_process_that_slept_past_its_hold_looks_at_its_old_version_only() {
    let now = Instant::now();
    let mut election = active(now);
    let woken = now + 60 * SECOND;
    assert!(election.held_until().is_some_and(|until| until < woken), "it holds nothing any more");
    let lease = written(election.step(woken, &wall(60)));
    assert_eq!(version(&lease), Some("10"), "refused if anybody has written since");
    election.doubt();
    election.saw(Some(held_by("b", 12)), woken);
    assert_eq!(election.step(woken, &wall(60)), Step::Wait(woken + DURATION));
}

/// Two candidates that are stopped now and then, miss news and lose answers, over an API server that knows versions only.
#[test]
fn two_never_hold_at_one_time_whatever_is_lost() {
    let start = Instant::now();
    let mut random = 7_u64;
    let mut dice = move |sides: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % sides
    };
    let mut record: Option<Lease> = None;
    let mut versions = 0;
    let mut both = ["a", "b"].map(|us| (candidate(us, start), Duration::ZERO));
    let (mut turns, mut holders) = (0, String::new());
    for tick in 0..200_000_u32 {
        let now = start + tick * SECOND / 10;
        for (election, stopped) in &mut both {
            if *stopped > Duration::ZERO {
                *stopped -= SECOND / 10;
                continue;
            }
            if dice(500) == 0 {
                *stopped = SECOND * u32::try_from(dice(40)).unwrap_or_default();
            }
            if dice(3) == 0 {
                election.saw(record.clone(), now);
            }
            match election.step(now, &wall(0)) {
                Step::Look => election.saw(record.clone(), now),
                Step::Wait(_) => {}
                Step::Write(lease) if record.as_ref().and_then(version) == version(&lease) => {
                    versions += 1;
                    let lease = stored(*lease, versions);
                    record = Some(lease.clone());
                    // The answer is lost, or comes.
                    if dice(10) == 0 { election.doubt() } else { election.won(lease, now) }
                }
                Step::Write(_) => election.doubt(),
            }
        }
        let holding: Vec<_> = both
            .iter()
            .filter(|(e, _)| e.held_until().is_some_and(|until| now < until))
            .map(|(e, _)| &e.us)
            .collect();
        assert!(holding.len() < 2, "both hold at {tick}");
        if let [holder] = holding[..]
            && *holder != holders
        {
            (turns, holders) = (turns + 1, holder.clone());
        }
    }
    assert!(turns > 50, "only {turns} turns were taken");
}
