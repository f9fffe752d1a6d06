//! Clusters that leave: nothing applies to them any more, their appliers take back or let go what they hold, and when
//! they report that nothing is left the clusters are forgotten.
//!
//! The cluster itself changes first, and with that every open stream of its applier ends: it learns in which way its
//! cluster leaves from a snapshot, together with the fact that nothing is wanted there, and from nothing before it.

use pullpass_api::{
    convert,
    grant::v1::{Cluster, ClusterLeave, ImageGrant, SecretLink},
};

use crate::{
    declarations,
    error::Error,
    manager::{Deletion, Manager, Record, check_etag, existing},
    resource::{Resource, Stamp},
    store,
    transaction::{Caller, Transaction},
};

impl Manager {
    /// Begins it; gives the cluster as it is then, and the links and grants that are deleted with it. Once begun there is
    /// nothing more to do.
    pub(crate) async fn leave_cluster(
        &self,
        caller: Caller,
        departure: Deletion,
        leave: i32,
    ) -> Result<(Cluster, Vec<String>), Error> {
        let name = Cluster::parse_name(&departure.name).map_err(|problem| Error::name("name", &problem))?;
        let leave = way(leave)?;
        let mut transaction = self.write(caller).await?;
        let before: Cluster = existing(&mut transaction, &name).await?;
        check_etag(&departure.etag, &before)?;
        if before.is_leaving() {
            let same = before.leave() == leave;
            return if same { Ok((before, Vec::new())) } else { Err(Error::BeingTakenBack(name)) };
        }
        let details = vec![("leave", leave.as_str_name().to_owned())];
        let revision = transaction.change(Cluster::KIND, &name, false, &[], details).await?;
        let now = Some(convert::timestamp(transaction.now()));
        let stamp = Stamp { update_time: now, revision, ..before.stamp() };
        let after = Cluster { delete_time: now, leave: leave.into(), ..before.stamped(stamp) };
        store::put(transaction.connection(), &after).await?;
        let mut deleted = declarations::take_out::<SecretLink>(&mut transaction, &name).await?;
        deleted.extend(declarations::take_out::<ImageGrant>(&mut transaction, &name).await?);
        transaction.commit(departure.validate_only).await?;
        Ok((after, deleted))
    }
}

fn way(leave: i32) -> Result<ClusterLeave, convert::Error> {
    match ClusterLeave::try_from(leave) {
        Ok(ClusterLeave::Unspecified | ClusterLeave::TakeBack) => Ok(ClusterLeave::TakeBack),
        Ok(ClusterLeave::Keep) => Ok(ClusterLeave::Keep),
        Err(_) => Err(convert::Error::new("leave", "is not known: give CLUSTER_LEAVE_TAKE_BACK or _KEEP")),
    }
}

/// The cluster holds nothing of ours any more.
pub(crate) async fn forget(transaction: &mut Transaction, cluster: &str) -> Result<(), Error> {
    let details = vec![("purged", true.to_string())];
    transaction.change(Cluster::KIND, cluster, true, &[], details).await?;
    store::remove(transaction.connection(), cluster).await
}
