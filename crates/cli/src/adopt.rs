//! `pullpass adopt`: what a cluster has already, and what would have to be declared for it to be ours.
//!
//! ```text
//!  kubectl get ─► survey ─┐
//!  the services' lists ───┴─► propose (pure) ─► show              --take-ownership ─► take ─► the services, kubectl
//! ```
//!
//! It acts with the rights that its user has in the cluster, by `kubectl` or `oc`: so the applier's need not grow, and no
//! service hands out a Secret that is not ours.

mod kubectl;
mod propose;
mod show;
mod survey;
mod take;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::Args;
use pullpass_api::convert;
use pullpass_domain::name::{ClusterName, CredentialName, GrantName, LinkName, Namespace};

use self::{
    kubectl::Kubectl,
    propose::{Declared, Proposals, Stored},
    take::Site,
};
use crate::{
    client::Session,
    cluster, credential,
    failure::Usage,
    grant, link,
    output::{self, note},
    values,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass adopt --cluster prod                                  (changes nothing; as you, by kubectl or oc)
  pullpass adopt --cluster prod -n team-a -n team-b -o yaml
  pullpass adopt --cluster prod --take-ownership quay --take-ownership project-b-image-puller

From then on the objects are ours: rotations reach them, and `link delete` and `grant delete` take them away.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The cluster, as it is registered. Default: `clusters` in client.toml, if that is one
    #[arg(long, value_name = "K", value_parser = values::cluster)]
    cluster: Option<ClusterName>,
    /// How kubectl reaches that cluster. Default: as always
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. Default: its current one
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// A namespace; can be repeated. Default: all but kube-*, openshift and openshift-*
    #[arg(short, long = "namespace", value_name = "NS", value_delimiter = ',', value_parser = values::namespace)]
    namespaces: Vec<Namespace>,
    /// Carry out this proposal: declare what it says, and let its objects become ours; can be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    take_ownership: Vec<String>,
}

impl Arguments {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let cluster = self.cluster(session)?;
        cluster::get(&session.grants(), &cluster).await?;
        let kubectl = Kubectl::find(self.kubeconfig.as_deref(), self.context.as_deref())?;
        let found = survey::survey(&kubectl, &self.namespaces).await?;
        let declared = declared(session).await?;
        let mut proposals = propose::propose(&cluster, &self.namespaces, &found, &declared);
        drop(found);
        if self.take_ownership.is_empty() {
            tell(&proposals);
            return output::emit(&show::render(session.format, &proposals)?);
        }
        choose(&mut proposals, &declared, &self.take_ownership)?;
        let site = Site { session, kubectl: &kubectl, cluster: &cluster };
        for pull in &proposals.pulls {
            site.pull(pull).await?;
        }
        for access in &proposals.accesses {
            site.access(access).await?;
        }
        output::emit(&show::render(session.format, &proposals)?)
    }

    fn cluster(&self, session: &Session) -> Result<ClusterName, Usage> {
        let mut clusters = session.clusters(self.cluster.clone().into_iter().collect())?;
        match (clusters.pop(), clusters.is_empty()) {
            (Some(cluster), true) => Ok(cluster),
            _ => Err(Usage("adopt looks at one cluster at a time: give --cluster".into())),
        }
    }
}

/// Leaves the proposals that were named. What an earlier run brought so far that the applier does the rest is no mistake.
fn choose(proposals: &mut Proposals, declared: &Declared, names: &[String]) -> Result<(), Usage> {
    let pulls = proposals.pulls.iter().map(|pull| &pull.name);
    let valid: Vec<_> = pulls.chain(proposals.accesses.iter().map(|access| &access.name)).collect();
    for name in names.iter().filter(|name| !valid.contains(name)) {
        if !declared.links_adopted(name) {
            let valid: Vec<_> = valid.into_iter().map(String::as_str).collect();
            let valid = if valid.is_empty() { "nothing".to_owned() } else { valid.join(", ") };
            return Err(Usage(format!("`{name}` is not proposed; proposed is: {valid}")));
        }
        note(&format!("{name} is declared already; `pullpass status` says how far the clusters agree"));
    }
    proposals.pulls.retain(|pull| names.contains(&pull.name));
    proposals.accesses.retain(|access| names.contains(&access.name));
    proposals.left_out.clear();
    Ok(())
}

fn tell(proposals: &Proposals) {
    for pull in &proposals.pulls {
        pull.notes.iter().for_each(|remark| note(&format!("{}: {remark}", pull.name)));
    }
    if proposals.pulls.is_empty() && proposals.accesses.is_empty() {
        note("nothing to propose");
    } else {
        note("nothing is changed; carry out a proposal with --take-ownership NAME");
    }
}

async fn declared(session: &Session) -> anyhow::Result<Declared> {
    let mut declared = Declared::default();
    for credential in credential::list(&session.store()).await? {
        let entries = credential.versions.into_iter().next().map(|newest| newest.entries).unwrap_or_default();
        let stored = Stored {
            description: credential.description,
            entries: entries.into_iter().map(|entry| (entry.registry, entry.username)).collect(),
            etag: credential.etag,
        };
        declared.credentials.insert(CredentialName::parse(&credential.name)?, stored);
    }
    for message in link::list(&session.grants()).await? {
        let name = LinkName::parse(&message.name)?;
        let link = convert::link(&name, &message)?;
        declared.links.insert(name, link);
    }
    for message in grant::list(&session.grants()).await? {
        declared.grants.insert(GrantName::parse(&message.name)?, convert::grant(&message)?);
    }
    Ok(declared)
}
