//! Reconciling one namespace: look, plan, apply, and plan again from what the API server answered, until nothing is left
//! to do or something stands in the way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pullpass_runtime::{failpoint, telemetry};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    apply::{Applier, Setback},
    cluster::client::Error,
    error,
    plan::{self, Outcome, Outcomes, Reason, Standing},
    queue::{End, Job},
};

/// So often in a row must a request be refused before that counts as failed and not as pending: an API server that has just
/// started refuses everybody until it has read its roles, and whoever waits shall not give up for that.
const REFUSALS: u32 = 4;

/// So often is a namespace planned anew in one go when others write to it at the same time.
const PASSES: usize = 10;

/// Works on namespaces, `in_flight` at a time, until the shutdown. What is begun then is finished if that takes no longer
/// than `grace`; what is cut off is taken up by the next start.
pub(crate) async fn run(applier: Applier, in_flight: usize, token: CancellationToken, grace: Duration) {
    let applier = Arc::new(applier);
    let mut running = JoinSet::new();
    while !token.is_cancelled() {
        while running.len() < in_flight.max(1) {
            let Some(job) = applier.shared.with(|state| state.take(Instant::now())) else { break };
            running.spawn(work(Arc::clone(&applier), job));
        }
        let wake = applier.shared.with(|state| state.next_wake(Instant::now()));
        let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_mins(1));
        tokio::select! {
            () = token.cancelled() => {}
            () = applier.shared.work.notified() => {}
            Some(ended) = running.join_next() => rethrow(ended),
            () = tokio::time::sleep_until(wake.into()), if running.len() < in_flight.max(1) => {}
        }
    }
    let finishing = async {
        while let Some(ended) = running.join_next().await {
            rethrow(ended);
        }
    };
    if tokio::time::timeout(grace, finishing).await.is_err() {
        tracing::warn!(namespaces = running.len(), "cut off in the middle of their work");
    }
}

/// A panic in a job is a mistake of ours and ends the process, which then starts from what is really there.
pub(crate) fn rethrow(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended.map_err(tokio::task::JoinError::try_into_panic) {
        std::panic::resume_unwind(panic.unwrap_or_else(|_| Box::new("a job was cancelled")));
    }
}

async fn work(applier: Arc<Applier>, job: Job) {
    let namespace = job.namespace.as_str();
    let span = tracing::info_span!("reconcile", otel.name = "reconcile", k8s.namespace = namespace);
    telemetry::continue_trace(&span, &job.trace);
    let began = Instant::now();
    failpoint::pass("after", "take");
    let (outcomes, end) = reconcile(&applier, &job).instrument(span).await;
    let now = Instant::now();
    failpoint::pass("before", "done");
    let backlog = applier.shared.with(|state| {
        state.done(&job.namespace, outcomes, end, now);
        state.backlog()
    });
    crate::metrics::reconciled(now - began, end, backlog);
}

async fn reconcile(applier: &Applier, job: &Job) -> (Outcomes, End) {
    let namespace = &job.namespace;
    let view = applier.shared.with(|state| state.view(namespace));
    if let Err(error) = applier.look_again(&view).await {
        return setback(applier, job, &[], &[(Vec::new(), error)]);
    }
    for _ in 0..PASSES {
        let view = applier.shared.with(|state| state.view(namespace));
        let plan = plan::namespace(&view);
        if plan.actions.is_empty() {
            let end = rest(&plan.outcomes);
            return (plan.outcomes, end);
        }
        let setbacks = applier.apply(namespace, plan.actions).await;
        let failures: Vec<_> = setbacks.into_iter().filter_map(Setback::into_failure).collect();
        if !failures.is_empty() {
            return setback(applier, job, &[], &failures);
        }
    }
    let message = format!("somebody else writes to namespace {namespace} all the time; it is tried again");
    setback(applier, job, &[Reason::pending("CONFLICT", "Namespace", namespace.as_str(), message)], &[])
}

/// Nothing is to be done. What is not ours stands where no watch tells of it: look again later.
fn rest(outcomes: &Outcomes) -> End {
    let blocked = |outcome: &Outcome| outcome.reasons.iter().any(|reason| reason.code == "NOT_OURS");
    if outcomes.values().any(blocked) { End::Retry { not_before: None } } else { End::Settled }
}

/// How things stand after something failed.
fn setback(
    applier: &Applier,
    job: &Job,
    reasons: &[Reason],
    failures: &[(Vec<crate::desired::Name>, Error)],
) -> (Outcomes, End) {
    let namespace = &job.namespace;
    let view = applier.shared.with(|state| state.view(namespace));
    let mut outcomes = plan::namespace(&view).outcomes;
    for (causes, failure) in failures {
        let mut reason = error::reason(failure);
        if job.failures + 1 < REFUSALS {
            reason.standing = Standing::Pending;
        }
        tracing::warn!(k8s.namespace = %namespace, code = %reason.code, "{}", reason.message);
        for cause in causes {
            let outcome = outcomes.entry(cause.clone()).or_insert_with(|| Outcome::new(Standing::Leaving));
            outcome.because(reason.clone());
        }
    }
    let unfinished = outcomes.iter_mut().filter(|(_, outcome)| outcome.standing == Standing::Pending);
    unfinished.for_each(|(_, outcome)| reasons.iter().for_each(|reason| outcome.because(reason.clone())));
    let not_before = failures.iter().filter_map(|(_, error)| error.retry_after()).max();
    (outcomes, End::Retry { not_before })
}

impl Setback {
    fn into_failure(self) -> Option<(Vec<crate::desired::Name>, Error)> {
        match self {
            Self::Moved => None,
            Self::Failed { causes, error } => Some((causes, error)),
        }
    }
}

#[cfg(test)]
mod tests;
