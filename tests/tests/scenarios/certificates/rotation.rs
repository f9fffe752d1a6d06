//! Every certificate replaced, and then the authority, as deploy/README.md says, while everything is in use.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use e2e::{
    Scenario, bare_tls, binaries,
    command::Run,
    eventually,
    pullpass::{Service, connection},
    wait::seen,
};
use pullpass_api::credential::v1::{
    ListCredentialsRequest, WatchCredentialsRequest, credential_store_client::CredentialStoreClient,
};
use pullpass_runtime::config::TlsConfig;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::load::{Books, Load};
use crate::trust::reason;

/// Clients of the load read their files every two seconds.
const CLIENTS_HAVE_READ: Duration = Duration::from_secs(3);
/// What deploy/README.md promises for connections of an authority that was taken out: two seconds to read the file, ten to
/// finish what is at hand.
const PROMISED: Duration = Duration::from_secs(13);

#[tokio::test]
async fn no_call_fails_while_certificates_and_the_authority_are_replaced() {
    let s = Scenario::own("certificates", |options| options.cluster = "prod".to_owned()).await;
    let credentials = linked_credentials(&s).await;
    let before_all = keep_old_certificate(&s);
    let load = Load::start(&s, &credentials);
    let mut old_stream = old_stream(&s, &before_all).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let blocks = readme_blocks();
    let leaves: String = lines_with(&blocks[1], "pki issue");
    println!("renewing every certificate");
    run(&s, &leaves).await;
    everybody_has_read(&s, 1, load.books()).await;

    println!("both authorities are trusted");
    run(&s, &blocks[0]).await;
    everybody_has_read(&s, 2, load.books()).await;

    println!("every certificate comes from the new one");
    run(&s, &blocks[1]).await;
    everybody_has_read(&s, 2, load.books()).await;
    assert_eq!(
        load.books().streams_opened_again.load(Ordering::Relaxed),
        0,
        "a stream ended before its time"
    );

    println!("the old one is taken out");
    run(&s, &blocks[2]).await;
    let began = Instant::now();
    let ended = tokio::time::timeout(PROMISED, async {
        while let Ok(Some(_)) = old_stream.message().await.inspect_err(|status| {
            assert_eq!(reason(status), "CONNECTION_ENDS", "{status:?}");
        }) {}
    });
    ended.await.expect("a connection of the old authority ends");
    println!("a stream of the old authority ended after {:?}", began.elapsed());
    everybody_has_read(&s, 1, load.books()).await;
    old_certificate_is_refused(&s, &before_all).await;

    let books = load.stop().await;
    println!("{books:#?}");
    assert_eq!(*books.failures.lock().unwrap(), Vec::<String>::new());
    assert!(
        books.streams_opened_again.load(Ordering::Relaxed) > 0,
        "the stream of the load is by a new certificate"
    );
    nothing_was_reported_failed(&s, &credentials).await;
}

async fn linked_credentials(s: &Scenario) -> Vec<String> {
    let namespace = s.namespace("rotation").await;
    let mut names = Vec::new();
    for number in 0..3 {
        let name = s.credential(&format!("quay-{number}"), "quay.io", "robot", "fake-first").await;
        s.link(&name, &name, &namespace, "pull").await;
        names.push(name);
    }
    names
}

/// A copy of the administrator's certificate of before; whom its holder trusts changes as for all.
fn keep_old_certificate(s: &Scenario) -> TlsConfig {
    let admin = s.pullpass.admin();
    let copy = |file: &Path, ending: &str| {
        let kept = file.with_extension(ending);
        fs::copy(file, &kept).unwrap();
        kept
    };
    let (certificate, key) = (copy(&admin.certificate, "old.pem"), copy(&admin.key, "old.key"));
    TlsConfig { certificate, key, ..admin }
}

