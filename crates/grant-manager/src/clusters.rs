//! Clusters: registered with the one identity that may act for them, and forgotten again.

use pullpass_api::{
    convert,
    grant::v1::{Cluster, ImageGrant, SecretLink},
};

use crate::{
    declarations,
    error::Error,
    manager::{Deletion, Manager, Record, check_etag, existing},
    metrics,
    resource::Resource,
    store::{self, appliers, targets},
    transaction::{Caller, Details, Transaction},
};

/// So many links and grants are named to somebody who wants to delete their cluster.
const NAMED: usize = 3;

impl Record for Cluster {
    fn is_leaving(&self) -> bool {
        self.delete_time.is_some()
    }

    fn audience(&self) -> &[String] {
        &[]
    }

    fn details(&self) -> Details {
        vec![("applier_identity", self.applier_identity.clone())]
    }

    async fn admit(&self, name: &str, transaction: &mut Transaction) -> Result<(), Error> {
        let identity = self.applier_identity.clone();
        match appliers::holder(transaction.connection(), &identity).await? {
            Some(cluster) if cluster != name => Err(Error::IdentityTaken { identity, cluster }),
            Some(_) | None => Ok(()),
        }
    }

    async fn settle(&self, _before: Option<&Self>, transaction: &mut Transaction) -> Result<(), Error> {
        appliers::appoint(transaction.connection(), &self.name, &self.applier_identity).await
    }
}

impl Manager {
    pub(crate) async fn delete_cluster(
        &self,
        caller: Caller,
        deletion: Deletion,
        force: bool,
    ) -> Result<(), Error> {
        let name = Cluster::parse_name(&deletion.name).map_err(|problem| Error::name("name", &problem))?;
        let mut transaction = self.write(caller).await?;
        let cluster: Cluster = existing(&mut transaction, &name).await?;
        check_etag(&deletion.etag, &cluster)?;
        let mut purged = 0;
        if force {
            purged += declarations::withdraw::<SecretLink>(&mut transaction, &name).await?;
            purged += declarations::withdraw::<ImageGrant>(&mut transaction, &name).await?;
        } else {
            refuse_if_used(&mut transaction, &name).await?;
        }
        let details = vec![("force", force.to_string())];
        transaction.change(Cluster::KIND, &name, true, &[], details).await?;
        store::remove(transaction.connection(), &name).await?;
        transaction.commit(deletion.validate_only).await?;
        if !deletion.validate_only {
            metrics::purged(purged);
        }
        Ok(())
    }
}

async fn refuse_if_used(transaction: &mut Transaction, cluster: &str) -> Result<(), Error> {
    let targets = targets::list(transaction.connection(), Some(cluster), &[].into()).await?;
    if targets.is_empty() {
        return Ok(());
    }
    let mut users: Vec<String> =
        targets.iter().take(NAMED).map(|target| target.declaration.clone()).collect();
    if targets.len() > NAMED {
        users.push(format!("{} more", targets.len() - NAMED));
    }
    Err(Error::ClusterInUse { cluster: cluster.to_owned(), users: users.join(", ") })
}

/// Refuses clusters that are not registered, or not for long. `field` is that of the list.
pub(crate) async fn check_registered(
    transaction: &mut Transaction,
    field: &str,
    clusters: &[String],
) -> Result<(), Error> {
    for (i, name) in clusters.iter().enumerate() {
        let problem = match store::get::<Cluster>(transaction.connection(), name).await? {
            Some(cluster) if !cluster.is_leaving() => continue,
            Some(_) => format!("`{name}` is leaving: nothing can be declared for it any more"),
            None => {
                let id = name.rsplit('/').next().unwrap_or_default();
                format!("`{name}` does not exist: register it with `pullpass cluster create {id}`")
            }
        };
        return Err(convert::Error::new(format!("{field}[{i}]"), problem).into());
    }
    Ok(())
}
