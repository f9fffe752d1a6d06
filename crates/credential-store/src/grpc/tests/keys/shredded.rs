//! Destroyed is destroyed: in the database, and once the former key is gone in every copy that was made before.

use std::path::Path;

use pullpass_database::DatabaseConfig;

use super::{
    super::material::{is_on_disk, sealed},
    *,
};

/// The passwords that the service opens from a copy of the database with these key files.
async fn opened(fixture: &Fixture, copy: &Path, files: &[&str]) -> Result<Vec<String>, String> {
    let mut config = fixture.config.clone();
    config.database = DatabaseConfig::sqlite(copy).unwrap();
    let mut files = files.iter().map(|file| fixture.folder.path().join(file));
    config.key_encryption.file = files.next();
    config.key_encryption.others = files.collect();
    let grpc = crate::app::compose(&config, fixture.clock.clock(), &fixture.shutdown).await;
    let (grpc, _) = grpc.map_err(|error| error.to_string())?;
    let mut passwords = Vec::new();
    let mut read = grpc.credentials.database.read().await.unwrap();
    for head in crate::store::heads(read.connection()).await.unwrap() {
        let id = head.name.strip_prefix("credentials/").unwrap();
        let request = wire::FetchPullSecretRequest { ticket: fixture.sign(&fixture.claims(&[id])) };
        let request = crate::testing::request(&crate::testing::applier(), request);
        let data = grpc.fetch_pull_secret(request).await.map_err(|status| reason(&status))?.into_inner().data;
        let config: serde_json::Value = serde_json::from_slice(&data).unwrap();
        passwords.push(config["auths"]["quay.io"]["password"].as_str().unwrap().to_owned());
    }
    drop(read);
    grpc.credentials.database.close().await;
    Ok(passwords)
}

#[tokio::test]
async fn yesterdays_backup_opens_nothing_once_the_former_key_is_destroyed() {
    let fixture = Fixture::on_file().await;
    fixture.create("destroyed", "shredded-1").await;
    fixture.create("deleted", "shredded-2").await;
    let backup = fixture.backup("backup.db");
    fixture.rotate("destroyed", "kept").await;
    destroy(&fixture, "destroyed", 1).await.unwrap();
    delete(&fixture, "deleted", "").await.unwrap();
    let fixture = with_new_file(fixture, "new", 8).await;
    fixture.rewrap_all().await;

    let with_both = opened(&fixture, &backup, &["new", "kek"]).await;
    assert_eq!(with_both.unwrap(), ["shredded-2", "shredded-1"], "the control: with the former key it opens");
    std::fs::remove_file(fixture.folder.path().join("kek")).unwrap();
    let fixture = fixture.reconfigured(|config| config.key_encryption.others.clear()).await;
    assert_eq!(fixture.password("destroyed").await.unwrap(), "kept", "the service goes on");
    let refused = opened(&fixture, &backup, &["new"]).await.unwrap_err();
    assert!(refused.contains("does not fit the database"), "{refused}");
}

/// Not the start alone refuses: the bytes do not open either, whatever the copy is made to say of its keys.
#[tokio::test]
async fn a_copy_that_is_made_to_name_the_new_key_opens_nothing() {
    let fixture = Fixture::on_file().await;
    fixture.create("quay", "pw").await;
    let backup = fixture.backup("backup.db");
    let fixture = with_new_file(fixture, "new", 8).await;
    fixture.rewrap_all().await;
    let status = fixture.key_status().await;
    let new = &status.keys.iter().find(|key| key.current).unwrap().id;
    let copy = crate::testing::open_database(&backup, &sqlx::migrate!()).await;
    let mut write = copy.write().await.unwrap();
    for forge in [
        "INSERT INTO key_encryption_keys (id, provider, provider_key_id, annotations, create_time) \
         VALUES ($1, 'file', $1, '{}', 0)",
        "UPDATE credential_versions SET key_id = $1",
    ] {
        sqlx::query(forge).bind(new).execute(write.connection()).await.unwrap();
    }
    write.commit().await.unwrap();
    copy.close().await;
    assert_eq!(opened(&fixture, &backup, &["new"]).await.unwrap_err(), "MATERIAL_UNREADABLE");
}

#[tokio::test]
async fn with_a_kms_it_is_the_same() {
    let (fixture, plugin) = Fixture::on_file().await.plugged_in().await;
    fixture.create("quay", "shredded").await;
    let backup = fixture.backup("backup.db");
    delete(&fixture, "quay", "").await.unwrap();
    fixture.create("other", "kept").await;
    plugin.change(|behaviour| behaviour.key_id = "k2".into());
    assert_eq!(fixture.rewrap_all().await, (1, vec!["k1".to_owned()]));
    let from_backup = async |fixture: Fixture| {
        let database = DatabaseConfig::sqlite(&backup).unwrap();
        let fixture = fixture.reconfigured(|config| config.database = database).await;
        let _ = fixture.grpc.credentials.keys.ask().await;
        (fixture.password("quay").await, fixture)
    };
    let (password, fixture) = from_backup(fixture).await;
    assert_eq!(password.unwrap(), "shredded", "the control: while the KMS has its former key");
    plugin.change(|behaviour| behaviour.destroyed.push("k1".into()));
    let (password, _fixture) = from_backup(fixture).await;
    assert_refused(password, Code::Unavailable, "KEY_PROVIDER_UNAVAILABLE");
}

/// Whoever has the former key and comes by the database later shall find nothing that it opens.
#[tokio::test]
async fn of_the_former_wrapping_nothing_is_left_in_any_file() {
    let fixture = Fixture::on_file().await;
    fixture.create("quay", "one").await;
    fixture.rotate("quay", "two").await;
    let before = sealed(&fixture).await;
    let fixture = with_new_file(fixture, "new", 8).await;
    fixture.rewrap_all().await;
    let after = sealed(&fixture).await;
    for ((former, _), (now, ciphertext)) in before.iter().zip(&after) {
        assert!(!is_on_disk(&fixture, former), "the former wrapping is still there");
        assert!(is_on_disk(&fixture, now) && is_on_disk(&fixture, ciphertext), "the control");
    }
}
