//! `pullpass credential`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use pullpass_api::credential::v1::{
    AddCredentialVersionRequest, CreateCredentialRequest, Credential, DeleteCredentialRequest,
    DeleteCredentialResponse, GetCredentialRequest, ListCredentialsRequest, Material, RegistryEntry,
    RegistryLogin, material::Source,
};
use pullpass_domain::{docker_config::DockerConfig, name::CredentialName};

use crate::{
    client::{PAGE_SIZE, Session, Store, all_pages},
    failure::{CallError, Usage},
    input::{self, PasswordSource},
    output::{self, note},
    values,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass credential create quay --server quay.io --username robot --password-stdin < token
  pullpass credential import quay --from-file ~/.docker/config.json
  pullpass credential rotate quay --password-file ./new-token
  pullpass credential list -o json";

const CREATE: &str = "\
Examples:
  pullpass credential create quay --server quay.io --username robot --password-stdin < token
  pullpass credential create hub --server https://index.docker.io/v1/ --username me --password-file ./token";

const IMPORT: &str = "\
Examples:
  pullpass credential import quay --from-file ~/.docker/config.json
  oc get secret quay-pull -o jsonpath='{.data.\\.dockerconfigjson}' | base64 -d | pullpass credential import quay --from-file -";

const ROTATE: &str = "\
Examples:
  pullpass credential rotate quay --password-stdin < new-token        (server and user name stay as they are)
  pullpass credential rotate quay --server quay.io --username robot2 --password-file ./token
  pullpass credential rotate quay --from-file ~/.docker/config.json
  pullpass status --wait                                              (until every cluster has it)";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stores a new credential for one registry
    #[command(after_help = CREATE)]
    Create(Create),
    /// Stores a new credential from a .dockercfg or config.json, told apart by content
    #[command(after_help = IMPORT)]
    Import(Import),
    /// Gives a credential new material; every Secret made of it follows
    #[command(after_help = ROTATE)]
    Rotate(Rotate),
    /// Lists the credentials
    #[command(after_help = "Examples:\n  pullpass credential list\n  pullpass credential list -o json")]
    List,
    /// Shows a credential: registries, user names, versions; never passwords
    #[command(
        after_help = "Examples:\n  pullpass credential get quay\n  pullpass credential get quay -o yaml"
    )]
    Get(Name),
    /// Deletes a credential with all its versions; Secrets that clusters hold already stay
    #[command(after_help = "Examples:\n  pullpass credential delete quay")]
    Delete(Name),
}

#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The credential
    #[arg(value_parser = values::credential)]
    name: CredentialName,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("secret").required(true).args(["password_stdin", "password_file"])))]
pub(crate) struct Create {
    /// The name to give it: lower-case letters, digits and `-`
    #[arg(value_parser = values::credential)]
    name: CredentialName,
    /// The registry, as it shall stand in the docker config: `quay.io`, `https://index.docker.io/v1/`
    #[arg(long)]
    server: String,
    /// User name at the registry
    #[arg(long)]
    username: String,
    #[command(flatten)]
    password: PasswordSource,
    /// E-mail address; registries ignore it
    #[arg(long, default_value = "", hide_default_value = true)]
    email: String,
    /// What it is for, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The name to give it: lower-case letters, digits and `-`
    #[arg(value_parser = values::credential)]
    name: CredentialName,
    /// The file; `-` is stdin. 1 MiB at most
    #[arg(long, value_name = "FILE")]
    from_file: PathBuf,
    /// What it is for, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("secret").required(true).args(["from_file", "password_stdin", "password_file"])))]
pub(crate) struct Rotate {
    /// The credential
    #[arg(value_parser = values::credential)]
    name: CredentialName,
    /// A .dockercfg or config.json to replace everything with; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "username", "email"])]
    from_file: Option<PathBuf>,
    /// The registry; left out, it stays as it is (if the credential has one entry)
    #[arg(long)]
    server: Option<String>,
    /// User name at the registry; left out, it stays as it is (if the credential has one entry)
    #[arg(long)]
    username: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
    /// E-mail address; left out, there is none afterwards
    #[arg(long, default_value = "", hide_default_value = true)]
    email: String,
}

impl Command {
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Create(_) => "pullpass credential create",
            Self::Import(_) => "pullpass credential import",
            Self::Rotate(_) => "pullpass credential rotate",
            Self::List => "pullpass credential list",
            Self::Get(_) => "pullpass credential get",
            Self::Delete(_) => "pullpass credential delete",
        }
    }

    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let store = session.store();
        match self {
            Self::Create(create) => {
                let login = create.login()?;
                stored(session, &store, &create.name, create.description, login).await
            }
            Self::Import(import) => {
                let material = from_file(&import.from_file)?;
                stored(session, &store, &import.name, import.description, material).await
            }
            Self::Rotate(rotate) => rotate.run(session, &store).await,
            Self::List => output::emit(&output::list(session.format, &list(&store).await?)?),
            Self::Get(Name { name }) => {
                output::emit(&output::details(session.format, &get(&store, &name).await?)?)
            }
            Self::Delete(Name { name }) => delete(session, &store, &name).await,
        }
    }
}

impl Create {
    fn login(&self) -> anyhow::Result<Material> {
        let password = self.password.read()?;
        Ok(login(self.server.clone(), self.username.clone(), &password, self.email.clone()))
    }
}

