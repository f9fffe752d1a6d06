//! SIGSTOP in the middle of a rollout, past the lease, and SIGCONT when the other one has changed everything.

use std::time::{Duration, Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{Scenario, cluster::Lists, eventually, wait::seen};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use pullpass_api::grant::v1::SyncStatus;
use serde_json::json;

use super::pair::{NAMES, Pair, writes};
use crate::dice::Dice;

const SECONDS: u16 = 3;
const NAMESPACES: usize = 10;
/// The environment variable that asks for another number of rounds.
const ROUNDS: &str = "PULLPASS_TEST_ROUNDS";
const USUAL_ROUNDS: usize = 3;
/// The latest moment at which it is stopped, in writes; the rollout takes four for each namespace.
const LATEST: u64 = 35;
const STEP: Duration = Duration::from_millis(1);
/// What it would do when it wakes up it does at once.
const LOOK: Duration = Duration::from_millis(1500);
/// Its content changes.
const KEPT: &str = "kept";
/// It goes.
const GONE: &str = "gone";
/// It comes again for the other list.
const TURNED: &str = "turned";

#[tokio::test]
async fn an_applier_that_sleeps_past_its_lease_undoes_nothing_when_it_wakes_up() {
    let s = Scenario::own("standby-asleep", |_| {}).await;
    let pair = Pair::start(&s, SECONDS, Some(1)).await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespaces = join_all((0..NAMESPACES).map(|n| namespace_with_entries(&s, n))).await;
    let before = lists(&s, &namespaces).await;
    let rounds = std::env::var(ROUNDS).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(USUAL_ROUNDS);
    let mut dice = Dice::new();
    for round in 1..=rounds {
        let asleep = pair.active().await;
        pair.is_warm(1 - asleep).await;
        let after = usize::try_from(dice.below(LATEST)).expect("a small number");
        let there = stop_in_the_middle(&s, &pair, asleep, &credential, after).await;
        let began = Instant::now();
        let password = format!("round-{round}");
        change_everything(&s, &credential, &password).await;
        assert_eq!(pair.holder().await, Some(1 - asleep), "the other one has done all this");
        println!(
            "round {round}: {} stopped with {there} Secrets there; all was changed after {:?}",
            NAMES[asleep],
            began.elapsed()
        );
        is_exactly(&s, &namespaces, &before, &password).await;
        let told = told(&s).await;

        let log = s.plane.audit_log().from_now();
        pair.applier(asleep).go_on();
        tokio::time::sleep(LOOK).await;
        let late = writes(&log, asleep);
        // Stopped between its look at the clock and the socket it could: that takes microseconds.
        println!("round {round}: awake, it wrote {late:?}");
        assert!(late.iter().all(|request| request.code >= 400), "{late:#?}");
        assert_eq!(pair.holder().await, Some(1 - asleep));
        is_exactly(&s, &namespaces, &before, &password).await;
        assert_eq!(self::told(&s).await, told, "nor does it tell what is not so any more");

        for link in [KEPT, TURNED] {
            s.pullpass.cli(&["link", "delete", link, "--wait"]).await.ok();
        }
        nothing_is_left(&s, &namespaces, &before).await;
    }
}

async fn told(s: &Scenario) -> [Option<SyncStatus>; 2] {
    [s.status("secretLinks/kept").await, s.status("secretLinks/turned").await]
}

/// Begins to roll out three links, stops the active applier after so many writes, and says how many Secrets were there.
async fn stop_in_the_middle(
    s: &Scenario,
    pair: &Pair<'_>,
    active: usize,
    credential: &str,
    after: usize,
) -> usize {
    let log = s.plane.audit_log().from_now();
    let stop = async {
        while writes(&log, active).len() <= after {
            tokio::time::sleep(STEP).await;
        }
        pair.applier(active).stop();
    };
    let links = join_all([KEPT, GONE, TURNED].map(|name| link(s, name, credential, "pull")));
    let both = async { tokio::join!(links, stop) };
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("the applier writes");
    let created = writes(&log, active);
    created.iter().filter(|request| request.verb == "create").count()
}

async fn link(s: &Scenario, name: &str, credential: &str, usage: &str) {
    let create = ["link", "create", name, "--credential", credential, "--namespace-selector", "rolled=out"];
    s.pullpass.cli(&[&create[..], &["--service-account", "default", "--for", usage]].concat()).await.ok();
}

/// Rotates, unlinks, and links anew for the other list; returns when the cluster agrees.
async fn change_everything(s: &Scenario, credential: &str, password: &str) {
    let rotate = ["credential", "rotate", credential, "--server", "quay.io", "--username", "robot"];
    s.pullpass.cli_with(password, &[&rotate[..], &["--password-stdin"]].concat()).await.ok();
    s.pullpass.cli(&["link", "delete", GONE]).await.ok();
    s.pullpass.cli(&["link", "delete", TURNED, "--wait"]).await.ok();
    link(s, TURNED, credential, "mount").await;
    s.pullpass.cli(&["status", "--wait", "--timeout", "60s"]).await.ok();
    eventually("the link is gone", async || {
        let status = s.status("secretLinks/gone").await;
        seen(status.is_none(), status)
    })
    .await;
}

/// The lists are those of before with ours at their ends, and the Secrets have this password.
async fn is_exactly(s: &Scenario, namespaces: &[String], before: &[Lists], password: &str) {
    let with = |list: &[String], ours: &str| [list, &[ours.to_owned()]].concat();
    let wanted: Vec<_> = before
        .iter()
        .map(|lists| Lists { pull: with(&lists.pull, KEPT), mount: with(&lists.mount, TURNED) })
        .collect();
    assert_eq!(lists(s, namespaces).await, wanted);
    let auth = BASE64_STANDARD.encode(format!("robot:{password}"));
    for namespace in namespaces {
        let names: Vec<_> =
            s.cluster.our_secrets(namespace).await.into_iter().map(|secret| secret.metadata.name).collect();
        assert_eq!(names, [Some(KEPT.to_owned()), Some(TURNED.to_owned())], "{namespace}");
        for name in [KEPT, TURNED] {
            let content = s.cluster.pull_secret(namespace, name).await.expect("the Secret");
            assert!(
                String::from_utf8_lossy(&content).contains(&auth),
                "{namespace}/{name} has another password"
            );
        }
        assert!(s.cluster.secret(namespace, "apple").await.is_some(), "{namespace}");
    }
}

async fn nothing_is_left(s: &Scenario, namespaces: &[String], before: &[Lists]) {
    assert_eq!(lists(s, namespaces).await, before);
    for namespace in namespaces {
        assert_eq!(s.cluster.our_secrets(namespace).await, [], "{namespace}");
    }
}

/// A namespace whose lists have entries by others: twice the same, and one that names nothing.
async fn namespace_with_entries(s: &Scenario, number: usize) -> String {
    let name = s.name(&format!("asleep-{number}"));
    s.cluster.create_namespace(&name, &[("rolled", "out")]).await;
    // The token's Secret is added to the list by a controller.
    let there = s.cluster.lists(&name, "default").await;
    let theirs = ["zebra", "apple", "zebra"].map(str::to_owned);
    let foreign = json!({"metadata": {"name": "apple"}, "stringData": {"mine": "not yours"}});
    s.cluster.create::<Secret>(&name, foreign).await;
    let entries = |names: &[String]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let change = json!({
        "imagePullSecrets": entries(&theirs),
        "secrets": entries(&[&theirs[..], &there.mount].concat()),
    });
    s.cluster.merge::<ServiceAccount>(&name, "default", change).await;
    name
}

async fn lists(s: &Scenario, namespaces: &[String]) -> Vec<Lists> {
    join_all(namespaces.iter().map(|namespace| s.cluster.lists(namespace, "default"))).await
}
