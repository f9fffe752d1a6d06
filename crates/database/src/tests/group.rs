//! Writes that are committed together: who is acknowledged, who is not, and what is left of each.

use super::{add, entry, open, things};
use crate::{Database, Error, Write};
use pullpass_test_database::{Kind, TestDatabase};
use tokio::task::JoinHandle;

/// What a member does with its turn, after it has written its row and its change.
#[derive(Clone, Copy)]
enum Then {
    Commit,
    Drop,
    /// Writes what the schema refuses, and gives up.
    Fail,
    /// Lets the database end the whole transaction, and gives up.
    Lose,
    /// The same, and believes that all is well.
    LoseAndCommit,
}

/// Lets the members have their turns in this order without a commit between them.
async fn together(database: &Database, members: &[(&'static str, Then)]) -> Vec<Option<Result<i64, Error>>> {
    let held = database.write().await.unwrap();
    let mut tasks: Vec<JoinHandle<_>> = Vec::new();
    for (name, then) in members.iter().copied() {
        tasks.push(tokio::spawn(member(database.clone(), name, then)));
        // On this thread alone: it runs until it waits for the lock.
        tokio::task::yield_now().await;
    }
    drop(held);
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

async fn member(database: Database, name: &'static str, then: Then) -> Option<Result<i64, Error>> {
    let mut write = database.write().await.unwrap();
    let before = database.revision().await.unwrap();
    insert(&mut write, name).await.unwrap();
    let revision = write.change("thing", name, false, None).await.unwrap();
    write.audit(entry(name)).await.unwrap();
    assert_eq!(database.revision().await.unwrap(), before, "nothing is visible before the commit");
    match then {
        Then::Commit => {}
        Then::Drop => return None,
        Then::Fail => {
            assert!(insert(&mut write, name).await.is_err(), "the name is taken");
            return None;
        }
        Then::Lose => {
            lose(&mut write).await;
            return None;
        }
        Then::LoseAndCommit => lose(&mut write).await,
    }
    Some(write.commit().await.map(|()| revision))
}

async fn insert(write: &mut Write, name: &str) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO things (name) VALUES ($1)").bind(name);
    insert.execute(write.connection()).await.map(drop)
}

/// A full disk, upon which `SQLite` rolls all back by itself; a connection that the server ends.
pub(super) async fn lose(write: &mut Write) {
    let lost = match Kind::of_this_run() {
        Kind::Sqlite => {
            let pages: i64 =
                sqlx::query_scalar("PRAGMA page_count").fetch_one(write.connection()).await.unwrap();
            let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 1));
            sqlx::query(limit).execute(write.connection()).await.unwrap();
            insert(write, &"x".repeat(100_000)).await
        }
        Kind::Postgres => {
            let end = sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())");
            end.execute(write.connection()).await.map(drop)
        }
    };
    assert!(lost.is_err());
}

async fn opened() -> (TestDatabase, Database) {
    let place = TestDatabase::new();
    let database = open(&place).await;
    (place, database)
}

fn revisions(outcomes: &[Option<Result<i64, Error>>]) -> Vec<Option<i64>> {
    outcomes.iter().map(|outcome| outcome.as_ref().map(|done| *done.as_ref().unwrap())).collect()
}

#[tokio::test]
async fn writers_that_wait_at_the_same_time_share_one_commit() {
    let (_place, database) = opened().await;
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| (name, Then::Commit));
    // Each of them sees, at its turn, that nothing is committed yet.
    let outcomes = together(&database, &names).await;
    assert_eq!(revisions(&outcomes), (1..=8).map(Some).collect::<Vec<_>>());
    assert_eq!(database.revision().await.unwrap(), 8);
    assert_eq!(things(&database).await.len(), 8);
}

