//! The `pullpass` program as scripts see it: stdout, stderr, exit code; against fakes of the services.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

mod clusters;
mod fake;

use std::time::Duration;

use fake::{Script, World, folder, pullpass};
use pullpass_api::{
    applier::v1::{Action, PlanSyncResponse, PlannedChange},
    credential::v1::{
        Credential, CredentialVersion, GetKeyStatusResponse, KeyEncryptionKey, KeyProvider, RegistryEntry,
        RegistryLogin, RewrapDataKeysResponse, material::Source,
    },
    grant::v1::{
        ClusterStatus, SecretLink, SyncReason, SyncState, SyncStatus, SyncedVersion, WatchSyncStatusResponse,
    },
};
use pullpass_runtime::status;
use tonic::Code;

const CREATE: &str = "credential create quay --server quay.io --username robot --password-stdin";
const LINK: &str = "link create web --credential quay --namespace a --service-account default";

fn credential(entries: &[(&str, &str)]) -> Credential {
    let entries =
        entries.iter().map(|(r, u)| RegistryEntry { registry: (*r).into(), username: (*u).into() }).collect();
    Credential {
        name: "credentials/quay".into(),
        version: 3,
        versions: vec![CredentialVersion { version: 3, entries, ..Default::default() }],
        etag: "tag".into(),
        ..Default::default()
    }
}

fn link() -> SecretLink {
    SecretLink {
        name: "secretLinks/web".into(),
        uid: "u".into(),
        clusters: vec!["clusters/dev".into()],
        revision: 5,
        ..Default::default()
    }
}

fn synced() -> SyncStatus {
    SyncStatus {
        name: "secretLinks/web".into(),
        cluster: "clusters/dev".into(),
        state: SyncState::Synced.into(),
        revision: 5,
        wanted: 1,
        synced: 1,
        versions: vec![SyncedVersion { credential: "credentials/quay".into(), version: 3 }],
        ..Default::default()
    }
}

fn told(row: SyncStatus) -> WatchSyncStatusResponse {
    let cluster = ClusterStatus { cluster: "clusters/dev".into(), connected: true, ..Default::default() };
    WatchSyncStatusResponse { statuses: vec![row], clusters: vec![cluster], revision: 9 }
}

fn login(source: Option<&Source>) -> RegistryLogin {
    match source {
        Some(Source::Login(login)) => login.clone(),
        other => panic!("not a login: {other:?}"),
    }
}

#[tokio::test]
async fn a_credential_is_created_from_stdin_without_its_newline() {
    let world = World::start(Script::default());
    let run = world.run_with(CREATE, "fake-password\n").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let created = world.script().created.remove(0);
    let login = login(created.material.as_ref().and_then(|m| m.source.as_ref()));
    assert_eq!((login.server.as_str(), login.username.as_str()), ("quay.io", "robot"));
    assert_eq!(login.password, "fake-password");
    assert!(run.stdout.starts_with("NAME") && run.stderr.contains("created"), "{run:?}");
    assert!(!format!("{run:?}").contains("fake-password"));
}

#[tokio::test]
async fn a_password_is_not_logged_even_where_everything_is() {
    let world = World::start(Script::default());
    let mut config = world.state.client_config().unwrap();
    config.telemetry.log = "trace".to_owned();
    std::fs::write(world.state.client_file(), toml::to_string(&config).unwrap()).unwrap();
    let run = world.run_with(CREATE, "fake-canary-password\n").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("TRACE") && run.stderr.contains("DEBUG"), "everything is logged");
    let bytes = format!("{:?}", b"fake-canary-password");
    for form in [
        "fake-canary-password",
        "ZmFrZS1jYW5hcnktcGFzc3dvcmQ",
        "66616b652d63616e617279",
        bytes.trim_matches(['[', ']']),
    ] {
        assert!(!run.stderr.contains(form) && !run.stdout.contains(form), "{form} was logged");
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_field_problem_and_code() {
    let refusal =
        status::invalid("material.docker_config", "`quay.io`: `auth` is not base64: encode user:password");
    let world = World::start(Script { refusal: Some(refusal), ..Default::default() });
    let run = world.run_with(CREATE, "fake-password").await;
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    let lines: Vec<_> = run.stderr.lines().collect();
    assert_eq!(lines[0], "error: failed to create credential quay: INVALID_ARGUMENT");
    assert_eq!(lines[1], "  material.docker_config: `quay.io`: `auth` is not base64: encode user:password");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[2].starts_with("  from: credential-store at 127.0.0.1:"), "{lines:?}");
    assert!(!run.stderr.contains("fake-password"));
}

