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
use pullpass_runtime::{Connection, failpoint, telemetry};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::Instrument;

use crate::{
    material::{Failure, Order, Rendered},
    plan::{Reason, Standing},
    queue::jittered,
    reconcile::rethrow,
    state::Shared,
};

/// So many fetches at one time.
const IN_FLIGHT: usize = 8;
/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How credential-store says that a credential of the link does not exist.
const NO_CREDENTIAL: &str = "CREDENTIAL_NOT_FOUND";
/// How it says that the ticket was issued by way of another certificate of ours.
const OTHER_CERTIFICATE: &str = "TICKET_OTHER_CERTIFICATE";
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
                Some(ended) = running.join_next() => rethrow(ended),
                () = tokio::time::sleep_until(retry.into()) => {}
            }
        }
    }

    async fn fulfil(self, order: Order) {
        let span = tracing::info_span!("fetch material", link = %order.link);
        telemetry::continue_trace(&span, &order.trace);
        let failures = self.shared.with(|state| state.materials.failures(&order.link));
        let answer = by_one_certificate(|| self.fetch(&order)).instrument(span).await;
        crate::metrics::fetched(answer.is_ok());
        let answer = answer.map_err(|status| {
            let failure = failure(&order, &status, failures);
            tracing::warn!(link = %order.link, code = %failure.reason.code, "{}", failure.reason.message);
            failure
        });
        self.shared.with(|state| state.fetched(&order, answer, Instant::now()));
    }

    /// A ticket holds for the certificate by which it was asked for. Where ours was replaced between the two calls, both
    /// go by the new one the second time.
    async fn fetch(&self, order: &Order) -> Result<Rendered, Status> {
        match self.fetch_once(order).await {
            Err(status) if told(&status).as_deref() == Some(OTHER_CERTIFICATE) => {
                self.fetch_once(order).await
            }
            ended => ended,
        }
    }

    async fn fetch_once(&self, order: &Order) -> Result<Rendered, Status> {
        let request = IssueTicketRequest { secret_link: order.link.to_string() };
        let issued = limited(self.grant_manager.clone().issue_ticket(request)).await;
        failpoint::pass("after", "ticket");
        let request = FetchPullSecretRequest { ticket: issued?.into_inner().ticket };
        let fetched = limited(self.credential_store.clone().fetch_pull_secret(request)).await?.into_inner();
        failpoint::pass_with("after", "fetch", &fetched);
        rendered(order, fetched)
    }
}

/// A ticket holds for the certificate by which it was asked for. Where ours was replaced between the two calls, both go by
/// the new one the second time.
async fn by_one_certificate<T, F>(fetch: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    match fetch().await {
        Err(status) if told(&status).as_deref() == Some(OTHER_CERTIFICATE) => fetch().await,
        ended => ended,
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

/// The reason of a refusal for programs, if it has one.
fn told(status: &Status) -> Option<String> {
    let details = status.get_error_details();
    details.error_info().map(|info| info.reason.clone()).filter(|reason| !reason.is_empty())
}

fn failure(order: &Order, status: &Status, failures: u32) -> Failure {
    let told = told(status);
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
    let asked = status.get_error_details().retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
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

    #[tokio::test]
    async fn a_fetch_is_repeated_once_when_our_certificate_was_replaced_amid_it_and_only_then() {
        for (reason, expected) in [(OTHER_CERTIFICATE, 2), ("TICKET_EXPIRED", 1)] {
            let attempts = std::sync::atomic::AtomicU32::new(0);
            let fetch = async || {
                attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err::<(), _>(pullpass_runtime::status::with_reason(Code::PermissionDenied, reason, "no", []))
            };
            by_one_certificate(&fetch).await.expect_err("refused each time");
            assert_eq!(attempts.into_inner(), expected, "{reason}");
        }
    }

    #[test]
    fn an_empty_answer_is_a_failure() {
        let empty = rendered(&testing::order("web"), FetchPullSecretResponse::default());
        assert_eq!(empty.map_err(|status| status.code()), Err(Code::DataLoss));
    }
}
