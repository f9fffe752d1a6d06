//! Links and grants: declared for clusters, and taken back from them.
//!
//! ```text
//!  create, update ─► applies ─ update without the cluster, delete ─► leaving ─ confirmed, or cluster deleted ─► forgotten
//!                       ▲     or the cluster leaves                     │              the last cluster's: purged
//!                       └──────────── update with the cluster ──────────┘
//! ```

use prost_types::Timestamp;
use pullpass_api::{
    convert,
    grant::v1::{ImageGrant, Role, SecretLink, image_grant::Subject},
};

use crate::{
    clusters,
    error::Error,
    manager::{Deletion, Manager, Record, check_etag, existing},
    resource::{Resource, Stamp},
    store::{self, targets},
    transaction::{Caller, Details, Transaction},
};

/// A link or a grant.
pub(crate) trait Declaration: Record {
    fn clusters_mut(&mut self) -> &mut Vec<String>;
    fn delete_time_mut(&mut self) -> &mut Option<Timestamp>;
}

impl Declaration for SecretLink {
    fn clusters_mut(&mut self) -> &mut Vec<String> {
        &mut self.clusters
    }

    fn delete_time_mut(&mut self) -> &mut Option<Timestamp> {
        &mut self.delete_time
    }
}

impl Declaration for ImageGrant {
    fn clusters_mut(&mut self) -> &mut Vec<String> {
        &mut self.clusters
    }

    fn delete_time_mut(&mut self) -> &mut Option<Timestamp> {
        &mut self.delete_time
    }
}

macro_rules! record {
    () => {
        fn is_leaving(&self) -> bool {
            self.delete_time.is_some()
        }

        fn audience(&self) -> &[String] {
            &self.clusters
        }

        async fn admit(&self, _name: &str, transaction: &mut Transaction) -> Result<(), Error> {
            let field = format!("{}.clusters", Self::FIELD);
            clusters::check_registered(transaction, &field, &self.clusters).await
        }

        async fn settle(&self, before: Option<&Self>, transaction: &mut Transaction) -> Result<(), Error> {
            let before = before.map(|before| before.clusters.as_slice()).unwrap_or_default();
            for cluster in before.iter().filter(|cluster| !self.clusters.contains(cluster)) {
                targets::leave(transaction.connection(), &self.name, cluster, self.revision).await?;
            }
            for cluster in self.clusters.iter().filter(|cluster| !before.contains(cluster)) {
                targets::join(transaction.connection(), &self.name, cluster).await?;
            }
            Ok(())
        }
    };
}

impl Record for SecretLink {
    fn details(&self) -> Details {
        vec![
            ("credentials", self.credentials.join(",")),
            ("clusters", self.clusters.join(",")),
            ("secret_name", self.secret_name.clone()),
        ]
    }

    record!();
}

impl Record for ImageGrant {
    fn details(&self) -> Details {
        let subject = match &self.subject {
            None => String::new(),
            Some(Subject::ServiceAccount(account)) => {
                format!("system:serviceaccount:{}:{}", account.namespace, account.name)
            }
            Some(Subject::ProjectServiceAccounts(project)) => format!("system:serviceaccounts:{project}"),
            Some(Subject::Group(group)) => format!("group {group}"),
            Some(Subject::User(user)) => format!("user {user}"),
        };
        let role = Role::try_from(self.role).unwrap_or_default().as_str_name().to_owned();
        let (project, clusters) = (self.project.clone(), self.clusters.join(","));
        vec![("project", project), ("subject", subject), ("role", role), ("clusters", clusters)]
    }

    record!();
}