#[tokio::test]
async fn a_reason_and_a_time_to_retry_are_told() {
    let refusal =
        status::retry(Code::ResourceExhausted, "TOO_BUSY", "too many callers", Duration::from_millis(1500));
    let world = World::start(Script { refusal: Some(refusal), ..Default::default() });
    let run = world.run("credential delete quay").await;
    assert_eq!(run.code, Some(1));
    let lines: Vec<_> = run.stderr.lines().take(4).collect();
    let expected = [
        "error: failed to delete credential quay: RESOURCE_EXHAUSTED",
        "  too many callers",
        "  reason: TOO_BUSY",
        "  try again in 1.5 s",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn rotation_with_a_password_alone_keeps_the_one_entry() {
    let world =
        World::start(Script { credentials: vec![credential(&[("quay.io", "robot")])], ..Default::default() });
    let run = world.run_with("credential rotate quay --password-stdin", "fake-new").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let rotated = world.script().rotated.remove(0);
    let login = login(rotated.material.as_ref().and_then(|m| m.source.as_ref()));
    assert_eq!(
        (login.server.as_str(), login.username.as_str(), login.password.as_str()),
        ("quay.io", "robot", "fake-new")
    );
    assert_eq!(rotated.etag, "tag", "nobody may change the entry in between");
}

#[tokio::test]
async fn rotation_with_a_password_alone_is_refused_for_several_entries() {
    let entries = [("quay.io", "robot"), ("ghcr.io", "robot")];
    let world = World::start(Script { credentials: vec![credential(&entries)], ..Default::default() });
    let run = world.run_with("credential rotate quay --password-stdin", "fake-new").await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(world.script().rotated.is_empty() && run.stderr.contains("2 registries"), "{run:?}");
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let other = Credential { name: "credentials/other".into(), ..Default::default() };
    let world = World::start(Script { credentials: vec![credential(&[]), other], ..Default::default() });
    let run = world.run("credential list -o json").await;
    let list: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (list[0]["name"].as_str(), list[1]["name"].as_str()),
        (Some("credentials/quay"), Some("credentials/other"))
    );
    assert_eq!(run.stderr, "");
}

#[tokio::test]
async fn waiting_for_a_link_ends_when_it_is_synced() {
    let pending =
        SyncStatus { state: SyncState::Pending.into(), revision: 4, synced: 0, pending: 1, ..synced() };
    let world = World::start(Script { statuses: vec![told(pending), told(synced())], ..Default::default() });
    let run = world.run(&format!("{LINK} --wait --timeout 20s -o json")).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let link: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(link["clusters"][0], "clusters/dev", "the configured cluster is taken");
}

#[tokio::test]
async fn waiting_for_a_link_fails_with_the_reasons() {
    let reason =
        SyncReason { namespace: "a".into(), code: "NOT_OURS".into(), message: "a Secret is there".into() };
    let failed = SyncStatus {
        state: SyncState::Failed.into(),
        synced: 0,
        failed: 1,
        reasons: vec![reason],
        ..synced()
    };
    let world = World::start(Script { statuses: vec![told(failed)], ..Default::default() });
    let run = world.run(&format!("{LINK} --wait")).await;
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("a: a Secret is there (NOT_OURS)"), "{}", run.stderr);
}

#[tokio::test]
async fn waiting_for_a_link_ends_when_the_time_is_over() {
    let pending = SyncStatus { state: SyncState::Pending.into(), synced: 0, pending: 1, ..synced() };
    let away = ClusterStatus { cluster: "clusters/dev".into(), ..Default::default() };
    let status = WatchSyncStatusResponse { clusters: vec![away], ..told(pending) };
    let world = World::start(Script { statuses: vec![status], ..Default::default() });
    let run = world.run(&format!("{LINK} --wait --timeout 700ms")).await;
    assert_eq!(run.code, Some(1));
    for part in ["0.7 s", "1 pending", "pullpass status --wait", "the applier of dev is not connected"] {
        assert!(run.stderr.contains(part), "{part} is not in {}", run.stderr);
    }
}

#[tokio::test]
async fn waiting_for_a_deletion_ends_when_the_link_is_gone() {
    let world = World::start(Script { links: vec![link()], deleted_is_found: 2, ..Default::default() });
    let run = world.run("link delete web --wait --timeout 20s").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(world.script().deleted_is_found, 0);
}

#[tokio::test]
async fn waiting_for_the_status_waits_for_the_newest_versions() {
    let old = SyncStatus {
        versions: vec![SyncedVersion { credential: "credentials/quay".into(), version: 2 }],
        ..synced()
    };
    let script = |statuses| Script {
        credentials: vec![credential(&[])],
        links: vec![link()],
        statuses,
        ..Default::default()
    };
    let world = World::start(script(vec![told(old.clone())]));
    assert_eq!(world.run("status --wait --timeout 500ms").await.code, Some(1));
    let world = World::start(script(vec![told(old), told(synced())]));
    let run = world.run("status --wait --timeout 20s").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("SYNCED"), "the last status is shown: {run:?}");
}

