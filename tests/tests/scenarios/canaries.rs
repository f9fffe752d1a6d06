//! Passwords never appear: canaries go through every path at trace level, and are looked for in everything that was
//! written or said.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{
    Scenario,
    canary::{Hit, Scanner},
    pullpass::Service,
};
use pullpass_api::credential::v1::{
    CreateCredentialRequest, FetchPullSecretRequest, Material, RegistryLogin, material::Source,
};
use serde_json::json;

/// Every password that the scenario uses, on whatever path.
const CANARIES: [&str; 8] = [CREATED, IMPORTED, ROTATED, REFUSED, DOCKERCFG, TICKET, LOGIN, FILE];
const CREATED: &str = "fake-canary-created-4b1f";
const IMPORTED: &str = "fake-canary-imported-93c7";
const ROTATED: &str = "fake-canary-rotated-d02e";
const REFUSED: &str = "fake-canary-refused-77a8";
const DOCKERCFG: &str = "fake-canary-dockercfg-e61b";
const TICKET: &str = "fake-canary-ticket-5c90";
const LOGIN: &str = "fake-canary-login-38fd";
const FILE: &str = "fake-canary-file-a24c";

/// All that was said to a user.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    async fn cli(&mut self, scenario: &Scenario, input: &str, arguments: &[&str]) -> i32 {
        let output = scenario.pullpass.cli_with(input, arguments).await;
        self.0.extend([output.stdout, output.stderr]);
        output.code
    }

    fn status(&mut self, status: &tonic::Status) {
        let details = String::from_utf8_lossy(status.details()).into_owned();
        self.0.push(format!("{status:?} {status} {details}"));
    }
}

#[tokio::test]
async fn passwords_are_never_logged_said_or_stored_in_the_clear() {
    let scenario = Scenario::own("canaries", |options| options.log = "trace".into()).await;
    let namespace = scenario.namespace("canary").await;
    let mut said = Said::default();

    accepted_paths(&scenario, &mut said, &namespace).await;
    refused_paths(&scenario, &mut said).await;
    calls_without_the_command(&scenario, &mut said).await;
    reads(&scenario, &mut said).await;
    let secret = scenario.cluster.pull_secret(&namespace, "canary").await.expect("the Secret");

    let scanner = Scanner::new(CANARIES);
    let state = scenario.pullpass.state().dir().to_owned();
    let (mut hits, searched) = scanner.scan_folder(&state, |_| false);
    hits.extend(scanner.scan("what the command and the errors said", said.0.join("\n").as_bytes()));
    assert_eq!(hits, Vec::<Hit>::new(), "secrets were found in the clear");
    println!("searched {} bytes", searched + said.0.concat().len());

    // The positive controls: there was something to look at, and the scanner sees canaries where they are.
    for service in Service::ALL {
        let log = scenario.pullpass.log(service);
        assert!(log.contains("TRACE"), "{} logged nothing at trace level", service.binary_name());
    }
    assert!(!scanner.scan("the Secret in the cluster", &secret).is_empty());
    let planted = state.join("logs/planted.log");
    std::fs::write(&planted, format!("auth: {}", BASE64_STANDARD.encode(format!("robot:{CREATED}"))))
        .unwrap();
    let (hits, _) = scanner.scan_folder(&state, |_| false);
    assert_eq!(hits.len(), 1, "the planted canary was not found");
    assert!(hits[0].place.ends_with("planted.log"));
}

async fn accepted_paths(scenario: &Scenario, said: &mut Said, namespace: &str) {
    let create =
        ["credential", "create", "canary", "--server", "quay.io", "--username", "robot", "--password-stdin"];
    assert_eq!(said.cli(scenario, CREATED, &create).await, 0, "{:?}", said.0.last());
    let config = json!({"auths": {"quay.io": {"auth": BASE64_STANDARD.encode(format!("robot:{IMPORTED}"))}}});
    let import = ["credential", "import", "imported", "--from-file", "-"];
    assert_eq!(said.cli(scenario, &config.to_string(), &import).await, 0, "{:?}", said.0.last());
    let old_style = json!({"quay.io": {"username": "robot", "password": DOCKERCFG}});
    let import = ["credential", "import", "old-style", "--from-file", "-"];
    assert_eq!(said.cli(scenario, &old_style.to_string(), &import).await, 0, "{:?}", said.0.last());
    let link = ["link", "create", "canary", "--credential", "canary", "--namespace", namespace];
    let link = [&link[..], &["--service-account", "default", "--wait"]].concat();
    assert_eq!(said.cli(scenario, "", &link).await, 0, "{:?}", said.0.last());

    let file = scenario.pullpass.state().dir().with_file_name("password");
    std::fs::write(&file, FILE).unwrap();
    let file = file.to_str().unwrap();
    let login = ["--server", "quay.io", "--username", "robot"];
    let by_file = [&["credential", "rotate", "imported"], &login[..], &["--password-file", file]].concat();
    assert_eq!(said.cli(scenario, "", &by_file).await, 0, "{:?}", said.0.last());
    let rotate = [&["credential", "rotate", "canary"], &login[..], &["--password-stdin"]].concat();
    assert_eq!(said.cli(scenario, ROTATED, &rotate).await, 0, "{:?}", said.0.last());
    assert_eq!(said.cli(scenario, "", &["status", "--wait"]).await, 0, "{:?}", said.0.last());
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
        assert_eq!(said.cli(scenario, input, &import).await, 1, "refused[{number}] was taken");
    }
    let taken =
        ["credential", "create", "canary", "--server", "quay.io", "--username", "robot", "--password-stdin"];
    assert_eq!(said.cli(scenario, REFUSED, &taken).await, 1);
    let colon =
        ["credential", "create", "colon", "--server", "quay.io", "--username", "ro:bot", "--password-stdin"];
    assert_eq!(said.cli(scenario, REFUSED, &colon).await, 1);
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
        said.cli(scenario, "", command).await;
    }
}
