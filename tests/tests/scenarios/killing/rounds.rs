//! kill -9 at any moment while others write: what was acknowledged is there afterwards, and nothing by halves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{Scenario, pullpass::Service};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use pullpass_api::{
    credential::v1::{GetCredentialRequest, ListAuditEventsRequest, ListCredentialsRequest},
    grant::v1::{ListImageGrantsRequest, ListSecretLinksRequest, image_grant::Subject},
};
use serde_json::Value;

use super::writer::{Books, Change, Way, Writer, password};
use crate::dice::Dice;

const ROUNDS: usize = 6;
const NAMESPACES: usize = 3;
/// The latest moment of the kill, in milliseconds after the writers began.
const LATEST: u64 = 300;
/// So long do the writers go on without the service.
const WITHOUT: Duration = Duration::from_millis(100);
const PAGE: i32 = 1000;

#[tokio::test]
async fn kill_9_of_any_service_at_any_moment_loses_nothing_that_was_acknowledged() {
    let s = Scenario::own("killing", |_| {}).await;
    s.cluster.create_image_role("system:image-puller").await;
    let mut dice = Dice::new();
    let namespaces =
        join_all((0..NAMESPACES).map(async |n| s.namespace(&format!("written-{n}")).await)).await;
    let mut writers: Vec<_> = [("command", Way::Command), ("grpc-a", Way::Grpc), ("grpc-b", Way::Grpc)]
        .map(|(name, way)| Writer::new(name, way, dice.split(), &namespaces))
        .into();
    for service in Service::ALL {
        let mut doubts = 0;
        for round in 1..=ROUNDS {
            println!("── {} is killed, round {round}", service.binary_name());
            doubts += kill_while_they_write(&s, &mut writers, service, dice.below(LATEST)).await;
            tokio::time::sleep(Duration::from_millis(dice.below(LATEST))).await;
            s.pullpass.launch_and_wait(service).await;
            all_is_there(&s, &mut writers).await;
            s.pullpass.cli(&["status", "--wait", "--timeout", "60s"]).await.ok();
            for namespace in &namespaces {
                has_what_is_declared(&s, namespace, &writers).await;
            }
        }
        let cut_off = doubts > 0;
        assert_eq!(
            cut_off,
            service != Service::ClusterApplier,
            "{service:?}: writers were cut off {doubts} times"
        );
    }
    let acknowledged: Vec<_> = writers.iter().map(|writer| writer.acknowledged).collect();
    println!("acknowledged to the writers: {acknowledged:?}");
    assert!(acknowledged.iter().all(|number| *number >= ROUNDS), "too little was written: {acknowledged:?}");
    every_version_has_its_event(&s).await;
}

/// How many writers were left in doubt.
async fn kill_while_they_write(s: &Scenario, writers: &mut [Writer], service: Service, moment: u64) -> usize {
    let stop = AtomicBool::new(false);
    let killing = async {
        tokio::time::sleep(Duration::from_millis(moment)).await;
        s.pullpass.kill9(service);
        println!("killed after {moment} ms");
        tokio::time::sleep(WITHOUT).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all(writers.iter_mut().map(|writer| writer.write(&s.pullpass, &stop))), killing);
    let doubts: Vec<_> = writers.iter().filter_map(|writer| writer.doubt.as_ref()).collect();
    let to_store = |change: &Change| matches!(change, Change::Credential(_) | Change::Rotation(..));
    for doubt in &doubts {
        let asked = if to_store(doubt) { Service::CredentialStore } else { Service::GrantManager };
        assert_eq!(asked, service, "{doubt:?} failed although its service was there");
    }
    doubts.len()
}

/// The services have what was acknowledged, perhaps what was in doubt, and nothing else.
async fn all_is_there(s: &Scenario, writers: &mut [Writer]) {
    let declared = declared(s).await;
    let mut all = Books::default();
    for writer in writers {
        writer.settle(&declared);
        all.credentials.extend(writer.books.credentials.clone());
        all.links.extend(writer.books.links.clone());
        all.grants.extend(writer.books.grants.clone());
    }
    assert_eq!(declared, all, "what is declared (left), and what was acknowledged (right)");
}

