//! Passwords never appear: canaries go through every path at trace level, and are looked for in everything that was
//! written or said, kind by kind.

mod crash;
mod planted;
mod postgres;
mod said;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{
    Scenario,
    canary::{Scanner, Search},
    collector::Collector,
    pullpass::Service,
};
use pullpass_api::credential::v1::{
    CreateCredentialRequest, FetchPullSecretRequest, Material, RegistryLogin, material::Source,
};
use serde_json::json;

use said::Said;

/// Every password that the scenario uses, on whatever path. Each has a part that every encoding writes in another way, and
/// one by which it is found in what was encoded twice.
const CANARIES: [&str; 9] = [CREATED, IMPORTED, ROTATED, REFUSED, DOCKERCFG, TICKET, LOGIN, FILE, CRASHED];
const CREATED: &str = "fake-canary-created-4b1f /+\"\u{e9}\\";
const IMPORTED: &str = "fake-canary-imported-93c7 /+\"\u{e9}\\";
const ROTATED: &str = "fake-canary-rotated-d02e /+\"\u{e9}\\";
const REFUSED: &str = "fake-canary-refused-77a8";
const DOCKERCFG: &str = "fake-canary-dockercfg-e61b /+\"\u{e9}\\";
const TICKET: &str = "fake-canary-ticket-5c90 /+\"\u{e9}\\";
const LOGIN: &str = "fake-canary-login-38fd /+\"\u{e9}\\";
const FILE: &str = "fake-canary-file-a24c /+\"\u{e9}\\";
const CRASHED: &str = "fake-canary-crashed-c417 /+\"\u{e9}\\";

#[tokio::test]
async fn passwords_are_never_logged_said_or_stored_in_the_clear() {
    let collector = Collector::start().await.unwrap();
    let scenario = Scenario::own("canaries", |options| {
        options.log = "trace".into();
        options.otlp_endpoint = Some(collector.endpoint());
    })
    .await;
    let namespace = scenario.namespace("canary").await;
    let mut said = Said::default();

    accepted_paths(&scenario, &mut said, &namespace).await;
    refused_paths(&scenario, &mut said).await;
    calls_without_the_command(&scenario, &mut said).await;
    reads(&scenario, &mut said).await;
    said.metrics(&scenario).await;
    crash::amid_work(&scenario, &mut said).await;
    said.audit(&scenario).await;
    said.metrics(&scenario).await;
    let secret = scenario.cluster.pull_secret(&namespace, "canary").await.expect("the Secret");

    let scanner = Scanner::new(CANARIES);
    let search = search(&scanner, &scenario, &collector, &said);
    println!("searched\n{}", search.summary());
    search.found_nothing();

    // The positive controls: there was something to look at, and the scanner sees canaries where they are.
    for service in Service::ALL {
        let log = scenario.pullpass.log(service);
        assert!(log.contains("TRACE"), "{} logged nothing at trace level", service.binary_name());
    }
    assert!(!scanner.scan("the Secret in the cluster", &secret).is_empty());
    planted::is_found_in_every_kind(&scanner, &scenario, &collector, &mut said).await;
}

/// Everything that was written so far. What another part of the system writes comes in by a line of its own.
fn search<'a>(scanner: &'a Scanner, scenario: &Scenario, collector: &Collector, said: &Said) -> Search<'a> {
    let state = scenario.pullpass.state();
    let folder = |name: &str| state.dir().join(name);
    let mut search = Search::new(scanner);
    search.folder("logs, those of crashes among them", &folder("logs"));
    search.files("databases", &folder("data"), |file| file.extension().is_some_and(|ending| ending == "db"));
    search.files("write-ahead logs and other files of databases", &folder("data"), |file| {
        file.extension().is_none_or(|ending| ending != "db")
    });
    search.folder("configuration", &folder("config"));
    search.folder("keys and certificates", &folder("keys"));
    search.folder("keys and certificates", &folder("pki"));
    search.folder("temporary files and cores", &scenario.pullpass.temporary_folder());
    search.may_be_empty("temporary files and cores");
    search.files("other files of the state folder", state.dir(), |file| file.parent() == Some(state.dir()));
    search.bytes("traces", "what the collector received", &collector.received());
    search.bytes("metrics", "what the services serve", said.metrics.as_bytes());
    search.bytes("audit trails", "pullpass audit list", said.audit.as_bytes());
    search.bytes("audit exports", "pullpass audit export, verify and exposure", said.exports.as_bytes());
    search.bytes("crash output", "what panics and their backtraces say", said.crashes.as_bytes());
    search.bytes("answers", "what the command and the errors said", said.answers.join("\n").as_bytes());
    let commands = "command lines and environments of the command";
    search.bytes(commands, "/proc while it ran", &said.commands.seen());
    for service in Service::ALL {
        search.process("command lines and environments of services", scenario.pullpass.process_id(service));
    }
    search
}

