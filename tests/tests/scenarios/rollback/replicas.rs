//! A PostgreSQL database with two replicas is restored from a dump: all of them are sealed, and one acceptance, at either
//! replica, is enough for both.

use std::{collections::BTreeMap, fs, path::PathBuf};

use e2e::{
    pullpass::Service::{self, CredentialStore, GrantManager},
    replicas::{Replicas, SERVICES, Which},
};
use pullpass_api::{
    credential::v1::{ListCredentialsRequest, credential_store_client::CredentialStoreClient},
    grant::v1::{ListClustersRequest, grant_manager_client::GrantManagerClient},
};
use serde_json::Value;
use tonic::{Code, Status};

use super::ROLLED_BACK;
use crate::{audit::key_arguments, trust::reason};

#[tokio::test]
async fn two_replicas_on_a_restored_database_are_sealed_and_one_acceptance_is_enough_for_both() {
    let replicas = Replicas::start("rollback-replicas").await.expect("the replicas start");
    write(&replicas, 0, "early").await;
    let dumps: BTreeMap<_, _> =
        SERVICES.into_iter().map(|service| (service, replicas.dump(service))).collect();
    write(&replicas, 0, "late-0").await;
    write(&replicas, 1, "late-1").await;

    restart(&replicas, &BTreeMap::new()).await;
    all_serve(&replicas, &["early", "late-0", "late-1"]).await;
    restart(&replicas, &dumps).await;
    all_are_sealed(&replicas).await;

    // Somebody accepts that at one replica of each service, not at the same one. The other goes along, without a restart, by
    // itself and at once when it is asked to accept the same.
    for (service, n) in [(CredentialStore, 0), (GrantManager, 1)] {
        let (name, found) = (service.binary_name(), found_revision(&replicas, (service, n)).await);
        let accept = ["accept-rollback", name, "--expect", &found, "-o", "json"];
        let accepted = replicas.cli(n, &accept).await.ok().json();
        assert_eq!(accepted["reason"], ROLLED_BACK);
        if service == GrantManager {
            replicas.wait_until_healthy((service, 1 - n)).await;
        }
        let again = replicas.cli(1 - n, &accept).await;
        assert!(again.code == 1 && again.stderr.contains("NOT_SEALED"), "{again:#?}");
    }
    all_serve(&replicas, &["early"]).await;
    write(&replicas, 0, "after-0").await;
    write(&replicas, 1, "after-1").await;
    all_serve(&replicas, &["after-0", "after-1", "early"]).await;
    restart(&replicas, &BTreeMap::new()).await;
    all_serve(&replicas, &["after-0", "after-1", "early"]).await;
    for n in 0..2 {
        is_told_once(&replicas, n).await;
    }
}

fn all() -> impl Iterator<Item = Which> {
    SERVICES.into_iter().flat_map(|service| [(service, 0), (service, 1)])
}

/// A credential and a cluster of this name, by way of replica `n`.
async fn write(replicas: &Replicas, n: usize, name: &str) {
    let password = replicas.state().dir().join("password");
    fs::write(&password, "fake-password").expect("a file");
    let password = password.to_str().expect("a name");
    let credential = ["credential", "create", name, "--server", "quay.io", "--username", "robot"];
    replicas.cli(n, &[&credential[..], &["--password-file", password]].concat()).await.ok();
    let applier = format!("spiffe://pullpass.local/applier/{name}");
    replicas.cli(n, &["cluster", "create", name, "--applier-identity", &applier]).await.ok();
}

/// Ends all in good order, puts the dumps in the place of their databases, and starts all.
async fn restart(replicas: &Replicas, dumps: &BTreeMap<Service, PathBuf>) {
    for which in all() {
        replicas.stop(which).await;
    }
    for (service, dump) in dumps {
        replicas.restore(*service, dump);
    }
    for which in all() {
        replicas.launch(which).expect("it starts");
    }
}

/// Every replica serves and has just these.
async fn all_serve(replicas: &Replicas, names: &[&str]) {
    for which in all() {
        replicas.wait_until_healthy(which).await;
        assert_eq!(list(replicas, which).await.expect("it serves"), names, "{which:?}");
    }
}

/// Every replica says so in its health, in its log and to whoever calls.
async fn all_are_sealed(replicas: &Replicas) {
    for which in all() {
        replicas.wait_until_sealed(which).await;
        let log = replicas.log(which);
        let mut errors = log.lines().filter(|line| line.contains("ERROR") && line.contains(ROLLED_BACK));
        assert!(errors.any(|line| line.contains("accept-rollback")), "{which:?}: {log}");
        let status = list(replicas, which).await.expect_err("it is sealed");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, ROLLED_BACK));
    }
    for n in 0..2 {
        let told = replicas.cli(n, &["audit", "list"]).await;
        assert!(told.code == 1 && told.stderr.contains("pullpass accept-rollback"), "{told:#?}");
    }
}

/// What a refusal says to expect.
async fn found_revision(replicas: &Replicas, which: Which) -> String {
    let status = list(replicas, which).await.expect_err("it is sealed");
    let told = status.message().split("--expect ").nth(1).expect("what to expect");
    told.chars().take_while(char::is_ascii_digit).collect()
}

async fn list(replicas: &Replicas, which: Which) -> Result<Vec<String>, Status> {
    let connection = replicas.connection(&replicas.admin(), which);
    let names: Vec<String> = if which.0 == CredentialStore {
        let mut client = CredentialStoreClient::new(connection);
        let page = client.list_credentials(ListCredentialsRequest::default()).await?.into_inner();
        page.credentials.into_iter().map(|found| found.name).collect()
    } else {
        let mut client = GrantManagerClient::new(connection);
        let page = client.list_clusters(ListClustersRequest::default()).await?.into_inner();
        page.clusters.into_iter().map(|found| found.name).collect()
    };
    Ok(names.iter().filter_map(|name| Some(name.split_once('/')?.1.to_owned())).collect())
}

/// The trail of each service, as replica `n` exports it, is whole and has the acceptance once, with who it was and what is
/// lost.
async fn is_told_once(replicas: &Replicas, n: usize) {
    let export = replicas.cli(n, &["audit", "export"]).await.ok().stdout;
    let events: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> = events.iter().filter(|event| event["action"] == "AcceptRollback").collect();
    let of: Vec<_> = told.iter().map(|event| event["service"].as_str().unwrap_or_default()).collect();
    assert_eq!(of, ["credential-store", "grant-manager"], "{told:#?}");
    for event in told {
        assert_eq!(event["principal"], "spiffe://pullpass.local/platform/admin");
        assert_eq!(event["details"]["lost_revisions"], "2-3");
    }
    let file = replicas.state().dir().join(format!("export-{n}.jsonl"));
    fs::write(&file, export).expect("the export is kept");
    let keys = key_arguments(replicas.state());
    let mut verify = vec!["audit", "verify", "-o", "json", file.to_str().expect("a name")];
    verify.extend(keys.iter().map(String::as_str));
    let chains = replicas.cli(n, &verify).await.ok().json();
    let epochs = |chain: &Value| chain["epochs"].as_array().map(Vec::len);
    let epochs: Vec<_> = chains.as_array().expect("chains").iter().map(epochs).collect();
    assert_eq!(epochs, [Some(2), Some(2)]);
}
