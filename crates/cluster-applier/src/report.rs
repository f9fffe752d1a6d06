//! Reports to grant-manager: the whole board, a moment after it changed and whenever the connection is new.

use std::{sync::Arc, time::Duration};

use pullpass_api::{
    convert::timestamp,
    grant::v1::{ReportSyncRequest, grant_manager_client::GrantManagerClient},
};
use pullpass_runtime::{Connection, failpoint, status::retry_after};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    queue::jittered,
    state::{Shared, State},
};

/// Changes gather for this long…
const GATHER: Duration = Duration::from_millis(20);
/// … and reports are no closer together than this.
const APART: Duration = Duration::from_millis(200);
/// The same is told again after this time, in case that a report is not what it was.
const AGAIN: Duration = Duration::from_mins(1);
/// How long a report may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Reports whenever there is something new, for ever.
pub(crate) async fn run(mut client: GrantManagerClient<Connection>, shared: Arc<Shared>) {
    let (mut last, mut connections, mut failures) = (None, 0, 0);
    let mut not_before = Instant::now();
    loop {
        let again = tokio::time::timeout(AGAIN, shared.report.notified()).await.is_err();
        sleep_until(not_before.max(Instant::now() + GATHER)).await;
        let Some((report, connection)) = shared.with(|state| report(state)) else { continue };
        if !again && last.as_ref() == Some(&report) && connections == connection {
            continue;
        }
        failpoint::pass("before", "report");
        let sent = tokio::time::timeout(LIMIT, client.report_sync(report.clone())).await;
        failpoint::pass("after", "report");
        not_before = Instant::now() + APART;
        let (problem, asked) = match sent {
            Ok(Ok(_)) => {
                (last, connections, failures) = (Some(report), connection, 0);
                continue;
            }
            Ok(Err(status)) => (status.message().to_owned(), retry_after(&status).unwrap_or_default()),
            Err(_) => ("no answer".to_owned(), Duration::ZERO),
        };
        failures += 1;
        if u32::is_power_of_two(failures) {
            tracing::warn!(failures, "the report did not arrive, it is sent again: {problem}");
        }
        sleep(jittered(failures).min(Duration::from_secs(5)).max(asked)).await;
        shared.report.notify_one();
    }
}

/// What is to be reported, and by which connection it has to be; nothing before everything is known, or while we stand by.
fn report(state: &State) -> Option<(ReportSyncRequest, u64)> {
    state.may_report(std::time::Instant::now()).then(|| {
        let request = ReportSyncRequest {
            observed_revision: state.observed_revision(),
            statuses: state.statuses(),
            acquire_time: state.acquire_time().map(timestamp),
        };
        (request, state.connections())
    })
}
