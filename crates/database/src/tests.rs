//! What both databases promise: `PULLPASS_TEST_DATABASE` says which one the tests run over.

mod group;
mod remote;
mod sqlite;
mod torture;

use std::{collections::BTreeMap, time::Duration};

use crate::{AuditEntry, Beginning, Database, DatabaseConfig, Error, Request, Trail, from_micros, to_micros};
use pullpass_domain::audit::AuditKey;
use pullpass_test_database::TestDatabase;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use time::OffsetDateTime;
use tokio::task::JoinSet;

/// A service's own schema: one table.
pub(crate) fn migrations() -> Migrator {
    let sql = "CREATE TABLE things (name TEXT NOT NULL PRIMARY KEY)";
    let step =
        Migration::new(1, "things".into(), MigrationType::Simple, sqlx::SqlSafeStr::into_sql_str(sql), false);
    Migrator::with_migrations(vec![step])
}

fn config(place: &TestDatabase) -> DatabaseConfig {
    DatabaseConfig::new(place.url(), None).unwrap()
}

pub(crate) const EPOCH: &str = "first-epoch";
/// 32 times 7 in base64.
const KEY: &[u8] = b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

pub(crate) fn key() -> AuditKey {
    AuditKey::from_base64(KEY).unwrap()
}

async fn try_open(config: &DatabaseConfig, migrations: &Migrator) -> Result<Database, Error> {
    let trail = Trail { service: "test", key: key() };
    let beginning = Beginning { epoch: EPOCH.into(), now: from_micros(1_700_000_000_000_000) };
    Database::open(config, migrations, trail, &beginning).await
}

pub(crate) async fn open(place: &TestDatabase) -> Database {
    try_open(&config(place), &migrations()).await.unwrap()
}

/// One change with a row of its own and an audit event; its revision.
pub(crate) async fn add(database: &Database, name: &str) -> i64 {
    let mut write = database.write().await.unwrap();
    let insert = sqlx::query("INSERT INTO things (name) VALUES ($1)").bind(name);
    insert.execute(write.connection()).await.unwrap();
    let revision = write.change("thing", name, false, Some("00-trace")).await.unwrap();
    write.audit(entry(name)).await.unwrap();
    write.commit().await.unwrap();
    revision
}

pub(crate) fn entry(resource: &str) -> AuditEntry {
    AuditEntry {
        time: from_micros(1_234_567),
        principal: "spiffe://d/platform/ci".into(),
        action: "Add".into(),
        resource: resource.into(),
        details: BTreeMap::from([("version".into(), "1".into())]),
    }
}

async fn things(database: &Database) -> Vec<String> {
    let names = sqlx::query_scalar("SELECT name FROM things ORDER BY name");
    names.fetch_all(database.read().await.unwrap().connection()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_of_concurrent_writers_have_no_gap_and_a_follower_sees_each_once_in_order() {
    const WRITERS: usize = 8;
    const EACH: usize = 20;
    let place = TestDatabase::new();
    let database = open(&place).await;
    let mut early = database.follow(0);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let database = database.clone();
        writers.spawn(async move {
            for n in 0..EACH {
                if n % 3 == 0 {
                    let mut given_up = database.write().await.unwrap();
                    given_up.change("thing", "given-up", false, None).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                add(&database, &format!("{writer}-{n}")).await;
            }
        });
    }
    let total = i64::try_from(WRITERS * EACH).unwrap();
    let mut seen = Vec::new();
    while seen.len() < WRITERS * EACH {
        seen.push(early.next().await.unwrap());
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let revisions: Vec<i64> = seen.iter().map(|change| change.revision).collect();
    assert_eq!(revisions, (1..=total).collect::<Vec<_>>());
    assert!(seen.iter().all(|change| change.name != "given-up"));
    assert_eq!(seen[0].trace_context.as_deref(), Some("00-trace"));
    assert_eq!(database.revision().await.unwrap(), total);
    assert_eq!(database.changes_after(0, 1000).await.unwrap(), seen);
    assert_eq!(database.follow(total - 1).next().await.unwrap().revision, total);
}

#[tokio::test]
async fn a_dropped_write_leaves_nothing_and_uses_up_no_number() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    let mut write = database.write().await.unwrap();
    sqlx::query("INSERT INTO things (name) VALUES ('lost')").execute(write.connection()).await.unwrap();
    assert_eq!(write.change("thing", "lost", false, None).await.unwrap(), 1);
    assert_eq!(write.change("thing", "lost", true, None).await.unwrap(), 2);
    assert_eq!(write.audit(entry("lost")).await.unwrap(), 1);
    assert_eq!(things(&database).await, [""; 0], "not visible before the commit");
    drop(write);
    assert_eq!(database.revision().await.unwrap(), 0);
    assert_eq!(database.audit_events(0, 10).await.unwrap(), []);
    assert_eq!(add(&database, "kept").await, 1);
    assert_eq!(things(&database).await, ["kept"]);
}

#[tokio::test]
async fn a_follower_waits_for_what_is_committed_and_its_wait_can_be_given_up() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    add(&database, "a").await;
    let mut follower = database.follow(0);
    assert_eq!(follower.next().await.unwrap().name, "a");
    let given_up = tokio::time::timeout(Duration::from_millis(20), follower.next()).await;
    assert!(given_up.is_err());
    add(&database, "b").await;
    assert_eq!(follower.next().await.unwrap().name, "b");
}

#[tokio::test]
async fn a_change_that_nobody_announced_is_found_by_looking() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    let other_process = open(&place).await;
    let mut follower = database.follow(0);
    add(&other_process, "elsewhere").await;
    let change = tokio::time::timeout(Duration::from_secs(10), follower.next()).await;
    assert_eq!(change.unwrap().unwrap().name, "elsewhere");
}