#[tokio::test]
async fn a_member_that_drops_or_fails_leaves_no_trace_among_those_that_commit() {
    let (_place, database) = opened().await;
    let members = [
        ("a", Then::Commit),
        ("dropped", Then::Drop),
        ("b", Then::Commit),
        ("failed", Then::Fail),
        ("c", Then::Commit),
        ("last", Then::Drop),
    ];
    let outcomes = together(&database, &members).await;
    assert_eq!(revisions(&outcomes), [Some(1), None, Some(2), None, Some(3), None]);
    assert_eq!(things(&database).await, ["a", "b", "c"]);
    let events = database.audit_events(0, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(add(&database, "d").await, 4);
}

#[tokio::test]
async fn when_the_database_ends_the_transaction_nobody_in_it_is_acknowledged_and_the_next_go_on() {
    for lose in [Then::Lose, Then::LoseAndCommit] {
        let (_place, database) = opened().await;
        assert_eq!(add(&database, "before").await, 1);
        let members = [("a", Then::Commit), ("b", Then::Commit), ("lost", lose), ("c", Then::Commit)];
        let outcomes = together(&database, &members).await;
        for lost in &outcomes[..2] {
            assert!(lost.as_ref().unwrap().is_err(), "its work is gone");
        }
        assert!(outcomes[2].as_ref().is_none_or(Result::is_err));
        // It came after the loss and began anew, with the number that nobody has used.
        assert_eq!(*outcomes[3].as_ref().unwrap().as_ref().unwrap(), 2);
        assert_eq!(things(&database).await, ["before", "c"]);
        assert_eq!(add(&database, "d").await, 3);
    }
}

#[tokio::test]
async fn a_commit_goes_on_when_its_caller_gives_up() {
    let (_place, database) = opened().await;
    let mut write = database.write().await.unwrap();
    insert(&mut write, "a").await.unwrap();
    write.change("thing", "a", false, None).await.unwrap();
    let mut latest = database.subscribe();
    let commit = Box::pin(write.commit());
    let mut commit = polled_once(commit).await;
    assert!(commit.is_some(), "it is not done at the first poll");
    drop(commit.take());
    latest.wait_for(|revision| *revision == 1).await.unwrap();
    assert_eq!(things(&database).await, ["a"]);
}

#[tokio::test]
async fn a_replica_that_stalls_holds_the_others_up_for_seconds_and_not_for_ever() {
    let (place, stalled) = opened().await;
    let other = open(&place).await;
    let mut write = stalled.write().await.unwrap();
    insert(&mut write, "stalled").await.unwrap();
    write.change("thing", "stalled", false, None).await.unwrap();
    assert!(matches!(other.write().await, Err(Error::Busy)), "it is told so, and may try again");
    match place.kind() {
        // The file is one replica's; here it is only a handle that stalls.
        Kind::Sqlite => write.commit().await.unwrap(),
        Kind::Postgres => {
            let began = std::time::Instant::now();
            while other.write().await.is_err() {
                assert!(began.elapsed() < std::time::Duration::from_secs(30), "still held");
            }
            assert!(matches!(write.commit().await, Err(Error::Unreachable(_))), "the server has ended it");
        }
    }
    let stalled_counts = i64::from(place.kind() == Kind::Sqlite);
    assert_eq!(add(&other, "a").await, 1 + stalled_counts);
    assert_eq!(add(&stalled, "b").await, 2 + stalled_counts, "it goes on with a new connection");
}

/// Tells them while the writer is held, so that all are appended together.
async fn tell_together(database: &Database, resources: &[String]) -> Vec<Result<(), Error>> {
    let held = database.write().await.unwrap();
    let tell = |resource: &String| {
        let (database, entry) = (database.clone(), entry(resource));
        tokio::spawn(async move { database.audit(entry).await })
    };
    let telling: Vec<_> = resources.iter().map(tell).collect();
    tokio::task::yield_now().await;
    drop(held);
    let mut outcomes = Vec::new();
    for told in telling {
        outcomes.push(told.await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn what_many_tell_at_the_same_time_is_chained_in_order() {
    let (_place, database) = opened().await;
    let resources: Vec<_> = (0..100).map(|number| format!("things/{number}")).collect();
    assert_eq!(add(&database, "a").await, 1);
    for told in tell_together(&database, &resources).await {
        told.unwrap();
    }
    database.audit(entry("alone")).await.unwrap();
    assert_eq!(add(&database, "b").await, 2);
    let events = database.audit_events(0, 200).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| event.entry.resource.as_str()).collect();
    let expected = ["a"].into_iter().chain(resources.iter().map(String::as_str)).chain(["alone", "b"]);
    assert_eq!(told, expected.collect::<Vec<_>>());
    assert_eq!(events[1].revision, 0, "they tell of no change");
    let mut read = database.read().await.unwrap();
    for sequence in 1..=103 {
        assert!(read.is_chained(sequence).await.unwrap(), "event {sequence}");
    }
}

#[tokio::test]
async fn what_the_trail_refuses_fails_those_who_tell_it_and_no_member_of_the_group() {
    let (_place, database) = opened().await;
    let refuse = match Kind::of_this_run() {
        Kind::Sqlite => {
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_events WHEN NEW.resource = 'refused' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        }
        Kind::Postgres => "ALTER TABLE audit_events ADD CONSTRAINT refuse CHECK (resource <> 'refused')",
    };
    let mut write = database.write().await.unwrap();
    sqlx::query(refuse).execute(write.connection()).await.unwrap();
    write.commit().await.unwrap();
    let held = database.write().await.unwrap();
    let member = tokio::spawn(member(database.clone(), "a", Then::Commit));
    let teller = database.clone();
    let told = tokio::spawn(async move { teller.audit(entry("refused")).await });
    tokio::task::yield_now().await;
    drop(held);
    assert!(told.await.unwrap().is_err());
    assert_eq!(member.await.unwrap().unwrap().unwrap(), 1);
    database.audit(entry("taken")).await.unwrap();
    assert!(database.audit(entry("refused")).await.is_err());
    assert_eq!(add(&database, "b").await, 2);
    let events = database.audit_events(0, 10).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| event.entry.resource.as_str()).collect();
    assert_eq!(told, ["a", "taken", "b"]);
}

#[tokio::test]
async fn whoever_else_moves_the_end_of_the_trail_breaks_no_chain() {
    let (place, database) = opened().await;
    let other = open(&place).await;
    for round in 0..3 {
        database.audit(entry("here")).await.unwrap();
        other.audit(entry("there")).await.unwrap();
        assert_eq!(add(&other, &format!("there-{round}")).await, 2 * round + 1);
        assert_eq!(add(&database, &format!("here-{round}")).await, 2 * round + 2);
    }
    let mut read = database.read().await.unwrap();
    for sequence in 1..=12 {
        assert!(read.is_chained(sequence).await.unwrap(), "event {sequence}");
    }
    assert_eq!(read.head().await.unwrap().sequence, 12);
}

/// The future after one poll, if it is not done.
async fn polled_once<F: Future + Unpin>(mut future: F) -> Option<F> {
    let pending = std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(context).is_pending())
    });
    pending.await.then_some(future)
}
