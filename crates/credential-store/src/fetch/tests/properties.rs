//! From files handed in to the Secret that is fetched: the kubelet's choice stays the same on the whole way, through
//! conversion, sealing, the database, opening, merging and rendering.

use std::sync::atomic::{AtomicU32, Ordering};

use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::{collection, prelude::*, sample::select};
use pullpass_domain::{docker_config::SecretType, image::ImageRef, keyring::Keyring};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::*;

/// A file as somebody has it, and the type of Secret that it would be.
type File = (SecretType, String);

const TYPES: [SecretType; 2] = [SecretType::DockerConfigJson, SecretType::Dockercfg];

fn key() -> impl Strategy<Value = String> {
    let host = select(vec!["quay.io", "*.io", "docker.io", "localhost:5000", "*"]);
    let path = select(vec!["", "", "/", "/acme", "/acme/app", "/v2/acme", "/%61cme"]);
    let made = (select(vec!["", "https://", "http://"]), host, path)
        .prop_map(|(scheme, host, path)| format!("{scheme}{host}{path}"));
    prop_oneof![4 => made, 1 => Just("https://index.docker.io/v1/".to_owned())]
}

fn entry() -> impl Strategy<Value = Value> {
    let login = ("[a-z<é]{1,6}", "[a-z<&:\"\\\\\n\t\u{2028}😀]{1,12}", any::<bool>());
    login.prop_map(|(user, password, is_encoded)| {
        if is_encoded {
            json!({ "auth": BASE64_STANDARD.encode(format!("{user}:{password}")) })
        } else {
            json!({ "username": user, "password": password, "email": "a@b" })
        }
    })
}

/// One that is accepted.
fn file() -> impl Strategy<Value = File> {
    let hosts = collection::btree_map(key(), entry(), 1..4);
    (select(&TYPES[..]), hosts).prop_filter_map("refused", |(secret_type, hosts)| {
        let file = match secret_type {
            SecretType::DockerConfigJson => json!({ "auths": hosts }),
            SecretType::Dockercfg => json!(hosts),
        };
        let file = file.to_string();
        DockerConfig::parse(file.as_bytes()).is_ok().then_some((secret_type, file))
    })
}

fn image() -> impl Strategy<Value = ImageRef> {
    let host = select(vec!["", "quay.io/", "ghcr.io/", "localhost:5000/", "localhost/", "a.b.io/"]);
    let path = select(vec!["nginx", "acme", "acme/app", "acmeother/x", "v2/acme", "app:1"]);
    (host, path).prop_map(|(host, path)| format!("{host}{path}").parse().unwrap())
}

/// User name and password of each credential that the kubelet tries, in order.
fn tried(secrets: &[(SecretType, &[u8])], image: &ImageRef) -> Vec<(String, SecretBytes)> {
    let keyring = Keyring::from_secrets(secrets).unwrap();
    let found = keyring.lookup(image).into_iter();
    found.map(|found| (found.username().to_owned(), found.password().clone())).collect()
}

/// Makes a credential of each file, and fetches them as one Secret.
async fn through_the_store(fixture: &Fixture, files: &[File], secret_type: SecretType) -> Vec<u8> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut ids = Vec::new();
    for (_, file) in files {
        let id = format!("c-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let message =
            wire::CreateCredentialRequest { material: Some(docker_config(file)), ..creation(&id, "") };
        fixture.try_create(message).await.unwrap();
        ids.push(id);
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let secret_type = secret_type.kubernetes_type().to_owned();
    let claims = Claims { secret_type, ..fixture.claims(&ids) };
    fixture.fetch(fixture.sign(&claims)).await.unwrap().data
}

#[test]
fn the_fetched_secret_chooses_what_the_files_would_in_the_order_of_the_link() {
    let runtime = Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let (files, images) = (collection::vec(file(), 1..4), collection::vec(image(), 12));
    let cases = ProptestConfig::with_cases(96);
    proptest!(cases, |(files in files, images in images, secret_type in select(&TYPES[..]))| {
        let fetched = runtime.block_on(through_the_store(&fixture, &files, secret_type));
        let originals: Vec<_> = files.iter().map(|(its_type, file)| (*its_type, file.as_bytes())).collect();
        for image in &images {
            let (before, after) = (tried(&originals, image), tried(&[(secret_type, &fetched)], image));
            prop_assert_eq!(after.first(), before.first(), "{}", image);
            if files.len() == 1 {
                prop_assert_eq!(after, before, "{}", image);
            }
        }
    });
}