impl Rotate {
    async fn run(self, session: &Session, store: &Store) -> anyhow::Result<()> {
        let (material, etag) = match &self.from_file {
            Some(file) => (from_file(file)?, String::new()),
            None => self.login(store).await?,
        };
        let name = self.name;
        let request = AddCredentialVersionRequest {
            name: name.to_string(),
            material: Some(material),
            etag,
            ..Default::default()
        };
        let attempted = format!("rotate credential {}", name.id());
        let response = store.call(attempted, async |mut c| c.add_credential_version(request).await).await?;
        let credential = response.credential.unwrap_or_default();
        note(&format!("credential {} is at version {} now", name.id(), credential.version));
        output::emit(&output::line(session.format, &credential)?)
    }

    /// What was left out is taken from the current version, and its etag along, so that nobody changes it in between.
    async fn login(&self, store: &Store) -> anyhow::Result<(Material, String)> {
        let password = self.password.read()?;
        if let (Some(server), Some(username)) = (&self.server, &self.username) {
            return Ok((
                login(server.clone(), username.clone(), &password, self.email.clone()),
                String::new(),
            ));
        }
        let current = get(store, &self.name).await?;
        let entry = only_entry(&current)?;
        let server = self.server.clone().unwrap_or_else(|| entry.registry.clone());
        let username = self.username.clone().unwrap_or_else(|| entry.username.clone());
        Ok((login(server, username, &password, self.email.clone()), current.etag))
    }
}

fn only_entry(current: &Credential) -> Result<&RegistryEntry, Usage> {
    match current.versions.first().map_or(&[][..], |newest| &newest.entries) {
        [entry] => Ok(entry),
        entries => Err(Usage(format!(
            "{} has {} registries, so a password alone does not say which is meant, and rotation replaces them all: \
             give --from-file, or --server and --username if one is enough",
            current.name,
            entries.len()
        ))),
    }
}

fn login(server: String, username: String, password: &str, email: String) -> Material {
    let login = RegistryLogin { server, username, password: password.to_owned(), email };
    Material { source: Some(Source::Login(login)) }
}

fn from_file(file: &std::path::Path) -> anyhow::Result<Material> {
    let bytes = input::docker_config(file)?;
    // Whether it is acceptable is for the service to say; only it does not say what is remarkable in what it accepts.
    if let Ok(config) = DockerConfig::parse(&bytes) {
        for warning in config.warnings() {
            note(&format!("warning: {}: {warning}", file.display()));
        }
    }
    Ok(Material { source: Some(Source::DockerConfig(bytes.to_vec())) })
}

async fn stored(
    session: &Session,
    store: &Store,
    name: &CredentialName,
    description: String,
    material: Material,
) -> anyhow::Result<()> {
    let request = CreateCredentialRequest {
        credential_id: name.id().to_owned(),
        description,
        material: Some(material),
        ..Default::default()
    };
    let attempted = format!("create credential {}", name.id());
    let response = store.call(attempted, async |mut c| c.create_credential(request).await).await?;
    note(&format!("credential {} created", name.id()));
    output::emit(&output::line(session.format, &response.credential.unwrap_or_default())?)
}

async fn get(store: &Store, name: &CredentialName) -> Result<Credential, CallError> {
    let request = GetCredentialRequest { name: name.to_string() };
    let attempted = format!("get credential {}", name.id());
    let response = store.call(attempted, async |mut c| c.get_credential(request).await).await?;
    Ok(response.credential.unwrap_or_default())
}

pub(crate) async fn list(store: &Store) -> Result<Vec<Credential>, CallError> {
    all_pages(async |page_token| {
        let request = ListCredentialsRequest { page_size: PAGE_SIZE, page_token };
        let page = store.call("list credentials", async |mut c| c.list_credentials(request).await).await?;
        Ok((page.credentials, page.next_page_token))
    })
    .await
}

async fn delete(session: &Session, store: &Store, name: &CredentialName) -> anyhow::Result<()> {
    let request = DeleteCredentialRequest { name: name.to_string(), ..Default::default() };
    let attempted = format!("delete credential {}", name.id());
    let DeleteCredentialResponse {} =
        store.call(attempted, async |mut c| c.delete_credential(request).await).await?;
    note(&format!("credential {} deleted", name.id()));
    output::emit_empty(session.format)
}

impl output::Resource for Credential {
    const NAME: &'static str = "pullpass.credential.v1.Credential";
    const HEADERS: &'static [&'static str] = &["NAME", "VERSION", "REGISTRIES", "CHANGED"];

    fn cells(&self) -> Vec<String> {
        let newest = self.versions.first();
        let registries: Vec<_> =
            newest.iter().flat_map(|v| &v.entries).map(|e| e.registry.as_str()).collect();
        let added = newest.and_then(|version| version.create_time.as_ref());
        vec![
            values::short(&self.name),
            self.version.to_string(),
            registries.join(","),
            output::time(added.or(self.create_time.as_ref())),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let versions: Vec<_> = self.versions.iter().map(version_line).collect();
        vec![
            ("Name", self.name.clone()),
            ("Description", self.description.clone()),
            ("UID", self.uid.clone()),
            ("Version", self.version.to_string()),
            ("Versions", versions.join("\n")),
            ("Created", output::time(self.create_time.as_ref())),
            ("Updated", output::time(self.update_time.as_ref())),
            ("Revision", self.revision.to_string()),
        ]
    }
}

fn version_line(version: &pullpass_api::credential::v1::CredentialVersion) -> String {
    let entries: Vec<_> =
        version.entries.iter().map(|e| format!("{} ({})", e.registry, e.username)).collect();
    let destroyed = match &version.destroy_time {
        Some(time) => format!("; material destroyed {}", output::time(Some(time))),
        None => String::new(),
    };
    let added = output::time(version.create_time.as_ref());
    format!("{}  {added} by {}: {}{destroyed}", version.version, version.creator, entries.join(", "))
}
