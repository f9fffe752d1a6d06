//! `pullpass audit exposure`: what to rotate after a cluster was broken into.

use clap::Args;
use prost_types::Timestamp;
use pullpass_api::credential::v1::{Exposure, ExposureState, ListExposuresRequest};
use pullpass_domain::name::ClusterName;

use crate::{
    client::{PAGE_SIZE, Session, all_pages},
    output::{self, Resource},
    values,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  pullpass audit exposure --cluster prod
  pullpass audit exposure --cluster prod --since 2026-11-24T08:00:00Z -o json

Rotate what is CURRENT with `pullpass credential rotate`, and revoke every version of the list at its registry: it works there
until then. --since leaves out what was handed out only before that time; it may still be in the cluster all the same.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The cluster
    #[arg(long, value_name = "K", value_parser = values::cluster)]
    cluster: ClusterName,
    /// Only what was handed out at this time or later, as in 2026-11-24T08:00:00Z or 2026-11-24
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    since: Option<Timestamp>,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let (store, cluster) = (session.store(), self.cluster.to_string());
        let exposures = all_pages(async |page_token| {
            let (cluster, since) = (cluster.clone(), self.since);
            let request = ListExposuresRequest { cluster, since, page_size: PAGE_SIZE, page_token };
            let page = store.call("list exposures", async |mut c| c.list_exposures(request).await).await?;
            Ok::<_, crate::failure::CallError>((page.exposures, page.next_page_token))
        });
        let exposures = exposures.await?;
        if exposures.is_empty() {
            output::note(&format!(
                "the audit trail tells of nothing that {cluster} was given: is that its name? `pullpass cluster list`"
            ));
        }
        output::emit(&output::list(session.format, &exposures)?)
    }
}

impl Resource for Exposure {
    const NAME: &'static str = "pullpass.credential.v1.Exposure";
    const HEADERS: &'static [&'static str] = &["CREDENTIAL", "VERSION", "STATE", "FIRST", "LAST", "FETCHES"];

    fn cells(&self) -> Vec<String> {
        let state = match self.state() {
            ExposureState::Unspecified => "",
            ExposureState::Current => "CURRENT",
            ExposureState::Superseded => "SUPERSEDED",
            ExposureState::Destroyed => "DESTROYED",
            ExposureState::Deleted => "DELETED",
        };
        vec![
            values::short(&self.credential),
            self.version.to_string(),
            state.to_owned(),
            output::time(self.first_time.as_ref()),
            output::time(self.last_time.as_ref()),
            self.fetches.to_string(),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let labels = ["Credential", "Version", "State", "First", "Last", "Fetches"];
        labels.into_iter().zip(self.cells()).collect()
    }
}
