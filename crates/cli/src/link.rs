//! `pullpass link`.

mod create;
mod table;

use clap::{Args, Subcommand};
use pullpass_api::grant::v1::{
    CreateSecretLinkRequest, DeleteSecretLinkRequest, GetSecretLinkRequest, ListSecretLinksRequest,
    SecretLink,
};
use pullpass_domain::name::LinkName;

use crate::{
    client::{Grants, PAGE_SIZE, Session, all_pages},
    failure::CallError,
    output::{self, note},
    plan::{self, Proposal},
    values,
    wait::{self, Wait},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass link create quay --credential quay --namespace team-a --service-account default --wait
  pullpass link create all --credential quay --all-namespaces --exclude-namespace sandbox --all-service-accounts
  pullpass link delete quay --dry-run";

const DELETE: &str = "\
Examples:
  pullpass link delete quay --wait
  pullpass link delete quay --dry-run";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Declares a link: these credentials as a Secret in these namespaces, linked to these service accounts
    #[command(after_help = create::EXAMPLES)]
    Create(Box<create::Create>),
    /// Lists the links
    #[command(after_help = "Examples:\n  pullpass link list\n  pullpass link list -o yaml")]
    List,
    /// Shows a link
    #[command(after_help = "Examples:\n  pullpass link get quay\n  pullpass link get quay -o json")]
    Get {
        /// The link
        #[arg(value_parser = values::link)]
        name: LinkName,
    },
    /// Takes a link back: out of the service accounts first, then the Secret goes
    #[command(after_help = DELETE)]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The link
    #[arg(value_parser = values::link)]
    name: LinkName,
    /// Change nothing; show what would change in each cluster
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Command {
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Create(_) => "pullpass link create",
            Self::List => "pullpass link list",
            Self::Get { .. } => "pullpass link get",
            Self::Delete(_) => "pullpass link delete",
        }
    }

    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => declare(session, *create).await,
            Self::List => output::emit(&output::list(session.format, &list(&session.grants()).await?)?),
            Self::Get { name } => {
                let link = get(&session.grants(), &name).await?;
                output::emit(&output::details(session.format, &link)?)
            }
            Self::Delete(delete) => delete.run(session).await,
        }
    }
}

async fn declare(session: &Session, create: create::Create) -> anyhow::Result<()> {
    let clusters = session.clusters(create.clusters.clone())?;
    let link = create.message(&clusters)?;
    let name = create.name;
    let grants = session.grants();
    let request = CreateSecretLinkRequest {
        secret_link_id: name.id().to_owned(),
        secret_link: Some(link.clone()),
        validate_only: create.dry_run,
        ..Default::default()
    };
    let attempted = format!("create link {}", name.id());
    let response = grants.call(attempted, async |mut c| c.create_secret_link(request).await).await?;
    if create.dry_run {
        return plan::show(session, &clusters, Proposal::link(link)).await;
    }
    let stored = response.secret_link.unwrap_or_default();
    note(&format!("link {} created", name.id()));
    output::emit(&output::line(session.format, &stored)?)?;
    create.wait.until_synced(&grants, &wait::Target::from(&stored)).await
}

impl Delete {
    async fn run(self, session: &Session) -> anyhow::Result<()> {
        let grants = session.grants();
        let name = &self.name;
        let request = DeleteSecretLinkRequest {
            name: name.to_string(),
            validate_only: self.dry_run,
            ..Default::default()
        };
        let attempted = format!("delete link {}", name.id());
        let response = grants.call(attempted, async |mut c| c.delete_secret_link(request).await).await?;
        let leaving = response.secret_link.unwrap_or_default();
        if self.dry_run {
            let clusters = plan::clusters_of(&leaving.clusters)?;
            return plan::show(session, &clusters, Proposal::removal(&leaving.name)).await;
        }
        note(&format!("link {} is being taken back", name.id()));
        output::emit(&output::line(session.format, &leaving)?)?;
        let is_there = async || get(&grants, name).await.map(|now| now.uid == leaving.uid);
        self.wait.until_gone(&grants, &leaving.name, &wait::status_of(&leaving.name), is_there).await
    }
}

async fn get(grants: &Grants, name: &LinkName) -> Result<SecretLink, CallError> {
    let request = GetSecretLinkRequest { name: name.to_string() };
    let attempted = format!("get link {}", name.id());
    let response = grants.call(attempted, async |mut c| c.get_secret_link(request).await).await?;
    Ok(response.secret_link.unwrap_or_default())
}

pub(crate) async fn list(grants: &Grants) -> Result<Vec<SecretLink>, CallError> {
    all_pages(async |page_token| {
        let request = ListSecretLinksRequest { page_size: PAGE_SIZE, page_token };
        let page = grants.call("list links", async |mut c| c.list_secret_links(request).await).await?;
        Ok((page.secret_links, page.next_page_token))
    })
    .await
}
