use std::path::Path;

use e2e::{LoneStore, eventually, pullpass::Service, wait::seen};
use pullpass_api::credential::v1::{DeleteCredentialRequest, DestroyCredentialVersionRequest};

use super::{keys, seal_with_new_file};

/// The database as a backup has it, taken while the service runs, with the state file of that moment: whoever steals a
/// backup makes one that fits.
fn copy_database(store: &LoneStore, name: &str) -> std::path::PathBuf {
    let (file, copy) = (store.pullpass.state().database(Service::CredentialStore), store.folder().join(name));
    copy_files(&file, &copy);
    std::fs::copy(store.pullpass.state().state_file(Service::CredentialStore), state_file(&copy)).unwrap();
    copy
}

fn copy_files(file: &Path, copy: &Path) {
    for suffix in ["", "-wal"] {
        std::fs::copy(format!("{}{suffix}", file.display()), format!("{}{suffix}", copy.display())).unwrap();
    }
}

fn state_file(copy: &Path) -> std::path::PathBuf {
    copy.with_extension("json")
}

/// Starts the service on another database and with these key files.
fn point_to(store: &LoneStore, database: &Path, state_file: &Path, files: &[&Path]) {
    let change = |_: &Path, config: &mut toml::Table| {
        config["database"]["url"] = format!("sqlite://{}", database.display()).into();
        config["audit"]["state_file"] = state_file.to_str().unwrap().into();
        let (file, others) = files.split_first().unwrap();
        let section = config["key_encryption"].as_table_mut().unwrap();
        section.insert("file".into(), file.to_str().unwrap().into());
        let others: Vec<_> = others.iter().map(|other| toml::Value::from(other.to_str().unwrap())).collect();
        section.insert("others".into(), others.into());
    };
    store.reconfigure(change).unwrap();
}

#[tokio::test]
async fn what_was_destroyed_is_in_no_backup_once_the_former_key_is_gone() {
    let store = LoneStore::start("keys-backup", |_, _| {}).await.expect("credential-store starts");
    let caller = store.caller();
    caller.create("destroyed", "fake-shredded").await.expect("it is created");
    caller.create("deleted", "fake-deleted").await.expect("it is created");
    let backup = copy_database(&store, "backup.db");
    caller.rotate("destroyed", "fake-kept").await.expect("it is rotated");
    let destroy = DestroyCredentialVersionRequest { name: "credentials/destroyed".into(), version: 1 };
    caller.platform().destroy_credential_version(destroy).await.expect("it is destroyed");
    let delete = DeleteCredentialRequest { name: "credentials/deleted".into(), ..Default::default() };
    caller.platform().delete_credential(delete).await.expect("it is deleted");

    let former = store.pullpass.state().dir().join("keys/key-encryption.key");
    store.reconfigure(|folder, config| seal_with_new_file(folder, config, "new.key", 8)).unwrap();
    store.restart().await;
    let rotated = keys(&store, "rotate").await.ok();
    assert!(rotated.stderr.contains("make a backup first"), "{}", rotated.stderr);
    let (new, live) =
        (store.folder().join("new.key"), store.pullpass.state().database(Service::CredentialStore));

    let live_state = store.pullpass.state().state_file(Service::CredentialStore);

    // The control: with the former key the backup opens.
    let control = copy_of(&backup);
    point_to(&store, &control, &state_file(&control), &[&new, &former]);
    store.restart().await;
    assert_eq!(caller.fetch("destroyed").await.expect("it opens"), "fake-shredded");
    assert_eq!(caller.fetch("deleted").await.expect("it opens"), "fake-deleted");

    std::fs::remove_file(&former).unwrap();
    point_to(&store, &live, &live_state, &[&new]);
    store.restart().await;
    assert_eq!(caller.fetch("destroyed").await.expect("the service goes on"), "fake-kept");
    point_to(&store, &backup, &state_file(&backup), &[&new]);
    store.pullpass.kill9(Service::CredentialStore);
    store.pullpass.launch(Service::CredentialStore).unwrap();
    eventually("the service refuses the backup", async || {
        let ended = store.pullpass.ended(Service::CredentialStore);
        seen(ended.is_some_and(|status| !status.success()), ended)
    })
    .await;
    let said = store.pullpass.tail(Service::CredentialStore, 3);
    assert!(said.contains("does not fit the database") && said.contains("the file key"), "{said}");
}

fn copy_of(backup: &Path) -> std::path::PathBuf {
    let copy = backup.with_file_name("control.db");
    copy_files(backup, &copy);
    std::fs::copy(state_file(backup), state_file(&copy)).unwrap();
    copy
}
