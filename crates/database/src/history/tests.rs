use pullpass_domain::audit::{Event, Mac};
use pullpass_test_database::TestDatabase;
use sqlx::{Connection as _, SqliteConnection};

use super::*;
use crate::{
    Head, from_micros,
    tests::{EPOCH, add, entry, key, open},
    to_micros,
};

/// What the chain says that an event has to carry.
fn mac(event: &AuditEvent, previous: &Mac) -> Mac {
    let entry = &event.entry;
    let event = Event {
        service: "test",
        epoch: &event.epoch,
        sequence: event.sequence,
        micros: to_micros(entry.time),
        principal: &entry.principal,
        action: &entry.action,
        resource: &entry.resource,
        details: &entry.details,
        revision: event.revision,
    };
    key().mac(&event, previous)
}

async fn chained(database: &Database) -> Vec<AuditEvent> {
    let events = database.audit_events(0, 1000).await.unwrap();
    let mut previous = Mac::START;
    for event in &events {
        previous = mac(event, &previous);
        assert_eq!(event.mac, previous.to_string(), "{event:?}");
    }
    events
}

async fn run(database: &Database, statement: &'static str) {
    let mut write = database.write().await.unwrap();
    sqlx::query(statement).execute(write.connection()).await.unwrap();
    write.commit().await.unwrap();
}

#[tokio::test]
async fn each_event_is_chained_to_the_one_before_whoever_writes_it() {
    let place = TestDatabase::new();
    let (one, other) = (open(&place).await, open(&place).await);
    add(&one, "a").await;
    add(&other, "b").await;
    let mut write = one.write().await.unwrap();
    for resource in ["c", "d"] {
        write.audit(entry(resource)).await.unwrap();
    }
    write.commit().await.unwrap();
    add(&other, "e").await;
    let events = chained(&one).await;
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event.epoch == EPOCH));
    let head = one.read().await.unwrap().head().await.unwrap();
    let last = events[4].clone();
    let time = last.entry.time;
    assert_eq!(head, Head { epoch: EPOCH.into(), revision: 3, sequence: 5, mac: last.mac, time });
}

#[tokio::test]
async fn events_from_before_there_was_a_chain_are_chained_and_that_is_told() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    for _ in 0..3 {
        add(&database, "").await;
        run(&database, "DELETE FROM things").await;
    }
    // As the release before left it.
    run(&database, "UPDATE audit_events SET epoch = '', mac = '', cluster = ''").await;
    run(&database, "DELETE FROM history").await;
    database.close().await;

    let database = open(&place).await;
    let events = chained(&database).await;
    assert_eq!(events.len(), 4);
    let told = &events[3].entry;
    assert_eq!((told.principal.as_str(), told.action.as_str()), ("test", BEGIN_CHAIN));
    assert_eq!(told.details["events"], "3");
    database.close().await;
    let database = open(&place).await;
    assert_eq!(chained(&database).await.len(), 4, "once only");
}

#[tokio::test]
async fn the_schema_of_the_release_before_is_taken_over() {
    let place = TestDatabase::sqlite();
    let mut old = sqlx::migrate!();
    old.migrations.to_mut().retain(|step| step.version == 1);
    old.dangerous_set_table_name("_shared_migrations");
    let path = format!("sqlite://{}?mode=rwc", place.file().unwrap().display());
    let mut connection = SqliteConnection::connect(&path).await.unwrap();
    old.run_direct(None, &mut connection, false).await.unwrap();
    let insert = "INSERT INTO audit_events VALUES (1, 5, 'p', 'FetchPullSecret', 'r', '{\"cluster\":\"clusters/dev\"}', 0)";
    sqlx::query(insert).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let database = open(&place).await;
    assert_eq!(chained(&database).await.len(), 2);
    let mut read = database.read().await.unwrap();
    let events = read.audit_events_of_cluster("clusters/dev", "FetchPullSecret", 0, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn an_epoch_begins_with_the_event_that_tells_of_it() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    add(&database, "a").await;
    let mut write = database.write().await.unwrap();
    write.begin_epoch("second-epoch").await.unwrap();
    write.audit(entry("b")).await.unwrap();
    assert_eq!(write.head().await.unwrap().epoch, "second-epoch");
    write.commit().await.unwrap();
    let events = chained(&database).await;
    assert_eq!(events.iter().map(|event| event.epoch.as_str()).collect::<Vec<_>>(), [EPOCH, "second-epoch"]);
    database.close().await;
    assert_eq!(open(&place).await.read().await.unwrap().head().await.unwrap().epoch, "second-epoch");
}

#[tokio::test]
async fn an_event_that_was_altered_moved_or_cut_off_is_not_chained() {
    let place = TestDatabase::new();
    let database = open(&place).await;
    for resource in ["a", "b", "c"] {
        add(&database, resource).await;
    }
    let is_chained = async |sequence| database.read().await.unwrap().is_chained(sequence).await.unwrap();
    for (sequence, chained) in [(0, true), (1, true), (2, true), (3, true), (4, false)] {
        assert_eq!(is_chained(sequence).await, chained, "{sequence}");
    }
    run(&database, "UPDATE audit_events SET principal = 'x' WHERE sequence = 3").await;
    assert!(is_chained(2).await && !is_chained(3).await);
    run(&database, "DELETE FROM audit_events WHERE sequence = 1").await;
    assert!(!is_chained(2).await);
}

#[tokio::test]
async fn the_newest_events_and_those_of_a_cluster_are_found_without_reading_all() {
    let place = TestDatabase::sqlite();
    let database = open(&place).await;
    let mut write = database.write().await.unwrap();
    for n in 0..6 {
        let mut entry = entry("secretLinks/web");
        entry.time = from_micros(n);
        if n % 2 == 0 {
            entry.details.insert("cluster".into(), "clusters/dev".into());
        }
        write.audit(entry).await.unwrap();
    }
    write.commit().await.unwrap();
    let mut read = database.read().await.unwrap();
    let sequences = |events: Vec<AuditEvent>| events.iter().map(|event| event.sequence).collect::<Vec<_>>();
    let newest = read.audit_events(Events::Before(i64::MAX), 2).await.unwrap();
    assert_eq!(sequences(newest), [6, 5]);
    assert_eq!(sequences(read.audit_events(Events::Before(5), 2).await.unwrap()), [4, 3]);
    let of_cluster = read.audit_events_of_cluster("clusters/dev", "Add", 1, 10).await.unwrap();
    assert_eq!(sequences(of_cluster), [3, 5]);
    let plan = "EXPLAIN QUERY PLAN SELECT details FROM audit_events \
                WHERE cluster = $1 AND cluster <> '' AND action = $2 AND sequence > $3 ORDER BY sequence LIMIT $4";
    let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan).fetch_all(read.connection()).await.unwrap();
    assert!(plan.len() == 1 && plan[0].3.contains("audit_events_by_cluster"), "{plan:?}");
}
