use e2e::{LoneStore, eventually, pullpass::Service, wait::seen};
use pullpass_api::credential::v1::GetCredentialRequest;
use pullpass_kms::testing::TestPlugin;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt as _;

use super::{keys, seal_with_plugin};
use crate::trust::reason;

async fn with_plugin(name: &str) -> (LoneStore, TestPlugin) {
    let mut plugin = None;
    let store = LoneStore::start(name, |folder, config| {
        let started = TestPlugin::start(&folder.join("kms.sock"), "k1");
        seal_with_plugin(config, started.socket());
        plugin = Some(started);
    });
    (store.await.expect("credential-store starts"), plugin.expect("the plugin"))
}

fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.expect_err("the plugin is away");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "KEY_PROVIDER_UNAVAILABLE"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some(), "{status:?}");
}

#[tokio::test]
async fn a_plugin_may_go_and_come_and_without_it_a_start_says_so_and_waits() {
    let (store, plugin) = with_plugin("keys-plugin").await;
    let caller = store.caller();
    caller.create("a", "fake-one").await.expect("it is sealed");
    plugin.stop();
    assert_eq!(caller.fetch("a").await.expect("what is in memory opens"), "fake-one");
    caller.rotate("a", "fake-two").await.expect("and seals for 3 minutes");
    let status = keys(&store, "status").await.ok();
    assert!(status.json()["problem"].as_str().unwrap().contains("No such file"), "{}", status.stdout);
    assert!(status.stderr.contains("not well, last well 20"), "{}", status.stderr);
    assert_eq!(keys(&store, "rotate").await.code, 1, "there is no telling whether the key is still the same");
    assert_eq!(store.pullpass.health_status(Service::CredentialStore).await, Ok(ServingStatus::Serving));

    store.pullpass.kill9(Service::CredentialStore);
    store.pullpass.launch(Service::CredentialStore).unwrap();
    eventually("the service runs and is not healthy", async || {
        let health = store.pullpass.health_status(Service::CredentialStore).await?;
        seen(health == ServingStatus::NotServing, health)
    })
    .await;
    let caller = store.caller();
    assert_unavailable(caller.fetch("a").await);
    assert_unavailable(caller.create("b", "fake").await);
    assert_unavailable(caller.rotate("a", "fake").await);
    let get = GetCredentialRequest { name: "credentials/a".into() };
    caller.platform().get_credential(get).await.expect("what needs no key is served");

    plugin.resume();
    store.pullpass.wait_until_healthy(Service::CredentialStore).await.expect("by itself");
    assert_eq!(caller.fetch("a").await.expect("it opens"), "fake-two");
    caller.create("b", "fake").await.expect("and seals");
}

#[tokio::test]
async fn a_slow_plugin_holds_up_nobody() {
    let (store, plugin) = with_plugin("keys-slow").await;
    let caller = store.caller();
    caller.create("a", "fake-one").await.expect("it is sealed");
    plugin.change(|behaviour| behaviour.delay = std::time::Duration::from_mins(10));
    let asking = keys(&store, "status");
    let calling = async {
        let mut slowest = std::time::Duration::ZERO;
        for _ in 0..50 {
            let began = std::time::Instant::now();
            caller.rotate("a", "fake-two").await.expect("it is sealed");
            caller.fetch("a").await.expect("it opens");
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let (status, slowest) = tokio::join!(asking, calling);
    assert!(status.ok().json()["problem"].as_str().unwrap().contains("not answered within 2 s"));
    assert!(slowest < std::time::Duration::from_millis(1500), "a call took {slowest:?}");
}
