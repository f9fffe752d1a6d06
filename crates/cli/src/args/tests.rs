use std::path::Path;

use clap::{CommandFactory as _, Parser as _};
use pullpass_api::grant::v1::{
    ImageGrant, NamespaceSelection, Role, SecretLink, SecretType, ServiceAccountSelection,
    ServiceAccountSubject, Usage, image_grant::Subject,
};

use super::*;
use crate::values;

type Change = fn(&mut SecretLink);

fn parse(line: &str) -> Result<Command, clap::Error> {
    let words = std::iter::once("pullpass").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.command)
}

#[test]
fn the_command_line_is_well_defined() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help_with_examples() {
    fn check(command: &mut clap::Command, path: &str) {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:"), "{path} has no examples");
        assert!(command.get_about().is_some(), "{path} says nothing about itself");
        for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
        {
            let path = format!("{path} {}", sub.get_name());
            check(sub, &path);
        }
    }
    check(&mut Cli::command(), "pullpass");
}

#[test]
fn what_is_well_formed_is_accepted() {
    for line in [
        "dev --state-dir d",
        "dev --state-dir d --kubeconfig k --cluster prod",
        "credential create c --server quay.io --username u --password-stdin",
        "credential create c --server quay.io --username u --password-file f --email e@x",
        "credential import c --from-file f",
        "credential import c --from-file -",
        "credential rotate c --password-stdin",
        "credential rotate c --server s --username u --password-file f",
        "credential rotate c --from-file f",
        "credential list",
        "credential get c",
        "credential delete credentials/c",
        "link create l --credential c --namespace n --service-account default",
        "link create l --credential c --credential d --namespace-selector a=b --all-service-accounts --wait",
        "link create l --credential c --all-namespaces --exclude-namespace x --service-account-selector a=b --dry-run",
        "link delete l --wait --timeout 5m",
        "grant create g --project p --to-service-account a/default",
        "grant create g --project p --to-user alice --role BUILD --cluster k --wait",
        "grant delete g --dry-run",
        "cluster create k --applier-identity spiffe://d/applier/k",
        "cluster delete k --force",
        "cluster leave k",
        "cluster leave k --keep-secrets --wait --timeout 5m",
        "status --wait --cluster k",
        "-o json status",
        "status -o yaml --config x/client.toml",
        "plan --cluster a --cluster b",
        "sync",
        "sync --cluster a,b --confirm-deletions",
        "adopt",
        "adopt --cluster k --kubeconfig f --context c -n a -n b -o json",
        "adopt --cluster k --take-ownership quay --take-ownership b",
        "audit list --limit 5",
        "audit head -o yaml",
        "audit export",
        "audit export grant-manager --after 7",
        "audit exposure --cluster k --since 2026-11-24",
        "accept-rollback credential-store --expect 0",
        "pki init --dir d --trust-domain t",
        "pki issue --dir d --identity /platform/portal --out p",
        "pki issue --dir d --identity /platform/portal --out p --replace",
        "pki rotate-authority begin --dir d",
        "pki keys --dir d",
        "completion zsh",
        "keys status -o json",
        "keys rotate",
    ] {
        if let Err(error) = parse(line) {
            panic!("`{line}` was refused: {error}");
        }
    }
}

#[test]
fn wrong_usage_is_told_by_exit_code_2() {
    for line in [
        "",
        "nonsense",
        "dev",
        "credential create c --server s --username u",
        "credential create c --server s --username u --password p",
        "credential create c --server s --username u --password-stdin --password-file f",
        "credential create c --username u --password-stdin",
        "credential create C --server s --username u --password-stdin",
        "credential create links/c --server s --username u --password-stdin",
        "credential import c",
        "credential rotate c",
        "credential rotate c --server s --username u",
        "credential rotate c --from-file f --password-stdin",
        "credential rotate c --from-file f --server s",
        "link create l --namespace n --service-account default",
        "link create l --credential c --service-account default",
        "link create l --credential c --namespace n",
        "link create l --credential c --namespace n --all-namespaces --service-account default",
        "link create l --credential c --namespace n --service-account s --service-account-selector a=b",
        "link create l --credential c --namespace n --service-account s --for push",
        "link create l --credential c --namespace N --service-account s",
        "link create l --credential c --namespace n --service-account s --secret-type opaque",
        "link create l --credential c --namespace n --service-account s --wait --dry-run",
        "grant create g --project p",
        "grant create g --to-user alice",
        "grant create g --project p --to-user a --to-group b",
        "grant create g --project p --to-service-account default",
        "cluster create k",
        "cluster create k --applier-identity k",
        "audit export --after 7",
        "audit export cluster-applier",
        "audit verify f",
        "audit verify --key k",
        "audit verify f --key k --head 7",
        "audit exposure",
        "audit exposure --cluster k --since yesterday",
        "accept-rollback grant-manager",
        "accept-rollback --expect 7",
        "accept-rollback cluster-applier --expect 7",
        "adopt --cluster K",
        "adopt -n Team",
        "adopt --take-ownership",
        "status --timeout soon",
        "completion tcsh",
        "status -o xml",
    ] {
        match parse(line) {
            Ok(command) => panic!("`{line}` was accepted: {command:?}"),
            Err(error) => assert_eq!(error.exit_code(), 2, "{line}"),
        }
    }
}

