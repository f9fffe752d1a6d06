//! Somebody who declares things all the time, by the command or over gRPC, and keeps books of what was acknowledged.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use e2e::Pullpass;
use pullpass_api::{
    credential::v1::{
        AddCredentialVersionRequest, CreateCredentialRequest, Material, RegistryLogin, material::Source,
    },
    grant::v1::{
        CreateImageGrantRequest, CreateSecretLinkRequest, DeleteImageGrantRequest, DeleteSecretLinkRequest,
        ImageGrant, NamespaceSelection, Role, SecretLink, ServiceAccountSelection, Usage, image_grant,
    },
};

use crate::dice::Dice;

/// What is declared: what a writer was told, or what the services say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Books {
    /// The newest version of each credential.
    pub(super) credentials: BTreeMap<String, i64>,
    /// The credential and the namespace of each link.
    pub(super) links: BTreeMap<String, (String, String)>,
    /// The project of each grant.
    pub(super) grants: BTreeMap<String, String>,
}

/// One change of what is declared.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Credential(String),
    /// Adds this version.
    Rotation(String, i64),
    Link(String, String, String),
    Unlink(String),
    Grant(String, String),
    Revoke(String),
}

/// The password of a credential's version.
pub(super) fn password(credential: &str, version: i64) -> String {
    format!("{credential}-password-{version}")
}

impl Books {
    /// Whether these books, kept by the services, know of a change.
    pub(super) fn have(&self, change: &Change) -> bool {
        match change {
            Change::Credential(name) => self.credentials.contains_key(name),
            Change::Rotation(name, version) => self.credentials.get(name) == Some(version),
            Change::Link(name, ..) => self.links.contains_key(name),
            Change::Unlink(name) => !self.links.contains_key(name),
            Change::Grant(name, _) => self.grants.contains_key(name),
            Change::Revoke(name) => !self.grants.contains_key(name),
        }
    }

    fn note(&mut self, change: Change) {
        match change {
            Change::Credential(name) => drop(self.credentials.insert(name, 1)),
            Change::Rotation(name, version) => drop(self.credentials.insert(name, version)),
            Change::Link(name, credential, namespace) => {
                self.links.insert(name, (credential, namespace));
            }
            Change::Unlink(name) => drop(self.links.remove(&name)),
            Change::Grant(name, project) => drop(self.grants.insert(name, project)),
            Change::Revoke(name) => drop(self.grants.remove(&name)),
        }
    }
}

/// How a writer talks to the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Command,
    Grpc,
}

/// A writer; its names are its own.
#[derive(Debug)]
pub(super) struct Writer {
    name: String,
    way: Way,
    dice: Dice,
    namespaces: Vec<String>,
    names: u32,
    /// What was acknowledged.
    pub(super) books: Books,
    /// What was asked for and not acknowledged: it may have happened, or not.
    pub(super) doubt: Option<Change>,
    /// How much was acknowledged.
    pub(super) acknowledged: usize,
}

impl Writer {
    pub(super) fn new(name: &str, way: Way, dice: Dice, namespaces: &[String]) -> Self {
        Self {
            name: name.to_owned(),
            way,
            dice,
            namespaces: namespaces.to_vec(),
            names: 0,
            books: Books::default(),
            doubt: None,
            acknowledged: 0,
        }
    }

    /// Writes until it is stopped, or something is not acknowledged.
    pub(super) async fn write(&mut self, pullpass: &Pullpass, stop: &AtomicBool) {
        while self.doubt.is_none() && !stop.load(Ordering::Relaxed) {
            let change = self.next();
            let done = match self.way {
                Way::Command => by_command(pullpass, &change).await,
                Way::Grpc => over_grpc(pullpass, &change).await,
            };
            match done {
                Ok(()) => {
                    self.acknowledged += 1;
                    self.books.note(change);
                }
                Err(error) => {
                    println!("{}: {change:?} is in doubt: {error:#}", self.name);
                    self.doubt = Some(change);
                }
            }
        }
    }

    /// Settles what is in doubt by what the services now say.
    pub(super) fn settle(&mut self, declared: &Books) {
        if let Some(change) = self.doubt.take().filter(|change| declared.have(change)) {
            self.books.note(change);
        }
    }