#[tokio::test]
async fn a_dry_run_asks_the_applier_and_changes_nothing() {
    let change = PlannedChange {
        action: Action::Create.into(),
        kind: "Secret".into(),
        namespace: "a".into(),
        object: "web".into(),
        ..Default::default()
    };
    let plan = PlanSyncResponse { changes: vec![change] };
    let world = World::start(Script { plan, links: vec![link()], ..Default::default() });
    let run = world.run(&format!("{LINK} --dry-run")).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("Secret/web") && run.stderr.contains("nothing is changed"), "{run:?}");
    let run = world.run("link delete web --dry-run").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let script = world.script();
    assert!(script.links_created[0].validate_only && script.links_deleted[0].validate_only);
    assert_eq!(script.planned[0].proposed_secret_links[0].name, "secretLinks/web");
    assert_eq!(script.planned[1].proposed_removals, ["secretLinks/web"]);
}

#[tokio::test]
async fn an_empty_plan_says_so_on_stderr() {
    let world = World::start(Script::default());
    let run = world.run("plan").await;
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "", "nothing to change\n"));
    let run = world.run("plan --cluster other").await;
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("[appliers.other]"), "{}", run.stderr);
}

#[tokio::test]
async fn the_audit_trails_are_listed() {
    let world = World::start(Script::default());
    let run = world.run("audit list -o json").await;
    let events: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(events[0]["action"], "CreateCredential", "{run:?}");
}

#[tokio::test]
async fn what_a_cluster_was_given_is_listed_from_all_pages() {
    let world = World::start(Script::default());
    let run = world.run("audit exposure --cluster prod").await;
    let rows: Vec<Vec<&str>> =
        run.stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["of-prod", "1", "SUPERSEDED", "7"], ["of-prod", "2", "CURRENT", "7"]], "{run:?}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named_with_what_to_check() {
    let (_folder, state) = folder();
    let run = pullpass(&state, "credential list", "").await;
    assert_eq!(run.code, Some(1));
    let endpoint = state.client_config().unwrap().credential_store.endpoint;
    for part in ["UNAVAILABLE", "credential-store", endpoint.as_str(), "start the service"] {
        assert!(run.stderr.contains(part), "{part} is not in {}", run.stderr);
    }
}

#[tokio::test]
async fn a_service_of_another_identity_is_named_with_what_to_check() {
    let world = World::start(Script::default());
    let mut config = world.state.client_config().unwrap();
    config.credential_store.endpoint = config.grant_manager.endpoint.clone();
    std::fs::write(world.state.client_file(), toml::to_string(&config).unwrap()).unwrap();
    let run = world.run("credential list").await;
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("somebody else answers there"), "{}", run.stderr);
}

#[tokio::test]
async fn authorities_that_do_not_know_each_other_are_told() {
    let world = World::start(Script::default());
    let (_folder, stranger) = folder();
    let write = |config: &pullpass::config::ClientConfig| {
        std::fs::write(world.state.client_file(), toml::to_string(config).unwrap()).unwrap();
    };
    let mut config = world.state.client_config().unwrap();
    let own = config.tls.clone();
    config.tls = stranger.client_config().unwrap().tls;
    write(&config);
    let run = world.run("credential list").await;
    assert!(run.code == Some(1) && run.stderr.contains("check tls.authorities"), "{}", run.stderr);
    config.tls.authorities = own.authorities;
    write(&config);
    let run = world.run("credential list").await;
    assert!(run.code == Some(1) && run.stderr.contains("tls.certificate in client.toml"), "{}", run.stderr);
}

#[tokio::test]
async fn exit_codes_tell_usage_from_failure() {
    let (folder, state) = folder();
    let file = folder.path().join("large");
    std::fs::write(&file, vec![b' '; 1024 * 1024 + 1]).unwrap();
    let large = format!("credential import quay --from-file {}", file.display());
    let again = format!("pki init --dir {} --trust-domain d", state.dir().join("pki").display());
    for (line, code, part) in [
        ("--help", 0, ""),
        ("--version", 0, ""),
        ("completion bash", 0, ""),
        ("completion zsh", 0, ""),
        ("completion fish", 0, ""),
        ("nonsense", 2, "nonsense"),
        ("--config /nowhere/client.toml status", 2, "/nowhere/client.toml does not exist"),
        (
            "link create web --credential quay --namespace a --exclude-namespace a --service-account b",
            2,
            "`a`",
        ),
        (large.as_str(), 1, "larger than 1048576 bytes"),
        (again.as_str(), 1, "not overwritten"),
        ("credential create quay --server s --username u --password-file /nowhere", 1, "/nowhere"),
    ] {
        let run = pullpass(&state, line, "").await;
        assert_eq!(run.code, Some(code), "{line}: {run:?}");
        assert!(run.stderr.contains(part), "{line}: {part} is not in {}", run.stderr);
        assert_eq!(run.stdout.is_empty(), code != 0, "data is on stdout, everything else is not: {line}");
    }
}

