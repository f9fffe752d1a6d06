//! A real KMS v2 plugin over a Unix socket: its key id, its health, its absence and its lies.

use pullpass_kms::testing::Calls;
use tonic_types::StatusExt;

use super::*;
use crate::testing::kms;

async fn ask(fixture: &Fixture) -> Result<(), String> {
    fixture.grpc.credentials.keys.ask().await.map_err(|error| error.to_string())
}

fn is_ready(fixture: &Fixture) -> bool {
    *fixture.grpc.credentials.keys.ready().borrow()
}

fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, Status>, told: &str) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "KEY_PROVIDER_UNAVAILABLE"));
    assert!(status.message().contains(told), "{}", status.message());
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() > std::time::Duration::ZERO);
}

#[tokio::test]
async fn the_plugin_is_asked_for_keys_and_never_for_records() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    assert_eq!(plugin.calls(), Calls { status: 1, encrypt: 1, decrypt: 1 });
    for number in 0..20 {
        fixture.create(&format!("c{number}"), "pw").await;
        fixture.password(&format!("c{number}")).await.unwrap();
    }
    assert_eq!(plugin.calls(), Calls { status: 1, encrypt: 1, decrypt: 1 });
    let fixture = fixture.restarted().await;
    ask(&fixture).await.unwrap();
    assert_eq!(fixture.password("c7").await.unwrap(), "pw");
    assert_eq!(
        plugin.calls(),
        Calls { status: 2, encrypt: 1, decrypt: 2 },
        "the key is decrypted at the start"
    );
}

#[tokio::test]
async fn a_key_is_made_in_an_audited_transaction_and_lies_in_the_database_only_encrypted() {
    let (fixture, _plugin) = Fixture::with_plugin().await;
    let event = fixture.audit().await.pop().unwrap();
    assert_eq!(
        (event.entry.action.as_str(), event.entry.principal.as_str()),
        ("MakeKeyEncryptionKey", "credential-store")
    );
    assert_eq!(event.entry.details["provider_key_id"], "k1");
    let status = fixture.key_status().await;
    let key = status.keys.iter().find(|key| key.current).unwrap();
    assert_eq!((key.provider(), key.provider_key_id.as_str(), key.versions), (KeyProvider::Kms, "k1", 0));
    assert_eq!(event.entry.resource, format!("keyEncryptionKeys/{}", key.id));
}

#[tokio::test]
async fn a_new_key_id_means_a_new_key_and_rotation_brings_everything_to_it() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    fixture.create("a", "one").await;
    fixture.clock.advance(time::Duration::SECOND);
    plugin.change(|behaviour| behaviour.key_id = "k2".into());
    ask(&fixture).await.unwrap();
    fixture.rotate("a", "two").await;
    let of = |keys: Vec<KeyEncryptionKey>| -> Vec<_> {
        let kms = keys.into_iter().filter(|key| key.provider() == KeyProvider::Kms);
        kms.map(|key| (key.provider_key_id, key.current, key.versions)).collect()
    };
    assert_eq!(of(fixture.key_status().await.keys), [("k1".into(), false, 1), ("k2".into(), true, 1)]);
    assert_eq!(fixture.rewrap_all().await, (1, vec!["k1".to_owned()]));
    assert_eq!(of(fixture.key_status().await.keys), [("k2".into(), true, 2)]);
    plugin.change(|behaviour| behaviour.destroyed.push("k1".into()));
    let fixture = fixture.restarted().await;
    ask(&fixture).await.unwrap();
    assert_eq!(fixture.password("a").await.unwrap(), "two");
}

/// Whoever changed the plugin's key a moment ago and rotates then means the new one.
#[tokio::test]
async fn rotation_is_not_done_before_the_plugin_was_asked_again() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    fixture.create("a", "pw").await;
    plugin.change(|behaviour| behaviour.key_id = "k2".into());
    assert_eq!(fixture.rewrap_all().await, (1, vec!["k1".to_owned()]));
    plugin.stop();
    assert_unavailable(fixture.rewrap().await, "Status failed");
}

