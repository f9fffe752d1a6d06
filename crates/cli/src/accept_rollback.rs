//! `pullpass accept-rollback`: an operator lets an older copy of a service's database count.

use clap::Args;
use pullpass_api::recovery::v1::{AcceptRollbackRequest, AcceptRollbackResponse};

use crate::{
    client::Session,
    output::{self, Resource},
    values::Keeper,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass accept-rollback grant-manager --expect 1180

A service whose database is not the one that it last wrote is sealed: it is not healthy and answers every call with what it
expected and what it found. Put the right database back if there is one: then it serves without further ado. If what is lost
is lost, accept that with the revision that the refusals name. It is told in the audit trail; appliers delete nothing because
of it.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The service
    #[arg(value_enum)]
    service: Keeper,
    /// The revision that the database was found at
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
    expect: i64,
}

impl Arguments {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let request = AcceptRollbackRequest { expect_revision: self.expect };
        let attempted = format!("accept the rollback of {}", self.service);
        let recovery = session.recovery(self.service);
        let accepted = recovery.call(attempted, async |mut c| c.accept_rollback(request).await).await?;
        output::emit(&output::details(session.format, &accepted)?)
    }
}

impl Resource for AcceptRollbackResponse {
    const NAME: &'static str = "pullpass.recovery.v1.AcceptRollbackResponse";
    const HEADERS: &'static [&'static str] = &["REASON", "REVISION", "EPOCH", "HEAD"];

    fn cells(&self) -> Vec<String> {
        let now = self.now.clone().unwrap_or_default();
        let head = format!("{}:{}", now.sequence, now.mac);
        vec![self.reason.clone(), now.revision.to_string(), now.epoch, head]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        ["Accepted", "Revision", "Epoch", "Head"].into_iter().zip(self.cells()).collect()
    }
}