    fn next(&mut self) -> Change {
        let Self { dice, books, namespaces, .. } = self;
        let links = u64::try_from(books.links.len()).unwrap_or_default();
        let credential = dice.pick(books.credentials.iter()).map(|(name, version)| (name.clone(), *version));
        let link = dice.pick(books.links.keys()).cloned();
        let grant = dice.pick(books.grants.keys()).cloned();
        let namespace = dice.pick(namespaces.iter()).cloned().unwrap_or_default();
        let name = format!("{}-{}", self.name, self.names);
        self.names += 1;
        let Some((credential, version)) = credential else { return Change::Credential(name) };
        match (dice.below(10), link, grant) {
            (0..2, ..) => Change::Credential(name),
            (2..4, ..) => Change::Rotation(credential, version + 1),
            (4..6, Some(link), _) if links > dice.below(8) => Change::Unlink(link),
            (6, _, Some(grant)) => Change::Revoke(grant),
            (6..8, ..) => Change::Grant(name, namespace),
            _ => Change::Link(name, credential, namespace),
        }
    }
}

async fn by_command(pullpass: &Pullpass, change: &Change) -> anyhow::Result<()> {
    let login = ["--server", "quay.io", "--username", "robot", "--password-stdin"];
    let (arguments, input) = match change {
        Change::Credential(name) => {
            ([&["credential", "create", name], &login[..]].concat(), password(name, 1))
        }
        Change::Rotation(name, version) => {
            ([&["credential", "rotate", name], &login[..]].concat(), password(name, *version))
        }
        Change::Link(name, credential, namespace) => (
            [
                &["link", "create", name, "--credential", credential, "--namespace", namespace][..],
                &["--service-account", "default", "--for", "pull"],
            ]
            .concat(),
            String::new(),
        ),
        Change::Unlink(name) => (vec!["link", "delete", name], String::new()),
        Change::Grant(name, project) => {
            (vec!["grant", "create", name, "--project", project, "--to-user", name], String::new())
        }
        Change::Revoke(name) => (vec!["grant", "delete", name], String::new()),
    };
    pullpass.cli_with(input, &arguments).await.into_result().map(drop)
}

async fn over_grpc(pullpass: &Pullpass, change: &Change) -> anyhow::Result<()> {
    let admin = pullpass.admin();
    let (mut store, mut grants) = (pullpass.credential_store(&admin), pullpass.grant_manager(&admin));
    let answer = match change.clone() {
        Change::Credential(name) => {
            let material = Some(material(&name, 1));
            let request = CreateCredentialRequest {
                credential_id: name,
                material,
                ..CreateCredentialRequest::default()
            };
            store.create_credential(request).await.map(drop)
        }
        Change::Rotation(name, version) => {
            let request = AddCredentialVersionRequest {
                material: Some(material(&name, version)),
                name: format!("credentials/{name}"),
                ..AddCredentialVersionRequest::default()
            };
            store.add_credential_version(request).await.map(drop)
        }
        Change::Link(name, credential, namespace) => {
            grants.create_secret_link(link(pullpass, name, &credential, namespace)).await.map(drop)
        }
        Change::Unlink(name) => {
            let name = format!("secretLinks/{name}");
            let request = DeleteSecretLinkRequest { name, ..DeleteSecretLinkRequest::default() };
            grants.delete_secret_link(request).await.map(drop)
        }
        Change::Grant(name, project) => {
            let grant = ImageGrant {
                project,
                subject: Some(image_grant::Subject::User(name.clone())),
                role: Role::Pull.into(),
                clusters: vec![pullpass.state().cluster().to_string()],
                ..ImageGrant::default()
            };
            let request = CreateImageGrantRequest {
                image_grant_id: name,
                image_grant: Some(grant),
                ..CreateImageGrantRequest::default()
            };
            grants.create_image_grant(request).await.map(drop)
        }
        Change::Revoke(name) => {
            let name = format!("imageGrants/{name}");
            let request = DeleteImageGrantRequest { name, ..DeleteImageGrantRequest::default() };
            grants.delete_image_grant(request).await.map(drop)
        }
    };
    answer.context("over gRPC")
}

fn material(credential: &str, version: i64) -> Material {
    let login = RegistryLogin {
        server: "quay.io".to_owned(),
        username: "robot".to_owned(),
        password: password(credential, version),
        ..RegistryLogin::default()
    };
    Material { source: Some(Source::Login(login)) }
}

fn link(pullpass: &Pullpass, name: String, credential: &str, namespace: String) -> CreateSecretLinkRequest {
    let link = SecretLink {
        credentials: vec![format!("credentials/{credential}")],
        clusters: vec![pullpass.state().cluster().to_string()],
        namespaces: Some(NamespaceSelection { names: vec![namespace], ..NamespaceSelection::default() }),
        service_accounts: Some(ServiceAccountSelection {
            names: vec!["default".to_owned()],
            ..ServiceAccountSelection::default()
        }),
        usages: vec![Usage::Pull.into()],
        ..SecretLink::default()
    };
    CreateSecretLinkRequest {
        secret_link_id: name,
        secret_link: Some(link),
        ..CreateSecretLinkRequest::default()
    }
}