async fn declared(s: &Scenario) -> Books {
    let admin = s.pullpass.admin();
    let (mut store, mut grants) = (s.pullpass.credential_store(&admin), s.pullpass.grant_manager(&admin));
    let bare = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let request = ListCredentialsRequest { page_size: PAGE, ..ListCredentialsRequest::default() };
    let credentials =
        store.list_credentials(request).await.expect("the credentials").into_inner().credentials;
    for credential in &credentials {
        let request = GetCredentialRequest { name: credential.name.clone() };
        let whole = store.get_credential(request).await.expect("the credential").into_inner().credential;
        let versions = whole.expect("a credential").versions;
        let mut numbers: Vec<_> = versions.iter().map(|version| version.version).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=credential.version).collect::<Vec<_>>(), "{}", credential.name);
        assert!(versions.iter().all(|version| version.entries.len() == 1), "{versions:?}");
    }
    let request = ListSecretLinksRequest { page_size: PAGE, ..ListSecretLinksRequest::default() };
    let links = grants.list_secret_links(request).await.expect("the links").into_inner().secret_links;
    let links = links.into_iter().filter(|link| link.delete_time.is_none()).map(|link| {
        let namespaces = link.namespaces.unwrap_or_default().names;
        (bare(&link.name), (bare(&link.credentials.concat()), namespaces.concat()))
    });
    let request = ListImageGrantsRequest { page_size: PAGE, ..ListImageGrantsRequest::default() };
    let granted = grants.list_image_grants(request).await.expect("the grants").into_inner().image_grants;
    let granted = granted.into_iter().filter(|grant| grant.delete_time.is_none()).map(|grant| {
        assert_eq!(grant.subject, Some(Subject::User(bare(&grant.name))));
        (bare(&grant.name), grant.project)
    });
    Books {
        credentials: credentials
            .iter()
            .map(|credential| (bare(&credential.name), credential.version))
            .collect(),
        links: links.collect(),
        grants: granted.collect(),
    }
}

/// The Secrets with their newest passwords, the entries and the bindings, and no others.
async fn has_what_is_declared(s: &Scenario, namespace: &str, writers: &[Writer]) {
    let mut secrets = BTreeMap::new();
    let mut users = BTreeSet::new();
    for Writer { books, .. } in writers {
        let here = books.links.iter().filter(|(_, (_, place))| place == namespace);
        secrets.extend(here.map(|(name, (credential, _))| {
            (name.clone(), password(credential, books.credentials[credential]))
        }));
        users.extend(
            books.grants.iter().filter(|(_, place)| *place == namespace).map(|(name, _)| name.clone()),
        );
    }
    let ours = s.cluster.our_secrets(namespace).await;
    assert_eq!(ours.iter().map(name_and_password).collect::<BTreeMap<_, _>>(), secrets, "{namespace}");
    let mut entries = s.cluster.lists(namespace, "default").await.pull;
    entries.sort_unstable();
    assert_eq!(entries, secrets.into_keys().collect::<Vec<_>>(), "{namespace}");
    let bindings = s.cluster.our_bindings(namespace).await;
    let bound = bindings.into_iter().flat_map(|binding| binding.subjects.unwrap_or_default());
    assert_eq!(bound.map(|subject| subject.name).collect::<BTreeSet<_>>(), users, "{namespace}");
}

fn name_and_password(secret: &Secret) -> (String, String) {
    let data = secret.data.as_ref().and_then(|data| data.get(".dockerconfigjson")).expect("its one key");
    let config: Value = serde_json::from_slice(&data.0).expect("JSON");
    let auth = config["auths"]["quay.io"]["auth"].as_str().expect("the entry");
    let auth = String::from_utf8(BASE64_STANDARD.decode(auth).expect("base64")).expect("text");
    let password = auth.strip_prefix("robot:").expect("the user").to_owned();
    (secret.metadata.name.clone().expect("a name"), password)
}

/// No version without its audit event, no event without its version, and no gap in the trail.
async fn every_version_has_its_event(s: &Scenario) {
    let mut store = s.pullpass.credential_store(&s.pullpass.admin());
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuditEventsRequest { page_size: PAGE, page_token, ..Default::default() };
        let page = store.list_audit_events(request).await.expect("audit events").into_inner();
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut sequence: Vec<_> = events.iter().map(|event| event.sequence).collect();
    sequence.sort_unstable();
    assert!(sequence.iter().zip(1..).all(|(found, expected)| *found == expected), "{sequence:?}");
    let mut versions: BTreeMap<String, i64> = BTreeMap::new();
    let adds = |action: &str| matches!(action, "CreateCredential" | "AddCredentialVersion");
    for event in events.into_iter().filter(|event| event.revision > 0 && adds(&event.action)) {
        *versions.entry(event.resource.trim_start_matches("credentials/").to_owned()).or_default() += 1;
    }
    assert_eq!(versions, declared(s).await.credentials);
}