async fn accepted_paths(scenario: &Scenario, said: &mut Said, namespace: &str) {
    let create =
        ["credential", "create", "canary", "--server", "quay.io", "--username", "robot", "--password-stdin"];
    assert_eq!(said.cli(&scenario.pullpass, CREATED, &create).await, 0, "{:?}", said.answers.last());
    let config = json!({"auths": {"quay.io": {"auth": BASE64_STANDARD.encode(format!("robot:{IMPORTED}"))}}});
    let import = ["credential", "import", "imported", "--from-file", "-"];
    assert_eq!(
        said.cli(&scenario.pullpass, &config.to_string(), &import).await,
        0,
        "{:?}",
        said.answers.last()
    );
    let old_style = json!({"quay.io": {"username": "robot", "password": DOCKERCFG}});
    let import = ["credential", "import", "old-style", "--from-file", "-"];
    assert_eq!(
        said.cli(&scenario.pullpass, &old_style.to_string(), &import).await,
        0,
        "{:?}",
        said.answers.last()
    );
    let link = ["link", "create", "canary", "--credential", "canary", "--namespace", namespace];
    let link = [&link[..], &["--service-account", "default", "--wait"]].concat();
    assert_eq!(said.cli(&scenario.pullpass, "", &link).await, 0, "{:?}", said.answers.last());

    let file = scenario.pullpass.state().dir().with_file_name("password");
    std::fs::write(&file, FILE).unwrap();
    let file = file.to_str().unwrap();
    let login = ["--server", "quay.io", "--username", "robot"];
    let by_file = [&["credential", "rotate", "imported"], &login[..], &["--password-file", file]].concat();
    assert_eq!(said.cli(&scenario.pullpass, "", &by_file).await, 0, "{:?}", said.answers.last());
    let rotate = [&["credential", "rotate", "canary"], &login[..], &["--password-stdin"]].concat();
    assert_eq!(said.cli(&scenario.pullpass, ROTATED, &rotate).await, 0, "{:?}", said.answers.last());
    assert_eq!(said.cli(&scenario.pullpass, "", &["status", "--wait"]).await, 0, "{:?}", said.answers.last());
}

async fn refused_paths(scenario: &Scenario, said: &mut Said) {
    let encoded = BASE64_STANDARD.encode(format!("robot{REFUSED}"));
    let refused = [
        json!({"auths": {"quay.io": {"auth": encoded}}}).to_string(),
        json!({"auths": {"quay.io": {"auth": REFUSED}}}).to_string(),
        json!({"auths": {"quay.io": {"username": format!("robot:{REFUSED}"), "password": REFUSED}}})
            .to_string(),
        json!({"auths": {"quay.io": {"username": "robot", "password": [REFUSED]}}}).to_string(),
        json!({"auths": {"quay.io": {"identitytoken": REFUSED}}}).to_string(),
        json!({"auths": {format!("https://robot:{REFUSED}@quay.io"): {"username": "a", "password": "b"}}})
            .to_string(),
        json!({"credsStore": REFUSED}).to_string(),
        format!("{{\"auths\": {REFUSED}}}"),
        format!("{REFUSED} is not JSON"),
        format!("{{\"auths\": {{}}}} {REFUSED}"),
    ];
    for (number, input) in refused.iter().enumerate() {
        let import = ["credential", "import", "refused", "--from-file", "-"];
        assert_eq!(said.cli(&scenario.pullpass, input, &import).await, 1, "refused[{number}] was taken");
    }
    let taken =
        ["credential", "create", "canary", "--server", "quay.io", "--username", "robot", "--password-stdin"];
    assert_eq!(said.cli(&scenario.pullpass, REFUSED, &taken).await, 1);
    let colon =
        ["credential", "create", "colon", "--server", "quay.io", "--username", "ro:bot", "--password-stdin"];
    assert_eq!(said.cli(&scenario.pullpass, REFUSED, &colon).await, 1);
}

async fn calls_without_the_command(scenario: &Scenario, said: &mut Said) {
    let login = RegistryLogin { password: LOGIN.into(), ..Default::default() };
    let request = CreateCredentialRequest {
        credential_id: "No Name".into(),
        material: Some(Material { source: Some(Source::Login(login)) }),
        ..Default::default()
    };
    let pullpass = &scenario.pullpass;
    for caller in [pullpass.admin(), pullpass.applier()] {
        let refused = pullpass.credential_store(&caller).create_credential(request.clone()).await;
        said.status(&refused.expect_err("refused"));
        let ticket = FetchPullSecretRequest { ticket: TICKET.into() };
        let refused = pullpass.credential_store(&caller).fetch_pull_secret(ticket).await;
        said.status(&refused.expect_err("refused"));
    }
}

async fn reads(scenario: &Scenario, said: &mut Said) {
    let commands: [&[&str]; 8] = [
        &["credential", "list", "-o", "yaml"],
        &["credential", "get", "canary", "-o", "json"],
        &["link", "get", "canary"],
        &["status", "-o", "json"],
        &["plan"],
        &["audit", "list", "-o", "json"],
        &["credential", "delete", "old-style"],
        &["credential", "get", "old-style"],
    ];
    for command in commands {
        said.cli(&scenario.pullpass, "", command).await;
    }
}
