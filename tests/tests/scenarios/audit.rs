//! The audit trail: whatever is done to an export is found; what a cluster was given is known; and no secret leaves whose
//! event is not on disk.

mod damage;
mod full;

use std::{collections::BTreeSet, fs, path::PathBuf, time::Instant};

use e2e::{Pullpass, Scenario, command::Output, pullpass::KEEPERS};
use pullpass::{
    audit::{
        record::Record,
        verify::{Known, Place, verify},
    },
    dev::StateDir,
};
use pullpass_domain::audit::AuditKey;

/// The key files of both chains, as arguments of `pullpass audit verify`.
pub(crate) fn key_arguments(state: &StateDir) -> Vec<String> {
    let keys = state.audit_keys().expect("the audit keys");
    keys.iter().flat_map(|key| ["--key".to_owned(), key.display().to_string()]).collect()
}

/// Exports both trails to a file, whose name it gives, and verifies that, with more arguments.
pub(crate) async fn export_and_verify(pullpass: &Pullpass, name: &str, more: &[&str]) -> (PathBuf, Output) {
    let file = pullpass.state().dir().join(name);
    fs::write(&file, pullpass.cli(&["audit", "export"]).await.ok().stdout).expect("the export is kept");
    let keys = key_arguments(pullpass.state());
    let mut arguments = vec!["audit", "verify", "-o", "json", file.to_str().expect("a name")];
    arguments.extend(keys.iter().map(String::as_str));
    arguments.extend(more);
    let output = pullpass.cli(&arguments).await;
    (file, output)
}

/// A credential that was rotated, and linked, so that the trails tell of everything.
async fn some_history(s: &Scenario) -> (String, String) {
    let namespace = s.namespace("audit").await;
    let credential = s.credential("audit", "quay.io", "robot", "first").await;
    let link = s.link(&credential, &credential, &namespace, "pull").await;
    s.becomes_synced(&link).await;
    let rotate = ["credential", "rotate", &credential, "--server", "quay.io", "--username", "robot"];
    let rotate = [&rotate[..], &["--password-stdin"]].concat();
    s.pullpass.cli_with("second", &rotate).await.ok();
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    (credential, link)
}

#[tokio::test]
async fn an_export_verifies_offline_against_the_heads_that_were_told() {
    let s = Scenario::shared().await;
    some_history(&s).await;
    let heads = s.pullpass.cli(&["audit", "head", "-o", "json"]).await.ok().json();
    let heads: Vec<String> = heads.as_array().expect("two").iter().map(place).collect();
    let told = ["--head", &heads[0], "--head", &heads[1]];
    let (file, output) = export_and_verify(&s.pullpass, "export.jsonl", &told).await;
    let chains = output.ok().json();
    let services: Vec<_> = chains.as_array().expect("chains").iter().map(|chain| &chain["service"]).collect();
    assert_eq!(services, ["credential-store", "grant-manager"]);
    for service in KEEPERS {
        assert!(s.pullpass.log(service).contains("audit head"), "the log holds the head, too");
    }

    // It needs nothing but the file and the keys, and an export goes on where the one before ended.
    let known = fs::read_to_string(&file).expect("the export").lines().next().map(str::to_owned);
    let first = serde_json::from_str(&known.expect("a line")).map(|first| place(&first)).expect("JSON");
    let rest = s.pullpass.cli(&["audit", "export", "credential-store", "--after", "1"]).await.ok().stdout;
    let keys = key_arguments(s.pullpass.state());
    let mut arguments = vec!["audit", "verify", "-", "--from", &first];
    arguments.extend(keys.iter().map(String::as_str));
    let offline = s.pullpass.command(&arguments).env("PULLPASS_CONFIG", "/nowhere").input(rest);
    offline.output().await.expect("the command runs").ok();
}

fn place(head: &serde_json::Value) -> String {
    format!("{}:{}", head["sequence"], head["mac"].as_str().expect("a mac"))
}

#[tokio::test]
async fn whatever_is_done_to_a_real_export_is_found() {
    let s = Scenario::shared().await;
    some_history(&s).await;
    for n in 0..damage::LINES {
        s.credential(&format!("more-{n}"), "quay.io", "robot", "first").await;
    }
    let export = s.pullpass.cli(&["audit", "export", "credential-store"]).await.ok().stdout;
    let lines: Vec<&str> = export.split_inclusive('\n').take(damage::LINES).collect();
    assert_eq!(lines.len(), damage::LINES, "{export}");
    let records: Vec<Record> =
        lines.iter().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let last = records.last().expect("an event");
    let head = Place { sequence: last.sequence, mac: last.mac.parse().expect("a mac") };
    let file = &s.pullpass.state().audit_keys().expect("the audit keys")[0];
    let key = AuditKey::from_base64(&fs::read(file).expect("a key")).expect("a key");
    let known = Known { keys: vec![key.clone()], heads: vec![head], from: Vec::new() };
    let whole = lines.concat().into_bytes();
    verify(&whole[..], &known).expect("the control of all that follows");

    let (began, mut tried, mut kinds) = (Instant::now(), 0, BTreeSet::new());
    damage::each(&lines, &records, &key, |kind, damaged| {
        (tried, _) = (tried + 1, kinds.insert(kind));
        let found = verify(damaged, &known).is_err();
        assert!(found, "{kind} was not found: {}", String::from_utf8_lossy(damaged));
    });
    println!("{tried} damaged exports of {} kinds, all found, in {:.1?}", kinds.len(), began.elapsed());
    assert!(tried > 20_000, "{tried}");
}

#[tokio::test]
async fn what_a_cluster_was_given_is_known_to_the_version() {
    let s = Scenario::shared().await;
    let (credential, _) = some_history(&s).await;
    let cluster = s.pullpass.state().cluster().id().to_owned();
    let exposure = async |more: &[&str]| {
        let arguments = [&["audit", "exposure", "--cluster", &cluster, "-o", "json"][..], more].concat();
        let all = s.pullpass.cli(&arguments).await.ok().json();
        let all = all.as_array().expect("a list").clone();
        all.into_iter()
            .filter(|given| given["credential"] == format!("credentials/{credential}"))
            .collect::<Vec<_>>()
    };
    let given = exposure(&[]).await;
    let told: Vec<_> =
        given.iter().map(|given| (given["version"].as_i64(), given["state"].as_str())).collect();
    assert_eq!(
        told,
        [(Some(1), Some("EXPOSURE_STATE_SUPERSEDED")), (Some(2), Some("EXPOSURE_STATE_CURRENT"))]
    );
    let since = given[1]["firstTime"].as_str().expect("a time");
    let later = exposure(&["--since", since]).await;
    assert_eq!(later.iter().map(|given| given["version"].as_i64()).collect::<Vec<_>>(), [Some(2)]);
    let elsewhere = s.pullpass.cli(&["audit", "exposure", "--cluster", "elsewhere", "-o", "json"]).await;
    assert_eq!(elsewhere.ok().json(), serde_json::json!([]));
}