#[tokio::test]
async fn everything_is_there_after_reopening_and_the_numbers_go_on() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    add(&database, "a").await;
    database.close().await;
    assert!(database.write().await.is_err());
    assert!(database.read().await.is_err());
    assert!(database.reader().await.is_err());
    assert!(database.audit(entry("a")).await.is_err());

    let again = open(&place).await;
    assert_eq!(things(&again).await, ["a"]);
    assert_eq!(*again.subscribe().borrow(), 1);
    assert_eq!(add(&again, "b").await, 2);
    let events = again.audit_events(0, 10).await.unwrap();
    assert_eq!(events.iter().map(|e| (e.sequence, e.revision)).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    assert_eq!(events[0].entry, entry("a"));
}

#[tokio::test]
async fn audit_events_come_by_page() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    let mut write = database.write().await.unwrap();
    for _ in 0..5 {
        write.audit(entry("refused")).await.unwrap();
    }
    write.commit().await.unwrap();
    let sequences = async |after, limit| -> Vec<i64> {
        database.audit_events(after, limit).await.unwrap().iter().map(|event| event.sequence).collect()
    };
    assert_eq!(sequences(0, 2).await, [1, 2]);
    assert_eq!(sequences(2, 2).await, [3, 4]);
    assert_eq!(sequences(4, 2).await, [5]);
    assert_eq!(database.audit_events(4, 1).await.unwrap()[0].revision, 0);
}

#[tokio::test]
async fn an_attempt_is_done_once_a_day_and_only_if_it_was_committed() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(100);
    let attempt =
        |now| Request { principal: "p", request_id: "1", method: "Create", resource: "things/a", now };
    let try_once = async |request: Request<'_>, commit: bool| {
        let mut write = database.write().await.unwrap();
        let first = write.first_time(request).await;
        if commit {
            write.commit().await.unwrap();
        }
        first
    };
    assert!(try_once(attempt(now), false).await.unwrap());
    assert!(try_once(attempt(now), true).await.unwrap());
    assert!(!try_once(attempt(now), true).await.unwrap());
    assert!(try_once(Request { principal: "q", ..attempt(now) }, true).await.unwrap());
    for other in
        [Request { method: "Update", ..attempt(now) }, Request { resource: "things/b", ..attempt(now) }]
    {
        let refused = try_once(other, true).await.unwrap_err();
        assert_eq!(refused.to_string(), "the request id 1 was already used for Create of things/a");
    }
    let almost_a_day = now + time::Duration::DAY;
    assert!(!try_once(attempt(almost_a_day), true).await.unwrap());
    assert!(try_once(attempt(almost_a_day + time::Duration::MICROSECOND), true).await.unwrap());
}

#[tokio::test]
async fn a_snapshot_does_not_move() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    let mut read = database.read().await.unwrap();
    assert_eq!(read.revision().await.unwrap(), 0);
    add(&database, "a").await;
    assert_eq!(read.revision().await.unwrap(), 0);
    assert_eq!(database.revision().await.unwrap(), 1);
}

#[tokio::test]
async fn names_sort_by_their_bytes_whatever_the_language_of_the_database() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    let sorted = ["A", "B", "a", "a-c", "a.b", "ab", "ac", "a\u{e4}"];
    for name in ["ac", "a-c", "B", "a\u{e4}", "ab", "a", "A", "a.b"] {
        add(&database, name).await;
    }
    assert_eq!(things(&database).await, sorted);
    let after = sqlx::query_scalar("SELECT name FROM things WHERE name > $1 ORDER BY name LIMIT 2").bind("a");
    let page: Vec<String> = after.fetch_all(database.read().await.unwrap().connection()).await.unwrap();
    assert_eq!(page, ["a-c", "a.b"]);
}

#[tokio::test]
async fn nothing_can_be_written_through_a_read() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    let mut read = database.read().await.unwrap();
    let write = sqlx::query("INSERT INTO things (name) VALUES ('x')").execute(read.connection()).await;
    let refused = write.unwrap_err().to_string();
    assert!(refused.contains("readonly") || refused.contains("read-only"), "{refused}");
}

#[tokio::test]
async fn who_waits_too_long_for_the_writer_is_told_that_the_database_is_busy() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    let _held = database.write().await.unwrap();
    assert!(matches!(database.write().await, Err(Error::Busy)));
}

#[tokio::test]
async fn a_schema_from_the_future_is_not_touched() {
    let place = TestDatabase::new();
    open(&place).await.close().await;
    let older = Migrator::with_migrations(vec![]);
    let error = try_open(&config(&place), &older).await.unwrap_err();
    assert!(matches!(error, Error::Migrate { .. }), "{error:?}");
}

#[test]
fn times_come_back_to_the_microsecond() {
    for micros in [0, 1, -1, 1_700_000_000_123_456] {
        assert_eq!(to_micros(from_micros(micros)), micros);
    }
    let late = OffsetDateTime::UNIX_EPOCH + time::Duration::nanoseconds(1_999);
    assert_eq!(to_micros(late), 1);
    assert_eq!(from_micros(i64::MAX), OffsetDateTime::UNIX_EPOCH);
}