fn link(arguments: &str) -> SecretLink {
    let line = format!("link create web --credential quay --cluster dev {arguments}");
    let Ok(Command::Link(link::Command::Create(create))) = parse(&line) else {
        panic!("`{line}` was refused")
    };
    create.message(&[values::cluster("dev").unwrap()]).unwrap()
}

#[test]
fn the_arguments_of_a_link_become_its_message() {
    let plain = SecretLink {
        name: "secretLinks/web".into(),
        credentials: vec!["credentials/quay".into()],
        clusters: vec!["clusters/dev".into()],
        namespaces: Some(NamespaceSelection { names: vec!["a".into()], ..Default::default() }),
        service_accounts: Some(ServiceAccountSelection {
            names: vec!["default".into()],
            ..Default::default()
        }),
        usages: vec![Usage::Pull.into()],
        secret_name: "web".into(),
        secret_type: SecretType::Dockerconfigjson.into(),
        ..Default::default()
    };
    let table: [(&str, Change); 8] = [
        ("--namespace a --service-account default", |_| {}),
        ("--namespace a --service-account default --for Pull,MOUNT", |l| {
            l.usages = vec![Usage::Pull.into(), Usage::Mount.into()];
        }),
        ("--namespace a --service-account default --for mount", |l| l.usages = vec![Usage::Mount.into()]),
        ("--namespace a --service-account default --secret-name s --secret-type dockercfg", |l| {
            l.secret_name = "s".into();
            l.secret_type = SecretType::Dockercfg.into();
        }),
        ("--namespace a --service-account default --credential other", |l| {
            l.credentials.push("credentials/other".into());
        }),
        ("--namespace a --namespace b --service-account default,builder", |l| {
            l.namespaces.get_or_insert_default().names = vec!["a".into(), "b".into()];
            l.service_accounts.get_or_insert_default().names = vec!["builder".into(), "default".into()];
        }),
        ("--namespace-selector team=a,tier= --service-account-selector app=x", |l| {
            let labels = [("team".to_owned(), "a".to_owned()), ("tier".to_owned(), String::new())].into();
            l.namespaces = Some(NamespaceSelection { match_labels: labels, ..Default::default() });
            let labels = [("app".to_owned(), "x".to_owned())].into();
            l.service_accounts = Some(ServiceAccountSelection { match_labels: labels, ..Default::default() });
        }),
        ("--all-namespaces --exclude-namespace x --all-service-accounts", |l| {
            let exclude_names = vec!["x".into()];
            l.namespaces = Some(NamespaceSelection { all: true, exclude_names, ..Default::default() });
            l.service_accounts = Some(ServiceAccountSelection { all: true, ..Default::default() });
        }),
    ];
    for (arguments, change) in table {
        let mut expected = plain.clone();
        change(&mut expected);
        assert_eq!(link(arguments), expected, "{arguments}");
    }
}

#[test]
fn contradictions_in_a_link_are_wrong_usage() {
    for arguments in [
        "--namespace a --exclude-namespace a --service-account default",
        "--namespace-selector team=a,team=b --service-account default",
        "--namespace a --service-account default --credential quay",
    ] {
        let line = format!("link create web --credential quay {arguments}");
        let Ok(Command::Link(link::Command::Create(create))) = parse(&line) else {
            panic!("`{line}` was refused")
        };
        let error =
            create.message(&[values::cluster("dev").unwrap()]).map_err(anyhow::Error::from).unwrap_err();
        assert_eq!(crate::failure::exit_code(&error), 2, "{arguments}");
    }
}

#[test]
fn the_arguments_of_a_grant_become_its_message() {
    let account = ServiceAccountSubject { namespace: "project-a".into(), name: "default".into() };
    let table = [
        ("--to-service-account project-a/default", Subject::ServiceAccount(account), Role::Pull),
        ("--to-project project-a", Subject::ProjectServiceAccounts("project-a".into()), Role::Pull),
        ("--to-group developers --role push", Subject::Group("developers".into()), Role::Push),
        ("--to-user alice --role Build", Subject::User("alice".into()), Role::Build),
    ];
    for (arguments, subject, role) in table {
        let line = format!("grant create g --project project-b {arguments}");
        let Ok(Command::Grant(grant::Command::Create(create))) = parse(&line) else {
            panic!("`{line}` was refused")
        };
        let expected = ImageGrant {
            name: "imageGrants/g".into(),
            project: "project-b".into(),
            subject: Some(subject),
            role: role.into(),
            clusters: vec!["clusters/dev".into()],
            ..Default::default()
        };
        assert_eq!(create.message(&[values::cluster("dev").unwrap()]).unwrap(), expected, "{arguments}");
    }
}

#[test]
fn global_options_stand_anywhere() {
    for line in
        ["--config c -o yaml status", "status --config c -o yaml", "credential list -o yaml --config c"]
    {
        let cli = Cli::try_parse_from(std::iter::once("pullpass").chain(line.split_whitespace())).unwrap();
        assert_eq!(
            (cli.global.config.as_deref(), cli.global.output),
            (Some(Path::new("c")), Format::Yaml),
            "{line}"
        );
    }
}
