use std::{sync::atomic::Ordering, time::Duration};

use e2e::{LoneStore, lone_store::Caller, pullpass::Service};
use futures::future::join_all;
use pullpass_api::credential::v1::{ListAuditEventsRequest, RewrapDataKeysRequest, RewrapDataKeysResponse};
use pullpass_kms::testing::TestPlugin;
use tonic::Status;

use super::{hanging, keys, load::Load, seal_with_new_file, seal_with_plugin, texts};
use crate::dice::Dice;

const CREDENTIALS: usize = 40;
const VERSIONS: i64 = 20;
/// How often the plugin's key changes under load; `PULLPASS_ROUNDS` does it more often.
const ROUNDS: usize = 8;
/// The latest moment of a kill, in milliseconds after a batch was acknowledged.
const LATEST: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_under_load_without_a_failed_call() {
    let mut plugin = None;
    let store = LoneStore::start("keys-load", |folder, config| {
        let started = TestPlugin::start(&folder.join("kms.sock"), "k0");
        seal_with_plugin(config, started.socket());
        plugin = Some(started);
    });
    let store = store.await.expect("credential-store starts");
    let plugin = plugin.expect("the plugin");
    let load = Load::prepare(store.caller(), CREDENTIALS, VERSIONS).await;
    let rounds = std::env::var("PULLPASS_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number"));
    let rewrapped = load
        .during(async {
            let mut rewrapped = 0;
            for round in 1..=rounds {
                plugin.change(|behaviour| behaviour.key_id = format!("k{round}"));
                let before = load.calls.load(Ordering::Relaxed);
                let rotated = keys(&store, "rotate").await.ok().json();
                let calls = load.calls.load(Ordering::Relaxed) - before;
                assert!(calls >= 10, "there was no load in round {round}: {calls} calls");
                let former = format!("k{}", round - 1);
                assert_eq!(texts(&rotated["removedProviderKeyIds"]), [&former]);
                plugin.change(|behaviour| behaviour.destroyed.push(former));
                rewrapped += rotated["rewrapped"].as_i64().unwrap();
            }
            rewrapped
        })
        .await;
    let calls = load.calls.load(Ordering::Relaxed);
    println!(
        "{rewrapped} data keys were re-wrapped in {rounds} rotations while {calls} calls were made, none of which failed"
    );
    assert_eq!(hanging(&store).await.1, 0);
    store.restart().await;
    load.everything_is_there().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_a_rotation_loses_nothing_and_the_rest_is_done_afterwards() {
    let store = LoneStore::start("keys-killed", |_, _| {}).await.expect("credential-store starts");
    let load = Load::prepare(store.caller(), CREDENTIALS, VERSIONS * 2).await;
    let versions = i64::try_from(CREDENTIALS).unwrap() * VERSIONS * 2;
    assert_eq!(hanging(&store).await, (versions, 0));
    store.reconfigure(|folder, config| seal_with_new_file(folder, config, "new.key", 8)).unwrap();
    store.restart().await;
    let (mut dice, mut kills) = (Dice::new(), 0);
    loop {
        let before = hanging(&store).await;
        assert_eq!(before.0 + before.1, versions, "no version is lost");
        let killing = async {
            rewrap(&store.caller()).await.expect("one batch");
            tokio::time::sleep(Duration::from_millis(dice.below(LATEST))).await;
            store.pullpass.kill9(Service::CredentialStore);
        };
        // Others call at the same time, so that the kill comes in the midst of a batch.
        tokio::join!(killing, join_all((0..3).map(async |_| until_it_fails(&store.caller()).await)));
        kills += 1;
        store.pullpass.launch_and_wait(Service::CredentialStore).await;
        let after = hanging(&store).await;
        assert!(after.1 < before.1, "what was acknowledged is done: {before:?}, {after:?}");
        if after.1 < 600 {
            break;
        }
    }
    println!("killed {kills} times");
    let rest = hanging(&store).await.1;
    let rotated = keys(&store, "rotate").await.ok().json();
    assert_eq!(rotated["rewrapped"].as_i64(), Some(rest), "only the rest is left to do");
    assert_eq!(audited(&store.caller()).await, versions, "every data key was re-wrapped once, and told of");
    store
        .reconfigure(|_, config| drop(config["key_encryption"].as_table_mut().unwrap().remove("others")))
        .unwrap();
    store.restart().await;
    load.everything_is_there().await;
}

async fn rewrap(caller: &Caller) -> Result<RewrapDataKeysResponse, Status> {
    Ok(caller.platform().rewrap_data_keys(RewrapDataKeysRequest {}).await?.into_inner())
}

async fn until_it_fails(caller: &Caller) {
    while rewrap(caller).await.is_ok() {}
}

/// How many re-wrapped data keys the audit trail tells of.
async fn audited(caller: &Caller) -> i64 {
    let (mut sum, mut page_token) = (0, String::new());
    loop {
        let request = ListAuditEventsRequest { page_size: 1000, page_token, ..Default::default() };
        let page = caller.platform().list_audit_events(request).await.expect("audit events").into_inner();
        let batches = page.events.iter().filter(|event| event.action == "RewrapDataKeys");
        sum += batches.map(|event| event.details["rewrapped"].parse::<i64>().unwrap()).sum::<i64>();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return sum;
        }
    }
}
