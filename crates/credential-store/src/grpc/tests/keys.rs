//! Key-encryption keys: what happens when they change, when their provider goes, and when they are destroyed.

mod plugin;
mod shredded;

use pullpass_api::credential::v1::{KeyEncryptionKey, KeyProvider};
use tonic::Code;

use super::*;
use crate::testing::write_key;

/// Makes another key file the one that seals; the former one opens.
async fn with_new_file(fixture: Fixture, name: &str, key: u8) -> Fixture {
    let file = fixture.folder.path().join(name);
    write_key(&file, &[key; 32]);
    fixture.clock.advance(time::Duration::SECOND);
    let fixture = fixture.reconfigured(|config| {
        let former = config.key_encryption.file.replace(file);
        config.key_encryption.others.extend(former);
    });
    fixture.await
}

async fn tamper(fixture: &Fixture, sql: &'static str) {
    let mut write = fixture.grpc.credentials.database.write().await.unwrap();
    sqlx::query(sql).execute(write.connection()).await.unwrap();
    write.commit().await.unwrap();
}

/// Current or not, and how many versions hang on it, oldest first.
async fn hanging(fixture: &Fixture) -> Vec<(bool, i64)> {
    fixture.key_status().await.keys.iter().map(|key| (key.current, key.versions)).collect()
}

#[tokio::test]
async fn rotation_rewraps_every_data_key_and_touches_no_material() {
    let fixture = Fixture::new().await;
    for id in ["a", "b", "c"] {
        fixture.create(id, &format!("{id}-1")).await;
        fixture.rotate(id, &format!("{id}-2")).await;
    }
    destroy(&fixture, "c", 1).await.unwrap();
    let ciphertexts = async |fixture: &Fixture| -> Vec<(Option<Vec<u8>>,)> {
        let mut read = fixture.grpc.credentials.database.read().await.unwrap();
        let select = "SELECT ciphertext FROM credential_versions ORDER BY uid, version";
        sqlx::query_as(select).fetch_all(read.connection()).await.unwrap()
    };
    let before = ciphertexts(&fixture).await;
    assert_eq!(hanging(&fixture).await, [(true, 5)]);

    let fixture = with_new_file(fixture, "new", 8).await;
    assert_eq!(hanging(&fixture).await, [(false, 5), (true, 0)]);
    fixture.rotate("a", "a-3").await;
    assert_eq!(fixture.password("b").await.unwrap(), "b-2", "what hangs on the former key opens");
    assert_eq!(fixture.rewrap_all().await, (5, vec![]));
    assert_eq!(hanging(&fixture).await, [(false, 0), (true, 6)]);
    let after: Vec<_> = ciphertexts(&fixture).await;
    assert!(before.iter().all(|ciphertext| after.contains(ciphertext)), "material was touched");

    let fixture = fixture.reconfigured(|config| config.key_encryption.others.clear()).await;
    for (id, password) in [("a", "a-3"), ("b", "b-2"), ("c", "c-2")] {
        assert_eq!(fixture.password(id).await.unwrap(), password);
    }
    assert_eq!(hanging(&fixture).await, [(true, 6)], "a file that is named no more is history");
}

#[tokio::test]
async fn the_status_tells_provider_keys_and_when_they_were_made() {
    let fixture = Fixture::new().await;
    let made = Some(pullpass_api::convert::timestamp(fixture.clock.clock().now()));
    fixture.clock.advance(time::Duration::HOUR);
    fixture.create("a", "pw").await;
    let status = fixture.key_status().await;
    let id = status.keys[0].id.clone();
    let expected = KeyEncryptionKey {
        provider: KeyProvider::File.into(),
        provider_key_id: id.clone(),
        id,
        create_time: made,
        current: true,
        loaded: true,
        versions: 1,
    };
    assert_eq!((status.provider(), status.problem.as_str()), (KeyProvider::File, ""));
    assert_eq!(status.keys, [expected]);
}

