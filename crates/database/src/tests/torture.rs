//! Tries to break the promise of the feed: revisions in commit order and without gaps, each seen once by each follower, and
//! everything that was acknowledged there.
//!
//! Two handles on one database, as two replicas have; 32 writers that stall, drop, give up at any await, and lose their
//! transactions; others among them that only tell the trail something; connections that are cut; followers that are cut, too,
//! and resume on either handle.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use super::{entry, group::lose, open};
use crate::{Change, Database, Error};
use pullpass_test_database::TestDatabase;
use tokio::{task::JoinSet, time::timeout};

const WRITERS: u64 = 32;
const FOLLOWERS: u64 = 4;
/// A change that a follower has not seen by then is lost.
const TOO_LONG: Duration = Duration::from_secs(30);

struct Torture {
    place: TestDatabase,
    handles: [Database; 2],
    commits: usize,
    /// By revision.
    acknowledged: Mutex<BTreeMap<i64, String>>,
    /// What the trail was told without a change.
    told: Mutex<BTreeSet<String>>,
    done: AtomicUsize,
    failed: AtomicUsize,
    given_up: AtomicUsize,
    written: AtomicBool,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_change_is_lost_and_revisions_stay_gapless_whatever_breaks() {
    let seed =
        number("PULLPASS_TEST_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 32);
    let commits = number("PULLPASS_COMMITS").unwrap_or(10_000);
    println!("PULLPASS_TEST_SEED={seed} PULLPASS_COMMITS={commits}");
    let place = TestDatabase::new();
    let handles = [open(&place).await, open(&place).await];
    let torture = Arc::new(Torture {
        place,
        handles,
        commits: usize::try_from(commits).unwrap(),
        acknowledged: Mutex::default(),
        told: Mutex::default(),
        done: AtomicUsize::default(),
        failed: AtomicUsize::default(),
        given_up: AtomicUsize::default(),
        written: AtomicBool::default(),
    });
    let began = Instant::now();
    let mut followers = JoinSet::new();
    for n in 0..FOLLOWERS {
        followers.spawn(follow(torture.clone(), Random(seed ^ (n << 32))));
    }
    write_it_all(&torture, seed).await;
    torture.written.store(true, Relaxed);
    let all = check_the_table(&torture).await;
    while let Some(seen) = followers.join_next().await {
        assert_eq!(seen.unwrap(), all, "a follower saw what the table holds");
    }
    let [done, failed, given_up] =
        [&torture.done, &torture.failed, &torture.given_up].map(|n| n.load(Relaxed));
    println!(
        "{} changes, {done} acknowledged, {failed} failed, {given_up} given up, in {:.1?}",
        all.0,
        began.elapsed()
    );
    assert!(failed > 0 && given_up > 0, "nothing was broken");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

async fn write_it_all(torture: &Arc<Torture>, seed: u64) {
    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        writers.spawn(write(torture.clone(), n, Random(seed ^ (n << 40))));
    }
    let cutter = tokio::spawn(cut_connections(torture.clone()));
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    cutter.abort();
}

async fn write(torture: Arc<Torture>, writer: u64, mut random: Random) {
    for n in 0.. {
        if torture.done.load(Relaxed) >= torture.commits {
            return;
        }
        let handle = &torture.handles[random.below(2)];
        let name = format!("{writer}-{n}");
        let polls = if random.below(20) == 0 { random.below(60) } else { usize::MAX };
        if random.below(4) == 0 {
            torture.tell(handle, &name, random.below(40)).await;
            continue;
        }
        let attempt = attempt(handle, &name, random.below(200));
        match give_up_after(polls, Box::pin(attempt)).await {
            Some(Ok(Some(revision))) => torture.acknowledge(revision, name),
            Some(Err(_)) => drop(torture.failed.fetch_add(1, Relaxed)),
            Some(Ok(None)) | None => drop(torture.given_up.fetch_add(1, Relaxed)),
        }
    }
}

/// One write, and what becomes of it by chance.
async fn attempt(database: &Database, name: &str, chance: usize) -> Result<Option<i64>, Error> {
    let mut write = database.write().await?;
    sqlx::query("INSERT INTO things (name) VALUES ($1)").bind(name).execute(write.connection()).await?;
    let revision = write.change("thing", name, false, None).await?;
    write.audit(entry(name)).await?;
    match chance {
        0 => lose(&mut write).await,
        1..4 => tokio::time::sleep(Duration::from_millis(20)).await,
        4..14 => return Ok(None),
        _ => {}
    }
    write.commit().await?;
    Ok(Some(revision))
}

impl Torture {
    /// An event without a change; the caller may give up at any await.
    async fn tell(&self, database: &Database, name: &str, polls: usize) {
        let polls = if polls < 3 { polls } else { usize::MAX };
        match give_up_after(polls, Box::pin(database.audit(entry(name)))).await {
            Some(Ok(())) => drop(self.told.lock().unwrap().insert(name.to_owned())),
            Some(Err(_)) => drop(self.failed.fetch_add(1, Relaxed)),
            None => drop(self.given_up.fetch_add(1, Relaxed)),
        }
    }

    fn acknowledge(&self, revision: i64, name: String) {
        let before = self.acknowledged.lock().unwrap().insert(revision, name);
        assert_eq!(before, None, "revision {revision} was given twice");
        self.done.fetch_add(1, Relaxed);
    }
}

/// `SQLite` has no connections that others could cut.
async fn cut_connections(torture: Arc<Torture>) {
    while torture.place.file().is_none() {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let torture = torture.clone();
        tokio::task::spawn_blocking(move || torture.place.cut_a_connection()).await.unwrap();
    }
}

/// How many changes there are, and a hash over all of them in order.
type Seen = (i64, u64);

fn see((count, hash): Seen, change: &Change) -> Seen {
    assert_eq!(change.revision, count + 1, "missed, doubled or reordered");
    let mut hasher = DefaultHasher::new();
    (hash, &change.name).hash(&mut hasher);
    (change.revision, hasher.finish())
}

async fn follow(torture: Arc<Torture>, mut random: Random) -> Seen {
    let (mut seen, mut waited) = ((0, 0), Instant::now());
    loop {
        let database = &torture.handles[random.below(2)];
        let mut follower = database.follow(seen.0);
        for _ in 0..=random.below(500) {
            // A connection that was cut, or a wait that was given up: then the next follower goes on.
            let Ok(Ok(change)) = timeout(Duration::from_millis(100), follower.next()).await else { break };
            (seen, waited) = (see(seen, &change), Instant::now());
        }
        if torture.written.load(Relaxed) && database.revision().await.is_ok_and(|all| all == seen.0) {
            return seen;
        }
        assert!(waited.elapsed() < TOO_LONG, "nothing follows {} any more", seen.0);
    }
}

async fn check_the_table(torture: &Torture) -> Seen {
    let database = &torture.handles[0];
    let mut acknowledged = torture.acknowledged.lock().unwrap().clone();
    let mut seen = (0, 0);
    loop {
        let changes = database.changes_after(seen.0, 1000).await.unwrap();
        let Some(_) = changes.last() else { break };
        for change in changes {
            seen = see(seen, &change);
            if let Some(name) = acknowledged.remove(&change.revision) {
                assert_eq!(name, change.name, "revision {} was acknowledged to another", change.revision);
            }
        }
    }
    assert_eq!(acknowledged, BTreeMap::new(), "acknowledged and lost");
    let mut read = database.read().await.unwrap();
    let questions = [
        "SELECT count(DISTINCT name) FROM changes",
        "SELECT count(*) FROM things t JOIN changes c ON c.name = t.name",
        "SELECT count(*) FROM things",
        "SELECT count(*) FROM audit_events a JOIN changes c ON c.revision = a.revision AND c.name = a.resource",
        "SELECT count(*) FROM audit_events WHERE revision > 0",
    ];
    for question in questions {
        let answer: i64 = sqlx::query_scalar(question).fetch_one(read.connection()).await.unwrap();
        assert_eq!(answer, seen.0, "half a write: {question}");
    }
    check_the_trail(torture, seen.0).await;
    seen
}

/// Every event is chained to the one before, and everything that was told is there.
async fn check_the_trail(torture: &Torture, changes: i64) {
    let database = &torture.handles[0];
    let mut told = torture.told.lock().unwrap().clone();
    let (mut last, mut others) = ((0, String::new()), 0);
    loop {
        let events = database.audit_events(last.0, 1000).await.unwrap();
        if events.is_empty() {
            break;
        }
        for event in events {
            assert_eq!(event.sequence, last.0 + 1, "missed, doubled or reordered");
            assert_eq!(event.mac, database.trail().mac(&event, &last.1).to_string(), "the chain is broken");
            if event.revision == 0 {
                others += 1;
                told.remove(&event.entry.resource);
            }
            last = (event.sequence, event.mac);
        }
    }
    assert_eq!(told, BTreeSet::new(), "acknowledged and lost");
    assert_eq!(last.0, changes + others);
    println!("{others} events without a change");
}

/// None if it was given up, which it is at the await that follows so many polls.
async fn give_up_after<F: Future + Unpin>(mut polls: usize, mut future: F) -> Option<F::Output> {
    let polled = poll_fn(|context| match std::pin::Pin::new(&mut future).poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    });
    polled.await
}

/// `SplitMix64`: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}
