//! What only a file promises.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use super::{add, config, migrations, open, try_open};
use crate::{DatabaseConfig, Error};
use pullpass_test_database::TestDatabase;

fn folder(place: &TestDatabase) -> &Path {
    place.file().unwrap().parent().unwrap()
}

#[tokio::test]
async fn the_files_are_their_owners_alone() {
    let place = TestDatabase::sqlite();
    let database = open(&place).await;
    add(&database, "a").await;
    let mut files = 0;
    for entry in std::fs::read_dir(folder(&place)).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log and its index");
}

#[tokio::test]
async fn what_is_deleted_and_scrubbed_is_in_no_file() {
    const CANARY: &str = "fake-canary-in-the-database";
    let place = TestDatabase::sqlite();
    let database = open(&place).await;
    let is_on_disk = || {
        std::fs::read_dir(folder(&place)).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
        })
    };
    let mut write = database.write().await.unwrap();
    let insert = sqlx::query("INSERT INTO things (name) VALUES ($1)").bind(CANARY);
    insert.execute(write.connection()).await.unwrap();
    write.commit().await.unwrap();
    let mut write = database.write().await.unwrap();
    assert!(is_on_disk(), "the search works");
    sqlx::query("DELETE FROM things").execute(write.connection()).await.unwrap();
    write.commit().await.unwrap();
    assert!(is_on_disk(), "a deletion alone leaves it in the log");
    assert!(database.scrub().await.unwrap());
    assert!(!is_on_disk());
}

#[tokio::test]
async fn a_full_disk_fails_the_write_and_not_the_next_one() {
    let place = TestDatabase::sqlite();
    let database = open(&place).await;
    let mut write = database.write().await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(write.connection()).await.unwrap();
    let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 1));
    sqlx::query(limit).execute(write.connection()).await.unwrap();
    let insert = sqlx::query("INSERT INTO things (name) VALUES ($1)").bind("x".repeat(100_000));
    let full = insert.execute(write.connection()).await.unwrap_err();
    assert!(full.to_string().contains("full"), "{full}");
    drop(write);
    let mut write = database.write().await.unwrap();
    sqlx::query("PRAGMA max_page_count = 100000").execute(write.connection()).await.unwrap();
    drop(write);
    assert_eq!(add(&database, "fits").await, 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let place = TestDatabase::sqlite();
    std::fs::write(place.file().unwrap(), "this is no database, whatever its name says").unwrap();
    let error = try_open(&config(&place), &migrations()).await.unwrap_err();
    assert!(matches!(error, Error::Open { .. }) && error.to_string().contains("test.db"), "{error:?}");
    let nowhere = DatabaseConfig::sqlite(&folder(&place).join("absent/test.db")).unwrap();
    assert!(matches!(try_open(&nowhere, &migrations()).await, Err(Error::Create { .. })));
}
