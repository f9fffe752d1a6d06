//! Key-encryption keys: rotation under load and over kill -9, a KMS plugin that goes and comes, and what a backup opens.

mod backup;
mod load;
mod plugin;
mod rotation;

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{LoneStore, command::Output};
use serde_json::Value;
use toml::{Table, toml};

/// Writes a key file, and has it seal; the former one opens.
fn seal_with_new_file(folder: &Path, config: &mut Table, name: &str, key: u8) {
    let file = folder.join(name);
    std::fs::write(&file, BASE64_STANDARD.encode([key; 32])).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let section = config["key_encryption"].as_table_mut().unwrap();
    let former = section.insert("file".into(), file.to_str().unwrap().into()).unwrap();
    section.insert("others".into(), vec![former].into());
}

/// Has a plugin keep the keys, and no file.
fn seal_with_plugin(config: &mut Table, socket: &Path) {
    let mut section = toml! { provider = "kms" timeout_seconds = 2 };
    section.insert("socket".into(), socket.to_str().unwrap().into());
    config.insert("key_encryption".into(), section.into());
}

async fn keys(store: &LoneStore, verb: &str) -> Output {
    store.pullpass.cli(&["keys", verb, "-o", "json"]).await
}

/// How many versions hang on the current key, and on former ones.
async fn hanging(store: &LoneStore) -> (i64, i64) {
    let status = keys(store, "status").await.ok().json();
    let of = |current: bool| -> i64 {
        let keys = status["keys"].as_array().unwrap().iter().filter(|key| key["current"] == current);
        keys.map(|key| key["versions"].as_i64().unwrap()).sum()
    };
    (of(true), of(false))
}

fn texts(array: &Value) -> Vec<&str> {
    array.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}