#[tokio::test]
async fn an_authority_issues_what_it_is_asked_for() {
    let (folder, state) = folder();
    let dir = folder.path().join("own");
    let run = async |line: String| pullpass(&state, &line, "").await;
    let made = run(format!("pki init --dir {} --trust-domain example.org", dir.display())).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let issue =
        |id: &str| format!("pki issue --dir {0} --identity {id} --out {0}/portal -o json", dir.display());
    let foreign = run(issue("spiffe://other.org/platform/portal")).await;
    assert!(foreign.code == Some(1) && foreign.stderr.contains("trust domain"), "{foreign:?}");
    let issued = run(issue("/platform/portal")).await;
    let files: serde_json::Value = serde_json::from_str(&issued.stdout).unwrap();
    let config = pullpass_runtime::config::TlsConfig {
        certificate: files["certificate"].as_str().unwrap().into(),
        key: files["key"].as_str().unwrap().into(),
        authorities: files["authorities"].as_str().unwrap().into(),
        trust_domain: "example.org".into(),
    };
    let tls = pullpass_runtime::Tls::load(&config).unwrap();
    assert_eq!(tls.identity().spiffe_id.as_str(), "spiffe://example.org/platform/portal");
    assert_eq!(run(issue("/platform/portal")).await.code, Some(1), "nothing is overwritten");
    let keys = format!("pki keys --dir {}", dir.display());
    assert_eq!((run(keys.clone()).await.code, run(keys).await.code), (Some(0), Some(1)));
}

#[tokio::test]
async fn keys_are_rotated_batch_by_batch_and_the_sum_is_told() {
    let world = World::start(Script::default());
    let step = |rewrapped, done, removed: &[&str]| RewrapDataKeysResponse {
        rewrapped,
        done,
        key_encryption_key: "new".into(),
        removed_provider_key_ids: removed.iter().map(ToString::to_string).collect(),
    };
    world.script().rewraps =
        vec![step(256, false, &[]), step(0, false, &[]), step(44, false, &[]), step(0, true, &["k1"])];
    let run = world.run("keys rotate -o json").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let rotated: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&rotated["rewrapped"], &rotated["done"]), (&300.into(), &true.into()));
    assert!(run.stderr.contains("KMS key k1") && run.stderr.contains("make a backup"), "{run:?}");

    world.script().refusal =
        Some(status::retry(Code::Unavailable, "KEY_PROVIDER_UNAVAILABLE", "gone", Duration::from_secs(10)));
    world.script().rewraps = vec![step(256, false, &[])];
    let run = world.run("keys rotate").await;
    assert_eq!(run.code, Some(1), "{run:?}");
    for part in
        ["256 data keys were re-wrapped", "again to go on", "KEY_PROVIDER_UNAVAILABLE", "try again in 10"]
    {
        assert!(run.stderr.contains(part), "{part} is not in {}", run.stderr);
    }
}

#[tokio::test]
async fn the_key_status_is_a_table_and_its_advice_is_not_data() {
    let world = World::start(Script::default());
    let key = |id: &str, current, versions| KeyEncryptionKey {
        id: id.into(),
        provider_key_id: format!("kms-{id}"),
        current,
        loaded: true,
        versions,
        ..Default::default()
    };
    world.script().key_status = GetKeyStatusResponse {
        provider: KeyProvider::Kms.into(),
        keys: vec![key("old", false, 3), key("new", true, 5)],
        ..Default::default()
    };
    let run = world.run("keys status").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let rows: Vec<Vec<_>> =
        run.stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [["old", "unknown", "kms-old", "former", "3"], ["new", "unknown", "kms-new", "current", "5"]]
    );
    assert!(run.stderr.contains("3 versions hang on former keys"), "{run:?}");
    let json: serde_json::Value =
        serde_json::from_str(&world.run("keys status -o json").await.stdout).unwrap();
    assert_eq!((&json["provider"], &json["keys"][1]["versions"]), (&"KEY_PROVIDER_KMS".into(), &5.into()));
}
