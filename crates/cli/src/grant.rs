//! `pullpass grant`.

mod create;
mod table;

use clap::{Args, Subcommand};
use pullpass_api::grant::v1::{
    CreateImageGrantRequest, DeleteImageGrantRequest, GetImageGrantRequest, ImageGrant,
    ListImageGrantsRequest,
};
use pullpass_domain::name::GrantName;

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
  pullpass grant create a-pulls-b --project project-b --to-service-account project-a/default --wait
  pullpass grant create all-a-pull-b --project project-b --to-project project-a
  pullpass grant delete a-pulls-b --dry-run";

const DELETE: &str = "\
Examples:
  pullpass grant delete a-pulls-b --wait
  pullpass grant delete a-pulls-b --dry-run";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Declares a grant: this one may pull, push or build the images of that project
    #[command(after_help = create::EXAMPLES)]
    Create(Box<create::Create>),
    /// Lists the grants
    #[command(after_help = "Examples:\n  pullpass grant list\n  pullpass grant list -o yaml")]
    List,
    /// Shows a grant
    #[command(
        after_help = "Examples:\n  pullpass grant get a-pulls-b\n  pullpass grant get a-pulls-b -o json"
    )]
    Get {
        /// The grant
        #[arg(value_parser = values::grant)]
        name: GrantName,
    },
    /// Takes a grant back
    #[command(after_help = DELETE)]
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The grant
    #[arg(value_parser = values::grant)]
    name: GrantName,
    /// Change nothing; show what would change in each cluster
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Command {
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Create(_) => "pullpass grant create",
            Self::List => "pullpass grant list",
            Self::Get { .. } => "pullpass grant get",
            Self::Delete(_) => "pullpass grant delete",
        }
    }

    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => declare(session, *create).await,
            Self::List => output::emit(&output::list(session.format, &list(&session.grants()).await?)?),
            Self::Get { name } => {
                let grant = get(&session.grants(), &name).await?;
                output::emit(&output::details(session.format, &grant)?)
            }
            Self::Delete(delete) => delete.run(session).await,
        }
    }
}

async fn declare(session: &Session, create: create::Create) -> anyhow::Result<()> {
    let clusters = session.clusters(create.clusters.clone())?;
    let grant = create.message(&clusters)?;
    let name = create.name;
    let grants = session.grants();
    let request = CreateImageGrantRequest {
        image_grant_id: name.id().to_owned(),
        image_grant: Some(grant.clone()),
        validate_only: create.dry_run,
        ..Default::default()
    };
    let attempted = format!("create grant {}", name.id());
    let response = grants.call(attempted, async |mut c| c.create_image_grant(request).await).await?;
    if create.dry_run {
        return plan::show(session, &clusters, Proposal::grant(grant)).await;
    }
    let stored = response.image_grant.unwrap_or_default();
    note(&format!("grant {} created", name.id()));
    output::emit(&output::line(session.format, &stored)?)?;
    create.wait.until_synced(&grants, &wait::Target::from(&stored)).await
}

impl Delete {
    async fn run(self, session: &Session) -> anyhow::Result<()> {
        let grants = session.grants();
        let name = &self.name;
        let request = DeleteImageGrantRequest {
            name: name.to_string(),
            validate_only: self.dry_run,
            ..Default::default()
        };
        let attempted = format!("delete grant {}", name.id());
        let response = grants.call(attempted, async |mut c| c.delete_image_grant(request).await).await?;
        let leaving = response.image_grant.unwrap_or_default();
        if self.dry_run {
            let clusters = plan::clusters_of(&leaving.clusters)?;
            return plan::show(session, &clusters, Proposal::removal(&leaving.name)).await;
        }
        note(&format!("grant {} is being taken back", name.id()));
        output::emit(&output::line(session.format, &leaving)?)?;
        let is_there = async || get(&grants, name).await.map(|now| now.uid == leaving.uid);
        self.wait.until_gone(&grants, &leaving.name, &wait::status_of(&leaving.name), is_there).await
    }
}

async fn get(grants: &Grants, name: &GrantName) -> Result<ImageGrant, CallError> {
    let request = GetImageGrantRequest { name: name.to_string() };
    let attempted = format!("get grant {}", name.id());
    let response = grants.call(attempted, async |mut c| c.get_image_grant(request).await).await?;
    Ok(response.image_grant.unwrap_or_default())
}

pub(crate) async fn list(grants: &Grants) -> Result<Vec<ImageGrant>, CallError> {
    all_pages(async |page_token| {
        let request = ListImageGrantsRequest { page_size: PAGE_SIZE, page_token };
        let page = grants.call("list grants", async |mut c| c.list_image_grants(request).await).await?;
        Ok((page.image_grants, page.next_page_token))
    })
    .await
}