impl Manager {
    /// Begins to take it back; gives it as it is then. Once begun there is nothing more to do.
    pub(crate) async fn delete<D: Declaration>(
        &self,
        caller: Caller,
        deletion: Deletion,
    ) -> Result<D, Error> {
        let name = D::parse_name(&deletion.name).map_err(|problem| Error::name("name", &problem))?;
        let mut transaction = self.write(caller).await?;
        let before: D = existing(&mut transaction, &name).await?;
        check_etag(&deletion.etag, &before)?;
        if before.is_leaving() {
            return Ok(before);
        }
        let revision = transaction.change(D::KIND, &name, false, before.audience(), vec![]).await?;
        for cluster in before.audience() {
            targets::leave(transaction.connection(), &name, cluster, revision).await?;
        }
        let now = Some(convert::timestamp(transaction.now()));
        let mut after = before.clone().stamped(Stamp { update_time: now, revision, ..before.stamp() });
        *after.delete_time_mut() = now;
        store::put(transaction.connection(), &after).await?;
        transaction.commit(deletion.validate_only).await?;
        Ok(after)
    }
}

/// Removes a link or grant for good if no cluster has anything to do with it any more; says whether it did.
pub(crate) async fn purge_if_forgotten(
    transaction: &mut Transaction,
    kind: &str,
    name: &str,
    last: &str,
) -> Result<bool, Error> {
    if !targets::clusters(transaction.connection(), name).await?.is_empty() {
        return Ok(false);
    }
    let details = vec![("purged", true.to_string()), ("cluster", last.to_owned())];
    transaction.change(kind, name, true, &[], details).await?;
    store::remove(transaction.connection(), name).await?;
    Ok(true)
}

/// Lets nothing of this kind apply to a cluster that leaves. Gives the names of what named no other: that is deleted.
pub(crate) async fn take_out<D: Declaration>(
    transaction: &mut Transaction,
    cluster: &str,
) -> Result<Vec<String>, Error> {
    let mut deleted = Vec::new();
    for before in targets::applying::<D>(transaction.connection(), cluster).await? {
        let (name, details) = (before.name().to_owned(), vec![("cluster", cluster.to_owned())]);
        let revision = transaction.change(D::KIND, &name, false, before.audience(), details).await?;
        targets::leave(transaction.connection(), &name, cluster, revision).await?;
        let now = Some(convert::timestamp(transaction.now()));
        let stamp = Stamp { update_time: now, revision, ..before.stamp() };
        let mut after = before.stamped(stamp);
        if after.audience() == [cluster] {
            *after.delete_time_mut() = now;
            deleted.push(name);
        } else {
            after.clusters_mut().retain(|named| named != cluster);
        }
        store::put(transaction.connection(), &after).await?;
    }
    Ok(deleted)
}

/// Takes a cluster that is being deleted out of everything of this kind. It is not told: what it holds
/// stays there. Gives how many of them were purged.
pub(crate) async fn withdraw<D: Declaration>(
    transaction: &mut Transaction,
    cluster: &str,
) -> Result<u64, Error> {
    let mut purged = 0;
    for before in targets::holding::<D>(transaction.connection(), cluster).await? {
        targets::forget(transaction.connection(), before.name(), cluster).await?;
        if purge_if_forgotten(transaction, D::KIND, before.name(), cluster).await? {
            purged += 1;
        } else {
            withdraw_one(transaction, before, cluster).await?;
        }
    }
    Ok(purged)
}

async fn withdraw_one<D: Declaration>(
    transaction: &mut Transaction,
    mut after: D,
    cluster: &str,
) -> Result<(), Error> {
    if !after.audience().iter().any(|named| named == cluster) {
        return Ok(());
    }
    after.clusters_mut().retain(|named| named != cluster);
    let now = convert::timestamp(transaction.now());
    if after.audience().is_empty() {
        // Only clusters are left that it was taken out of before and that have not confirmed it yet.
        after.delete_time_mut().get_or_insert(now);
    }
    let details = vec![("cluster", cluster.to_owned())];
    let name = after.name().to_owned();
    let revision = transaction.change(D::KIND, &name, false, after.audience(), details).await?;
    let stamp = Stamp { update_time: Some(now), revision, ..after.stamp() };
    store::put(transaction.connection(), &after.stamped(stamp)).await
}