#[tokio::test]
async fn a_plugin_that_is_gone_leaves_reads_alone_and_stops_new_material_after_3_minutes() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    fixture.create("a", "one").await;
    plugin.stop();
    ask(&fixture).await.unwrap_err();
    fixture.clock.advance(time::Duration::minutes(3));
    fixture.rotate("a", "two").await;
    fixture.clock.advance(time::Duration::SECOND);
    assert_unavailable(fixture.try_rotate(rotation("a", "three")).await, "new material cannot be sealed");
    assert_unavailable(fixture.try_create(creation("b", "pw")).await, "Status failed");
    assert_eq!(fixture.password("a").await.unwrap(), "two");
    assert!(is_ready(&fixture), "what is stored is served");
    let status = fixture.key_status().await;
    assert!(status.problem.contains("Status failed"), "{}", status.problem);

    plugin.resume();
    ask(&fixture).await.unwrap();
    assert_eq!(fixture.rotate("a", "three").await.version, 3);
    assert_eq!(plugin.calls().encrypt, 1, "the key is the same");
}

#[tokio::test]
async fn without_the_plugin_the_service_starts_says_so_and_serves_when_it_returns() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    fixture.create("a", "pw").await;
    plugin.stop();
    let fixture = fixture.restarted().await;
    assert_unavailable(fixture.try_create(creation("b", "pw")).await, "has not been asked");
    assert_unavailable(fixture.password("a").await, "Status failed");
    assert!(!is_ready(&fixture));
    let event = fixture.audit().await.pop().unwrap();
    assert_eq!(event.entry.details["refused"], "KEY_PROVIDER_UNAVAILABLE");
    assert_unavailable(fixture.try_create(creation("b", "pw")).await, "Status failed");
    assert_eq!(fixture.get("a").await.unwrap().version, 1, "what needs no material is served");
    plugin.resume();
    ask(&fixture).await.unwrap();
    assert!(is_ready(&fixture));
    assert_eq!(fixture.password("a").await.unwrap(), "pw");
}

#[tokio::test]
async fn the_plugin_is_asked_again_by_itself_until_it_is_there() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    fixture.create("a", "pw").await;
    plugin.stop();
    let fixture = fixture.restarted().await;
    let keys = &fixture.grpc.credentials.keys;
    let mut ready = keys.ready();
    keys.follow(&fixture.shutdown);
    plugin.resume();
    let limit = std::time::Duration::from_secs(30);
    tokio::time::timeout(limit, ready.wait_for(|ready| *ready)).await.expect("it comes back").unwrap();
    assert_eq!(fixture.password("a").await.unwrap(), "pw");
    fixture.shutdown.begin();
    fixture.shutdown.finish().await.unwrap();
}

#[tokio::test]
async fn an_encrypt_under_another_key_than_status_says_makes_no_key_and_the_former_goes_on() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    plugin.change(|behaviour| {
        (behaviour.key_id, behaviour.pretended_key_id) = ("k2".into(), Some("k1".into()));
    });
    let problem = ask(&fixture).await.unwrap_err();
    assert!(problem.contains("Status says that the key is \"k2\", and Encrypt used \"k1\""), "{problem}");
    fixture.create("a", "pw").await;
    let keys = fixture.key_status().await.keys;
    assert!(
        keys.iter().any(|key| key.current && key.provider_key_id == "k1" && key.versions == 1),
        "{keys:?}"
    );
    fixture.clock.advance(time::Duration::minutes(4));
    assert_unavailable(fixture.try_create(creation("b", "pw")).await, "Encrypt used");
    plugin.change(|behaviour| behaviour.pretended_key_id = None);
    ask(&fixture).await.unwrap();
    fixture.create("b", "pw").await;
}

#[tokio::test]
async fn nothing_hangs_on_a_key_that_the_plugin_does_not_give_back() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    plugin.change(|behaviour| (behaviour.key_id, behaviour.garbles) = ("k2".into(), true));
    let problem = ask(&fixture).await.unwrap_err();
    assert!(problem.contains("is not the key"), "{problem}");
    assert!(fixture.key_status().await.keys.iter().all(|key| key.provider_key_id != "k2"));
}

#[tokio::test]
async fn a_plugin_that_is_not_well_is_as_good_as_gone() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    plugin.change(|behaviour| behaviour.healthz = "the HSM is locked".into());
    ask(&fixture).await.unwrap_err();
    fixture.clock.advance(time::Duration::minutes(4));
    assert_unavailable(fixture.try_create(creation("a", "pw")).await, "the HSM is locked");
}

