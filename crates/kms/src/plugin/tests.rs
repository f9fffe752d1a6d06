use tempfile::TempDir;

use super::*;
use crate::testing::TestPlugin;

const TIMEOUT: Duration = Duration::from_millis(300);

fn started() -> (TempDir, TestPlugin, Plugin) {
    let folder = TempDir::new().unwrap();
    let plugin = TestPlugin::start(&folder.path().join("kms.sock"), "k1");
    let client = Plugin::new(plugin.socket(), TIMEOUT);
    (folder, plugin, client)
}

#[tokio::test]
async fn what_a_plugin_encrypts_it_decrypts_after_its_key_has_changed_too() {
    let (_folder, plugin, client) = started();
    assert_eq!(client.status().await.unwrap(), "k1");
    let encrypted = client.encrypt("u", b"key").await.unwrap();
    assert_eq!((encrypted.key_id.as_str(), encrypted.annotations.len()), ("k1", 1));
    plugin.change(|behaviour| behaviour.key_id = "k2".into());
    assert_eq!(client.status().await.unwrap(), "k2");
    assert_eq!(**client.decrypt("u", &encrypted).await.unwrap(), *b"key");
    plugin.change(|behaviour| behaviour.destroyed.push("k1".into()));
    let error = client.decrypt("u", &encrypted).await.unwrap_err().to_string();
    assert!(error.contains("Decrypt failed") && error.contains("k1"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_forgets_an_annotation_is_told_it_again() {
    let (_folder, _plugin, client) = started();
    let encrypted = client.encrypt("u", b"key").await.unwrap();
    let without = Encrypted { annotations: BTreeMap::new(), ..encrypted };
    assert!(matches!(client.decrypt("u", &without).await, Err(Error::Call { .. })));
}

#[tokio::test]
async fn a_slow_plugin_is_given_up_in_time() {
    let (_folder, plugin, client) = started();
    plugin.change(|behaviour| behaviour.delay = Duration::from_mins(1));
    let began = std::time::Instant::now();
    for result in [client.status().await.map(drop), client.encrypt("u", b"key").await.map(drop)] {
        assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_plugin_that_vanishes_is_found_again_when_it_returns() {
    let (folder, plugin, client) = started();
    client.status().await.unwrap();
    plugin.stop();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, Error::Call { method: "Status", .. } | Error::Timeout { .. }), "{error}");
    plugin.resume();
    assert_eq!(client.status().await.unwrap(), "k1");
    let nowhere = Plugin::new(&folder.path().join("absent.sock"), TIMEOUT);
    let error = nowhere.status().await.unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_is_not_well_or_changes_its_version_is_not_believed() {
    let (_folder, plugin, client) = started();
    client.status().await.unwrap();
    plugin.change(|behaviour| behaviour.healthz = "the HSM is locked".into());
    let error = client.status().await.unwrap_err().to_string();
    assert!(error.contains("the HSM is locked"), "{error}");
    plugin.change(|behaviour| (behaviour.healthz, behaviour.version) = ("ok".into(), "v2beta1".into()));
    assert!(matches!(client.status().await, Err(Error::VersionChanged { .. })));
}

#[test]
fn debug_shows_no_key() {
    let texts = [
        format!("{:?}", v2::EncryptRequest { plaintext: b"fake-canary".into(), uid: "u".into() }),
        format!("{:?}", v2::DecryptResponse { plaintext: b"fake-canary".into() }),
    ];
    for text in texts {
        assert!(!text.contains("fake-canary") && !text.contains("102, 97, 107"), "{text}");
    }
}
