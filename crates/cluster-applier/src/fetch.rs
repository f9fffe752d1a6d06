//! Fetches the material: for each order one ticket from grant-manager and one Secret from credential-store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pullpass_api::{
    credential::v1::{
        FetchPullSecretRequest, FetchPullSecretResponse, credential_store_client::CredentialStoreClient,
    },
    grant::v1::{IssueTicketRequest, grant_manager_client::GrantManagerClient},
};
use pullpass_domain::secret::SecretBytes;
use pullpass_runtime::{Connection, telemetry};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::Instrument;

use crate::{
    failpoint,
    material::{Failure, Order, Rendered},
    plan::{Reason, Standing},
    queue::jittered,
    state::Shared,
};

/// So many fetches at one time.
const IN_FLIGHT: usize = 8;
/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How credential-store says that a credential of the link does not exist.
const NO_CREDENTIAL: &str = "CREDENTIAL_NOT_FOUND";
/// What waits for a credential to be made is told by the watch; this is only in case it is not.
const SELDOM: Duration = Duration::from_secs(30);

/// The two services that together give material out.
#[derive(Clone)]
pub(crate) struct Fetcher {
    pub(crate) grant_manager: GrantManagerClient<Connection>,
    pub(crate) credential_store: CredentialStoreClient<Connection>,
    pub(crate) shared: Arc<Shared>,
}

impl Fetcher {
    /// Fetches whatever is due, for ever.
    pub(crate) async fn run(self) {
        let mut running = JoinSet::new();
        let mut waiting = Vec::new();
        loop {
            match self.shared.with(|state| state.fetches(Instant::now())) {
                Some(due) => waiting.extend(due),
                None => waiting.clear(),
            }
            while running.len() < IN_FLIGHT {
                let Some(order) = waiting.pop() else { break };
                running.spawn(self.clone().fulfil(order));
            }
            let retry = self.shared.with(|state| state.next_fetch(Instant::now()));
            let retry = retry.unwrap_or_else(|| Instant::now() + SELDOM);
            tokio::select! {
                () = self.shared.fetch.notified() => {}
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep_until(retry.into()) => {}
            }
        }
    }

    async fn fulfil(self, order: Order) {
        let span = tracing::info_span!("fetch material", link = %order.link);
        telemetry::continue_trace(&span, &order.trace);
        let failures = self.shared.with(|state| state.materials.failures(&order.link));
        let answer = self.fetch(&order).instrument(span).await;
        crate::metrics::fetched(answer.is_ok());
        let answer = answer.map_err(|status| {
            let failure = failure(&order, &status, failures);
            tracing::warn!(link = %order.link, code = %failure.reason.code, "{}", failure.reason.message);
            failure
        });
        self.shared.with(|state| state.fetched(&order, answer, Instant::now()));
    }

    async fn fetch(&self, order: &Order) -> Result<Rendered, Status> {
        let request = IssueTicketRequest { secret_link: order.link.to_string() };
        let issued = limited(self.grant_manager.clone().issue_ticket(request)).await;
        failpoint::pass("after", "ticket");
        let request = FetchPullSecretRequest { ticket: issued?.into_inner().ticket };
        let fetched = limited(self.credential_store.clone().fetch_pull_secret(request)).await?.into_inner();
        failpoint::pass("after", "fetch");
        rendered(order, fetched)
    }
}

async fn limited<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded(format!("no answer within {} s", LIMIT.as_secs()));
    tokio::time::timeout(LIMIT, call).await.map_err(late)?
}

/// Nothing is no content: it would replace a working credential by none.
fn rendered(order: &Order, fetched: FetchPullSecretResponse) -> Result<Rendered, Status> {
    let bytes = SecretBytes::new(fetched.data);
    if bytes.is_empty() {
        return Err(Status::data_loss("credential-store sent an empty Secret"));
    }
    let versions = fetched.versions.into_iter().map(|version| (version.credential, version.version));
    Ok(Rendered::new(&bytes, order.secret_type, versions.collect()))
}

fn failure(order: &Order, status: &Status, failures: u32) -> Failure {
    let details = status.get_error_details();
    let told = details.error_info().map(|info| info.reason.clone()).filter(|reason| !reason.is_empty());
    let absent = told.as_deref() == Some(NO_CREDENTIAL);
    let (standing, code) = match status.code() {
        _ if absent => (Standing::Pending, NO_CREDENTIAL.to_owned()),
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::Unimplemented => (Standing::Failed, told.unwrap_or_else(|| "FETCH_REFUSED".to_owned())),
        _ => (Standing::Pending, "WAITING_FOR_MATERIAL".to_owned()),
    };
    let message = format!("the content for {} could not be fetched: {}", order.link, status.message());
    let reason =
        Reason { standing, code: code.into(), ..Reason::pending("", "Secret", order.link.id(), message) };
    let asked = details.retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
    let delay = if absent { SELDOM } else { jittered(failures + 1) };
    Failure { reason, retry_after: delay.max(asked) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing;

    #[test]
    fn a_failed_fetch_says_why_and_whether_waiting_helps() {
        let refusal = pullpass_runtime::status::with_reason;
        let ticket = refusal(Code::PermissionDenied, "TICKET_NOT_YOURS", "not yours", []);
        let absent =
            refusal(Code::FailedPrecondition, "CREDENTIAL_NOT_FOUND", "credentials/quay does not exist", []);
        for (status, standing, code) in [
            (absent, Standing::Pending, "CREDENTIAL_NOT_FOUND"),
            (Status::not_found("no such link"), Standing::Pending, "WAITING_FOR_MATERIAL"),
            (Status::unavailable("away"), Standing::Pending, "WAITING_FOR_MATERIAL"),
            (ticket, Standing::Failed, "TICKET_NOT_YOURS"),
            (Status::unauthenticated("who?"), Standing::Failed, "FETCH_REFUSED"),
        ] {
            let failure = failure(&testing::order("web"), &status, 0);
            assert_eq!((failure.reason.standing, &*failure.reason.code), (standing, code));
            assert!(failure.reason.message.contains(status.message()));
        }
    }

    #[test]
    fn an_empty_answer_is_a_failure() {
        let empty = rendered(&testing::order("web"), FetchPullSecretResponse::default());
        assert_eq!(empty.map_err(|status| status.code()), Err(Code::DataLoss));
    }
}