#[tokio::test]
async fn one_key_that_the_plugin_has_lost_does_not_keep_the_others_away() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    fixture.create("a", "one").await;
    plugin.change(|behaviour| behaviour.key_id = "k2".into());
    ask(&fixture).await.unwrap();
    fixture.create("b", "two").await;
    plugin.change(|behaviour| behaviour.destroyed.push("k1".into()));
    let fixture = fixture.restarted().await;
    ask(&fixture).await.unwrap_err();
    assert!(!is_ready(&fixture), "something that is stored cannot be opened");
    assert_eq!(fixture.password("b").await.unwrap(), "two");
    assert_unavailable(fixture.password("a").await, "there is no key k1");
    let keys = fixture.key_status().await.keys;
    assert!(
        keys.iter().any(|key| key.provider_key_id == "k1" && !key.loaded && key.versions == 1),
        "{keys:?}"
    );
    assert_unavailable(fixture.rewrap().await, "there is no key k1");
}

#[tokio::test]
async fn from_a_file_to_a_kms_and_back_nothing_is_sealed_anew() {
    let fixture = Fixture::new().await;
    fixture.create("a", "pw").await;
    let plugin = pullpass_kms::testing::TestPlugin::start(&fixture.folder.path().join("kms.sock"), "k1");
    let fixture = fixture.reconfigured(|config| kms(config, plugin.socket())).await;
    assert_eq!(fixture.password("a").await.unwrap(), "pw", "the file opens without the plugin");
    ask(&fixture).await.unwrap();
    assert_eq!(fixture.rewrap_all().await.0, 1);
    let fixture = fixture.reconfigured(|config| config.key_encryption.file = None).await;
    ask(&fixture).await.unwrap();
    assert_eq!(fixture.password("a").await.unwrap(), "pw");

    let file = fixture.folder.path().join("kek");
    let fixture = fixture.reconfigured(|config| {
        config.key_encryption.provider = crate::config::KeyProvider::File;
        config.key_encryption.file = Some(file);
    });
    let fixture = fixture.await;
    assert!(!is_ready(&fixture), "something still hangs on the plugin");
    ask(&fixture).await.unwrap();
    assert_eq!(fixture.rewrap_all().await, (1, vec!["k1".to_owned()]));
    plugin.stop();
    let fixture = fixture.restarted().await;
    assert!(is_ready(&fixture), "nothing hangs on the plugin any more");
    let fixture = fixture.reconfigured(|config| config.key_encryption.socket = None).await;
    assert_eq!(fixture.password("a").await.unwrap(), "pw");
}

#[tokio::test]
async fn a_database_that_hangs_on_a_kms_is_refused_without_one() {
    let (fixture, _plugin) = Fixture::with_plugin().await;
    fixture.create("a", "pw").await;
    let mut config = fixture.config.clone();
    config.key_encryption.provider = crate::config::KeyProvider::File;
    config.key_encryption.socket = None;
    let started = crate::app::compose(&config, fixture.clock.clock(), &fixture.shutdown).await;
    let error = started.unwrap_err().to_string();
    assert!(error.contains("of the KMS key \"k1\"") && error.contains("socket"), "{error}");
}

/// Two processes on one database: what one has made the other fetches, and what one has removed nobody hangs anything on.
#[tokio::test]
async fn a_second_replica_follows_the_keys_of_the_first() {
    let (fixture, plugin) = Fixture::with_plugin().await;
    let (second, _) =
        crate::app::compose(&fixture.config, fixture.clock.clock(), &fixture.shutdown).await.unwrap();
    second.credentials.keys.ask().await.unwrap();
    assert_eq!(plugin.calls().encrypt, 1, "there is one key for one key id");
    plugin.change(|behaviour| behaviour.key_id = "k2".into());
    fixture.create("a", "pw").await;
    fixture.rewrap_all().await;

    let create = async |id: &str| second.create_credential(platform(creation(id, "pw"))).await;
    assert_refused(create("b").await, Code::Unavailable, "KEY_REMOVED");
    let request = wire::FetchPullSecretRequest { ticket: fixture.sign(&fixture.claims(&["a"])) };
    let request = crate::testing::request(&crate::testing::applier(), request);
    second.fetch_pull_secret(request).await.expect("the new key is fetched when it is needed");
    create("b").await.expect("and seals from then on");
    assert_eq!(fixture.password("b").await.unwrap(), "pw");
}