#[tokio::test]
async fn every_batch_is_told_in_the_audit_trail_and_changes_no_revision() {
    let fixture = Fixture::new().await;
    fixture.create("a", "one").await;
    let former = fixture.key_status().await.keys[0].id.clone();
    let fixture = with_new_file(fixture, "new", 8).await;
    fixture.rewrap_all().await;
    let events = fixture.audit().await.split_off(1);
    let status = fixture.key_status().await;
    let current = status.keys.iter().find(|key| key.current).unwrap();
    for (event, expected) in
        events.iter().zip([&[("from", former.as_str()), ("rewrapped", "1")][..], &[("rewrapped", "0")]])
    {
        assert_eq!(
            (event.entry.action.as_str(), event.entry.principal.as_str()),
            ("RewrapDataKeys", PLATFORM)
        );
        assert_eq!(event.entry.resource, format!("keyEncryptionKeys/{}", current.id));
        let details: Vec<_> = event.entry.details.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(details, expected);
        assert_eq!(event.revision, 0);
    }
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn without_an_audit_event_nothing_is_rewrapped() {
    let fixture = Fixture::new().await;
    fixture.create("a", "pw").await;
    let fixture = with_new_file(fixture, "new", 8).await;
    fixture.refuse_audit().await;
    assert_refused(fixture.rewrap().await, Code::Internal, "DATABASE_FAILED");
    assert_eq!(hanging(&fixture).await, [(false, 1), (true, 0)]);
}

#[tokio::test]
async fn batches_are_small_and_the_rest_is_there_for_the_next_one_after_a_restart_too() {
    let fixture = Fixture::new().await;
    fixture.create("a", "pw").await;
    for _ in 0..300 {
        fixture.rotate("a", "pw").await;
    }
    let fixture = with_new_file(fixture, "new", 8).await;
    let first = fixture.rewrap().await.unwrap();
    assert_eq!((first.rewrapped, first.done), (256, false));
    let fixture = fixture.restarted().await;
    assert_eq!(hanging(&fixture).await, [(false, 45), (true, 256)]);
    assert_eq!(fixture.rewrap_all().await.0, 45);
}

#[tokio::test]
async fn what_is_destroyed_while_it_is_rewrapped_stays_destroyed() {
    let fixture = Fixture::new().await;
    fixture.create("a", "one").await;
    fixture.rotate("a", "two").await;
    fixture.create("b", "one").await;
    let fixture = with_new_file(fixture, "new", 8).await;
    // Between the reading of a batch and its writing.
    let database = &fixture.grpc.credentials.database;
    let status = fixture.key_status().await;
    let [from, to] = &status.keys[..] else { panic!("two keys") };
    let mut read = database.read().await.unwrap();
    let batch = crate::store::wrapped_by(read.connection(), &from.id, 10).await.unwrap();
    drop(read);
    assert_eq!(batch.len(), 3);
    destroy(&fixture, "a", 1).await.unwrap();
    delete(&fixture, "b", "").await.unwrap();
    let mut write = database.write().await.unwrap();
    let mut done = 0;
    for wrapped in &batch {
        let rewrapped = crate::store::rewrap(write.connection(), wrapped, &to.id, &wrapped.data_key).await;
        done += usize::from(rewrapped.unwrap());
    }
    write.commit().await.unwrap();
    assert_eq!(done, 1, "only the version that is still there");
    let versions = fixture.get("a").await.unwrap().versions;
    assert!(versions[1].destroy_time.is_some());
    assert_eq!(hanging(&fixture).await, [(false, 0), (true, 1)]);
}

#[tokio::test]
async fn a_damaged_data_key_does_not_hold_up_the_others_and_is_named_in_the_end() {
    let fixture = Fixture::new().await;
    for id in ["a", "b", "c"] {
        fixture.create(id, "pw").await;
    }
    let fixture = with_new_file(fixture, "new", 8).await;
    tamper(
        &fixture,
        "UPDATE credential_versions SET data_key = \
         (SELECT data_key FROM credential_versions WHERE uid = (SELECT uid FROM credentials WHERE name = 'credentials/a')) \
         WHERE uid = (SELECT uid FROM credentials WHERE name = 'credentials/b')",
    )
    .await;
    assert_eq!(fixture.rewrap().await.unwrap().rewrapped, 2);
    let error = fixture.rewrap().await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::DataLoss, "MATERIAL_UNREADABLE"));
    assert!(error.message().contains("credentials/b"), "{}", error.message());
    delete(&fixture, "b", "").await.unwrap();
    assert!(fixture.rewrap().await.unwrap().done);
}

#[tokio::test]
async fn a_database_of_before_the_formats_is_brought_up_to_date_and_opens() {
    let fixture = Fixture::on_file().await;
    fixture.create("quay", "pw").await;
    fixture.grpc.credentials.database.close().await;
    let path = fixture.folder.path().join("old.db");
    crate::testing::make_database_of_format_1(&path, &[7; 32], "pw-1", "pw-2").await;
    let database = pullpass_database::DatabaseConfig::sqlite(&path).unwrap();
    let fixture = fixture.reconfigured(|config| config.database = database).await;
    assert_eq!(fixture.password("old").await.unwrap(), "pw-2");
    assert_eq!(hanging(&fixture).await, [(true, 2)]);
    let fixture = with_new_file(fixture, "new", 8).await;
    assert_eq!(fixture.rewrap_all().await.0, 2);
    let fixture = fixture.reconfigured(|config| config.key_encryption.others.clear()).await;
    assert_eq!(fixture.password("old").await.unwrap(), "pw-2");
    fixture.rotate("old", "pw-3").await;
    assert_eq!(fixture.password("old").await.unwrap(), "pw-3");
}

#[tokio::test]
async fn entries_that_were_altered_are_noticed_when_the_material_is_opened() {
    let fixture = Fixture::new().await;
    fixture.create("quay", "pw").await;
    tamper(&fixture, "UPDATE credential_versions SET entries = replace(entries, 'robot', 'other')").await;
    assert_refused(fixture.password("quay").await, Code::DataLoss, "MATERIAL_UNREADABLE");
}