async fn old_stream(
    s: &Scenario,
    old: &TlsConfig,
) -> tonic::Streaming<pullpass_api::credential::v1::WatchCredentialsResponse> {
    let peer = s.pullpass.state().peer(Service::CredentialStore).unwrap();
    let mut client = CredentialStoreClient::new(connection(old, &peer));
    client.watch_credentials(WatchCredentialsRequest::default()).await.unwrap().into_inner()
}

/// The commands in deploy/README.md, one text for each step.
fn readme_blocks() -> Vec<String> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("Going over to a new authority"));
    let section = section.expect("the section about authorities");
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let blocks: Vec<String> = blocks.collect();
    assert_eq!(blocks.len(), 3, "{blocks:#?}");
    blocks
}

fn lines_with(block: &str, word: &str) -> String {
    block.split_inclusive('\n').filter(|line| line.contains(word)).collect()
}

/// Types the commands in the state folder.
async fn run(s: &Scenario, commands: &str) {
    let program = binaries::own("pullpass").unwrap();
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let folder = s.pullpass.state().dir().display().to_string();
    let script = format!("cd \"$0\" && {{\n{commands}\n}}");
    let shell = PathBuf::from("/bin/sh");
    Run::new(&shell, ["-e", "-c", &script, &folder]).env("PATH", path).output().await.unwrap().ok();
}

/// Waits until every service shows the certificate in its file and trusts so many authorities, and the clients have read.
async fn everybody_has_read(s: &Scenario, authorities: usize, books: &Books) {
    for service in Service::ALL {
        let file = &s.pullpass.state().tls(service).certificate;
        let wanted = CertificateDer::from_pem_file(file).unwrap();
        eventually(format!("{} has read its files", service.binary_name()), async || {
            let caller = s.pullpass.admin();
            let shown = bare_tls::certificate_of(&caller, s.pullpass.state().address(service)).await;
            let log = s.pullpass.log(service);
            let told =
                log.lines().rev().find(|line| line.contains("certificates reloaded")).unwrap_or("nothing");
            let trusts = told.contains(&format!("\"authorities\":{authorities}"));
            seen(shown.is_ok_and(|shown| shown == wanted.as_ref()) && trusts, told)
        })
        .await;
    }
    tokio::time::sleep(CLIENTS_HAVE_READ).await;
    println!(
        "so far: {} calls, {} rotations, {} changes seen, {} streams opened again, failed: {:?}",
        books.calls.load(Ordering::Relaxed),
        books.rotations.load(Ordering::Relaxed),
        books.changes_seen.load(Ordering::Relaxed),
        books.streams_opened_again.load(Ordering::Relaxed),
        books.failures.lock().unwrap(),
    );
}

async fn old_certificate_is_refused(s: &Scenario, old: &TlsConfig) {
    for service in Service::ALL {
        let channel = bare_tls::channel_as(old, s.pullpass.state().address(service));
        let call =
            CredentialStoreClient::new(channel).list_credentials(ListCredentialsRequest::default()).await;
        let refusal = call.expect_err("the old authority is not trusted any more");
        println!("{} to the old certificate: {}", service.binary_name(), refusal.message());
        eventually("the log says whose certificate was refused", async || {
            let log = s.pullpass.log(service);
            let told = log.lines().rev().find(|line| line.contains("connection refused in its handshake"));
            seen(told.is_some_and(|line| line.contains("/platform/admin, serial")), told)
        })
        .await;
    }
}

/// The applier has everything, and never had to report that it could not get something.
async fn nothing_was_reported_failed(s: &Scenario, credentials: &[String]) {
    for credential in credentials {
        s.becomes_synced(&format!("secretLinks/{credential}")).await;
    }
    let log = s.pullpass.log(Service::ClusterApplier);
    let failed: Vec<_> = log
        .lines()
        .filter(|line| line.contains("could not be fetched") || line.contains("the report did not arrive"))
        .collect();
    assert_eq!(failed, Vec::<&str>::new());
}
