//! How far the cluster agrees, as grant-manager tells it.

use pullpass_api::grant::v1::{GetSyncStatusRequest, SyncState, SyncStatus};

use super::World;
use crate::wait::eventually;

impl World {
    /// The status of a link or grant (`secretLinks/web`) in the one cluster, if there is such a thing.
    pub async fn status(&self, name: &str) -> Option<SyncStatus> {
        let request = GetSyncStatusRequest { names: vec![name.to_owned()], ..Default::default() };
        let mut grants = self.pullpass.grant_manager(&self.pullpass.admin());
        let answer = grants.get_sync_status(request).await.expect("a status").into_inner();
        answer.statuses.into_iter().find(|status| status.name == name)
    }

    /// Waits until the status is as `is` wants it.
    pub async fn status_becomes(&self, name: &str, is: impl Fn(&SyncStatus) -> bool) -> SyncStatus {
        eventually(format!("the status of {name}"), async || match self.status(name).await {
            Some(status) if is(&status) => Ok(status),
            other => Err(format!("{other:#?}")),
        })
        .await
    }

    /// Waits until the cluster agrees.
    pub async fn becomes_synced(&self, name: &str) -> SyncStatus {
        self.status_becomes(name, |status| status.state() == SyncState::Synced).await
    }

    /// Waits until it is pending or failed for this reason, which must come with a message for people.
    pub async fn becomes(&self, name: &str, state: SyncState, reason: &str) -> SyncStatus {
        let status =
            self.status_becomes(name, |status| status.state() == state && has_reason(status, reason)).await;
        assert!(status.reasons.iter().all(|reason| !reason.message.is_empty()), "{status:#?}");
        status
    }
}

/// Whether a status gives this reason.
pub fn has_reason(status: &SyncStatus, code: &str) -> bool {
    status.reasons.iter().any(|reason| reason.code == code)
}
