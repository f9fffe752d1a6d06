//! What authors of portals and pipelines script against: formats, exit codes, streams.

use e2e::Scenario;

#[tokio::test]
async fn data_goes_to_stdout_in_the_format_asked_for_and_all_else_to_stderr() {
    let scenario = Scenario::shared().await;
    let name = scenario.credential("formats", "quay.io", "robot", "fake-password").await;
    let get = ["credential", "get", &name];
    let json = scenario.pullpass.cli(&[&get[..], &["-o", "json"]].concat()).await.ok();
    let value = json.json();
    assert_eq!(value["name"], format!("credentials/{name}"));
    assert_eq!(value["versions"][0]["entries"][0]["username"], "robot");
    assert_eq!(json.stderr, "");
    let yaml = scenario.pullpass.cli(&[&get[..], &["-o", "yaml"]].concat()).await.ok();
    assert!(yaml.stdout.contains(&format!("name: credentials/{name}")), "{}", yaml.stdout);
    let table = scenario.pullpass.cli(&get).await.ok();
    assert!(table.stdout.contains(&name) && table.stdout.contains("quay.io"), "{}", table.stdout);
    let list = scenario.pullpass.cli(&["credential", "list", "-o", "json"]).await.ok().json();
    let names: Vec<_> = list.as_array().expect("an array").iter().map(|item| item["name"].clone()).collect();
    assert!(names.contains(&value["name"]), "{names:?}");
}

#[tokio::test]
async fn the_exit_code_tells_done_failed_and_misused() {
    let scenario = Scenario::shared().await;
    let missing = scenario.pullpass.cli(&["credential", "get", "no-such-credential"]).await;
    assert_eq!((missing.code, missing.stdout.as_str()), (1, ""));
    assert!(missing.stderr.contains("no-such-credential"), "{}", missing.stderr);
    let misused: [&[&str]; 4] = [
        &["credential", "create", "x", "--server", "quay.io", "--username", "u"],
        &[
            "link",
            "create",
            "x",
            "--credential",
            "c",
            "--all-namespaces",
            "--namespace",
            "a",
            "--service-account",
            "b",
        ],
        &["grant", "create", "x", "--project", "p"],
        &["no-such-command"],
    ];
    for arguments in misused {
        let output = scenario.pullpass.cli(arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{arguments:?}: {}", output.stderr);
    }
}

#[tokio::test]
async fn a_password_cannot_be_given_as_an_argument() {
    let scenario = Scenario::shared().await;
    let create = ["credential", "create", "x", "--server", "quay.io", "--username", "u"];
    for flag in ["--password", "--docker-password", "-p"] {
        let output = scenario.pullpass.cli(&[&create[..], &[flag, "fake-password"]].concat()).await;
        assert_eq!(output.code, 2, "{flag} was taken");
    }
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_named_with_its_address() {
    let scenario = Scenario::shared().await;
    let text = std::fs::read_to_string(scenario.pullpass.state().client_file()).unwrap();
    let address = scenario.pullpass.state().address(e2e::pullpass::Service::CredentialStore).to_string();
    let file = scenario.pullpass.state().dir().with_file_name("unreachable.toml");
    std::fs::write(&file, text.replace(&address, "127.0.0.1:9")).unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "credential", "list"];
    let output = scenario.pullpass.cli(&arguments).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stderr.contains("credential-store") && output.stderr.contains("127.0.0.1:9"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn every_command_has_help_with_examples_and_shells_get_completion() {
    let scenario = Scenario::shared().await;
    let commands: [&[&str]; 12] = [
        &[],
        &["credential", "create"],
        &["credential", "import"],
        &["credential", "rotate"],
        &["link", "create"],
        &["link", "delete"],
        &["grant", "create"],
        &["status"],
        &["plan"],
        &["audit", "list"],
        &["pki", "init"],
        &["dev"],
    ];
    for command in commands {
        let help = scenario.pullpass.cli(&[command, &["--help"]].concat()).await.ok();
        assert!(help.stdout.contains("Examples:"), "{command:?} has no examples:\n{}", help.stdout);
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = scenario.pullpass.cli(&["completion", shell]).await.ok();
        assert!(script.stdout.contains("credential"), "{shell}");
    }
}
