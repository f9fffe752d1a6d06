use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use pullpass_runtime::{Tls, config::ServerConfig};

use super::*;

fn prepared(dir: &Path) -> StateDir {
    StateDir::prepare(&Options::new(dir)).unwrap()
}

/// Every file below `dir` with its content and mode.
fn files(dir: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            found.insert(path.display().to_string(), (fs::read(&path).unwrap(), mode));
        }
    }
    found
}

#[test]
fn preparing_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    prepared(dir.path());
    let first = files(dir.path());
    prepared(dir.path());
    assert_eq!(first, files(dir.path()));
}

#[test]
fn keys_and_folders_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = prepared(&dir.path().join("state"));
    let files = files(state.dir());
    let keys: Vec<_> =
        files.iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "key")).collect();
    assert_eq!(
        keys.len(),
        9,
        "authority, three services, admin, sealing, tickets, two audit trails: {keys:?}"
    );
    for (name, (_, mode)) in keys {
        assert_eq!(*mode, 0o600, "{name}");
    }
    for folder in ["", "pki", "keys", "config", "data", "logs"] {
        let mode = fs::metadata(state.dir().join(folder)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{folder}");
    }
}

#[test]
fn every_certificate_is_usable_and_of_the_right_identity() {
    let dir = tempfile::tempdir().unwrap();
    let state = prepared(dir.path());
    for (service, path) in [
        (Service::CredentialStore, "credential-store"),
        (Service::GrantManager, "grant-manager"),
        (Service::ClusterApplier, "applier/dev"),
    ] {
        let tls = Tls::load(state.tls(service)).unwrap();
        assert_eq!(tls.identity().spiffe_id.as_str(), format!("spiffe://{TRUST_DOMAIN}/{path}"));
    }
    let client = Tls::load(&state.client_config().unwrap().tls.certified().unwrap()).unwrap();
    assert_eq!(client.identity().spiffe_id.as_str(), "spiffe://pullpass.local/platform/admin");
}

#[test]
fn a_damaged_certificate_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let state = prepared(dir.path());
    let certificate = state.tls(Service::GrantManager).certificate.clone();
    fs::remove_file(&certificate).unwrap();
    let state = prepared(dir.path());
    Tls::load(state.tls(Service::GrantManager)).unwrap();
}

#[test]
fn what_another_authority_signed_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let state = prepared(dir.path());
    let before = fs::read(&state.tls(Service::GrantManager).certificate).unwrap();
    fs::remove_file(state.dir().join("pki/ca.pem")).unwrap();
    let state = prepared(dir.path());
    assert_ne!(before, fs::read(&state.tls(Service::GrantManager).certificate).unwrap());
}

#[test]
fn ports_stay_and_none_is_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let state = prepared(dir.path());
    let again = prepared(dir.path());
    assert_eq!(state.ports(), again.ports());
    let ports: BTreeSet<_> = Service::ALL
        .iter()
        .flat_map(|service| [Some(state.address(*service)), state.metrics_address(*service)])
        .flatten()
        .collect();
    assert_eq!(ports.len(), 6);
}

#[test]
fn the_written_configurations_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        otlp_endpoint: Some("http://127.0.0.1:4317".into()),
        reflection: true,
        ..Options::new(dir.path())
    };
    let state = StateDir::prepare(&options).unwrap();
    for service in Service::ALL {
        let text = fs::read_to_string(state.config_file(service)).unwrap();
        let mut file: toml::Table = toml::from_str(&text).unwrap();
        let server: ServerConfig = file.remove("server").unwrap().try_into().unwrap();
        assert_eq!(server.listen, state.address(service));
        assert_eq!(server.telemetry.otlp_endpoint.as_deref(), Some("http://127.0.0.1:4317"));
        assert!(!server.roles.is_empty());
    }
    let client = crate::config::ClientConfig::load(Some(&state.client_file())).unwrap();
    assert_eq!(client, state.client_config().unwrap());
}

#[test]
fn every_method_of_the_api_is_somebodys_and_secrets_are_only_for_appliers() {
    let dir = tempfile::tempdir().unwrap();
    let state = prepared(dir.path());
    let pool = prost_reflect::DescriptorPool::decode(pullpass_api::FILE_DESCRIPTOR_SET).unwrap();
    for service in Service::ALL {
        let text = fs::read_to_string(state.config_file(service)).unwrap();
        let mut file: toml::Table = toml::from_str(&text).unwrap();
        let server: ServerConfig = file.remove("server").unwrap().try_into().unwrap();
        let described = pool.get_service_by_name(service.grpc_name()).unwrap();
        for method in described.methods() {
            let full = format!("{}/{}", service.grpc_name(), method.name());
            let all = format!("{}/*", service.grpc_name());
            let roles = server
                .roles
                .iter()
                .filter(|role| role.methods.contains(&full) || role.methods.contains(&all));
            let who: Vec<_> =
                roles.flat_map(|role| &role.principals).map(|p| String::from(p.clone())).collect();
            assert!(!who.is_empty(), "{full} is nobody's");
            let only_appliers = ["FetchPullSecret", "WatchDesiredState", "IssueTicket", "ReportSync"];
            let platform = who.contains(&"spiffe://pullpass.local/platform/*".to_owned());
            assert_eq!(platform, !only_appliers.contains(&method.name()), "{full}");
        }
    }
}

#[test]
fn another_cluster_gets_another_applier() {
    let dir = tempfile::tempdir().unwrap();
    let dev = prepared(dir.path());
    let prod = StateDir::prepare(&Options { cluster: "prod".into(), ..Options::new(dir.path()) }).unwrap();
    assert_ne!(dev.tls(Service::ClusterApplier), prod.tls(Service::ClusterApplier));
    assert_eq!(dev.tls(Service::GrantManager), prod.tls(Service::GrantManager));
}
