//! An operator accepts the database as it is: one transaction with a new epoch and the event that tells of it.

use std::collections::BTreeMap;

use pullpass_api::{
    audit::v1::AuditHead,
    convert::timestamp,
    recovery::v1::{AcceptRollbackRequest, AcceptRollbackResponse, recovery_server::Recovery as Wire},
};
use pullpass_database::{AuditEntry, Head};
use pullpass_domain::audit::ACCEPT_ROLLBACK;
use pullpass_runtime::{peer, status};
use tonic::{Code, Request, Response, Status};

use crate::{
    Recovery, StateError,
    judge::{Discord, EXPECTED_EPOCH, FOUND_EPOCH, judge},
    log_head,
    state_file::State,
};

/// Why nothing was accepted.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the service is not sealed: there is nothing to accept")]
    NotSealed,
    #[error("the database is at revision {found}, not {expected}: look again at what is to be accepted")]
    Unexpected { expected: i64, found: i64 },
    #[error(transparent)]
    Database(#[from] pullpass_database::Error),
    #[error("the new epoch is begun, but the service stays sealed")]
    StateFile(#[from] StateError),
}

/// What was accepted.
#[derive(Debug)]
struct Accepted {
    discord: Discord,
    now: Head,
}

#[tonic::async_trait]
impl Wire for Recovery {
    async fn accept_rollback(
        &self,
        request: Request<AcceptRollbackRequest>,
    ) -> Result<Response<AcceptRollbackResponse>, Status> {
        let principal = peer(&request)?.spiffe_id.to_string();
        let Accepted { discord, now } = self.accept(principal, request.get_ref().expect_revision).await?;
        Ok(Response::new(AcceptRollbackResponse {
            reason: discord.reason().to_owned(),
            before: Some(wire_head(discord.found())),
            now: Some(wire_head(&now)),
        }))
    }
}

impl Recovery {
    async fn accept(&self, principal: String, expected: i64) -> Result<Accepted, Error> {
        let _alone = self.0.accepting.lock().await;
        // From here on no other replica accepts anything.
        let mut write = self.0.database.write().await?;
        self.go_along().await?;
        let discord = self.discord().clone().ok_or(Error::NotSealed)?;
        let found = write.head().await?;
        if found.revision != expected {
            return Err(Error::Unexpected { expected, found: found.revision });
        }
        let epoch = self.0.clock.new_id().to_string();
        write.begin_epoch(&epoch).await?;
        let entry = AuditEntry {
            time: self.0.clock.now(),
            principal,
            action: ACCEPT_ROLLBACK.to_owned(),
            resource: format!("epochs/{epoch}"),
            details: details(&discord, &State::from(&found)),
        };
        write.audit(entry).await?;
        let now = write.head().await?;
        write.commit().await?;
        self.unseal(&discord, &now)?;
        Ok(Accepted { discord, now })
    }

    /// While sealed: serves if another replica was told to let the same database count.
    pub(crate) async fn follow_acceptance(&self) -> anyhow::Result<()> {
        let _alone = self.0.accepting.lock().await;
        Ok(self.go_along().await?)
    }

    /// By the rule of a new start, and only from one epoch to another: the right database that is back under us takes a new
    /// start, and who remembers nothing cannot know which database the other replica was told to let count.
    async fn go_along(&self) -> Result<(), Error> {
        let (discord, remembered) = (self.discord().clone(), self.0.file.read()?);
        let (Some(discord), Some(remembered)) = (discord, remembered) else { return Ok(()) };
        let mut read = self.0.database.read().await?;
        let now = read.head().await?;
        let is_news = now.epoch != discord.found().epoch && now.epoch != remembered.epoch;
        if is_news && judge(&mut read, Some(&remembered), "").await?.is_none() {
            self.unseal(&discord, &now)?;
        }
        Ok(())
    }

    fn unseal(&self, discord: &Discord, now: &Head) -> Result<(), Error> {
        self.0.file.write(&State::from(now))?;
        *self.discord() = None;
        self.0.gate.open();
        tracing::warn!(reason = discord.reason(), "an operator accepted the database as it is");
        log_head(now);
        Ok(())
    }
}

/// Both heads, and what is between them.
fn details(discord: &Discord, found: &State) -> BTreeMap<String, String> {
    let mut details = BTreeMap::from([("reason".to_owned(), discord.reason().to_owned())]);
    let mut tell = |key: &str, value: &dyn ToString| details.insert(key.to_owned(), value.to_string());
    tell(FOUND_EPOCH, &found.epoch);
    tell("found_revision", &found.revision);
    tell("found_sequence", &found.sequence);
    tell("found_mac", &found.mac);
    if let Some(expected) = discord.expected() {
        tell(EXPECTED_EPOCH, &expected.epoch);
        tell("expected_revision", &expected.revision);
        tell("expected_sequence", &expected.sequence);
        tell("expected_mac", &expected.mac);
        if expected.revision > found.revision {
            tell("lost_revisions", &format!("{}-{}", found.revision + 1, expected.revision));
        }
        if expected.sequence > found.sequence {
            tell("lost_events", &format!("{}-{}", found.sequence + 1, expected.sequence));
        }
    }
    details
}

/// A head as the wire has it.
pub fn wire_head(head: &Head) -> AuditHead {
    AuditHead {
        epoch: head.epoch.clone(),
        revision: head.revision,
        sequence: head.sequence,
        mac: head.mac.clone(),
        time: (head.sequence > 0).then(|| timestamp(head.time)),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use pullpass_database::Error as D;
        let (code, reason) = match &error {
            Error::NotSealed => (Code::FailedPrecondition, "NOT_SEALED"),
            Error::Unexpected { .. } => (Code::Aborted, "REVISION_UNEXPECTED"),
            Error::Database(D::Busy) => (Code::Unavailable, "DATABASE_BUSY"),
            Error::Database(_) => (Code::Internal, "DATABASE_FAILED"),
            Error::StateFile(_) => (Code::Internal, "STATE_FILE_FAILED"),
        };
        if code == Code::Internal {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(reason, %error, cause, "the rollback cannot be accepted");
        }
        status::with_reason(code, reason, error.to_string(), [])
    }
}
