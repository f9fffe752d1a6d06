//! `--wait`: until the clusters agree, or something failed for good, or the time is over.
//!
//! ```text
//!  WatchSyncStatus ─► judge (pure) ─► Done │ Failed: told with the reasons │ Waiting: progress, and on
//! ```
//!
//! Waiting changes nothing, so one that was interrupted can be done again: `pullpass status --wait`.

mod judge;

use std::{collections::BTreeSet, time::Duration};

use anyhow::bail;
use clap::Args;
use futures::StreamExt as _;
use pullpass_api::grant::v1::{
    GetSyncStatusRequest, SyncStatus, WatchSyncStatusRequest, WatchSyncStatusResponse,
};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

pub(crate) use judge::{Goal, Target, Verdict, unfinished};

use crate::{client::Grants, failure::CallError, progress::Progress, values};

/// How long a service that went away is left alone before the next try.
const AGAIN: Duration = Duration::from_millis(500);
/// How often a deletion or a state is looked after.
const LOOK: Duration = Duration::from_millis(250);
/// How long a state is waited for that is on the way to something else.
const UNTIL: Duration = Duration::from_mins(2);

/// Whether to wait, and how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wait {
    /// Wait until every cluster agrees; exit code 1 if something fails or the time is over
    #[arg(long)]
    wait: bool,
    /// How long --wait waits, as in 120s or 5m
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = values::duration)]
    timeout: Duration,
}

impl Wait {
    /// Whether to wait at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wait
    }

    /// Until each cluster of `target` has it.
    pub(crate) async fn until_synced(&self, grants: &Grants, target: &Target) -> anyhow::Result<()> {
        if !self.wait {
            return Ok(());
        }
        let request = WatchSyncStatusRequest { names: vec![target.name.clone()], cluster: String::new() };
        self.until_reached(grants, request, &Goal::one(target.clone())).await.outcome
    }

    /// Until `goal` is reached in everything that `request` watches.
    pub(crate) async fn until_reached(
        &self,
        grants: &Grants,
        request: WatchSyncStatusRequest,
        goal: &Goal,
    ) -> Waited {
        let deadline = Instant::now() + self.timeout;
        let progress = Progress::new();
        let mut last = None;
        let watched = watch(grants, &request, goal, &progress, &mut last);
        let outcome = match tokio::time::timeout_at(deadline, watched).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.too_late(goal, last.as_ref())),
        };
        drop(progress);
        Waited { last, outcome }
    }

    fn too_late(&self, goal: &Goal, last: Option<&WatchSyncStatusResponse>) -> anyhow::Error {
        let seconds = self.timeout.as_secs_f32();
        let Some(last) = last else {
            return anyhow::anyhow!("grant-manager did not tell the status within {seconds} s");
        };
        let lines = [unfinished(goal, last), away(last)].concat();
        anyhow::anyhow!(
            "not everything was done after {seconds} s; wait on with `pullpass status --wait`\n{}",
            lines.join("\n")
        )
    }

    /// Until `name` is gone: `is_there` says whether it still is, and `NOT_FOUND` that it is not. `request` asks for the
    /// status of what is waited for.
    pub(crate) async fn until_gone<F>(
        &self,
        grants: &Grants,
        name: &str,
        request: &GetSyncStatusRequest,
        mut is_there: F,
    ) -> anyhow::Result<()>
    where
        F: AsyncFnMut() -> Result<bool, CallError>,
    {
        if !self.wait {
            return Ok(());
        }
        let deadline = Instant::now() + self.timeout;
        let progress = Progress::new();
        loop {
            match is_there().await {
                Ok(false) => break,
                Err(error) if error.code() == Code::NotFound => break,
                Err(error) if !passes(error.code()) => return Err(error.into()),
                Ok(true) | Err(_) => {}
            }
            let status = leaving(grants, request).await;
            if Instant::now() >= deadline {
                drop(progress);
                let seconds = self.timeout.as_secs_f32();
                bail!(
                    "{name} was not taken back everywhere after {seconds} s; it goes on without you\n{}",
                    status.join("\n")
                );
            }
            progress.tell(&status.join("; "));
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Until the status of `name` in one cluster is as `is` wants it.
pub(crate) async fn until(
    grants: &Grants,
    name: &str,
    cluster: &str,
    is: impl Fn(&SyncStatus) -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + UNTIL;
    let progress = Progress::new();
    let request = GetSyncStatusRequest { names: vec![name.to_owned()], cluster: cluster.to_owned() };
    loop {
        let status =
            grants.call("get the status", async |mut c| c.get_sync_status(request.clone()).await).await;
        let rows = match status {
            Err(error) if !passes(error.code()) => return Err(error.into()),
            Err(error) => vec![error.to_string()],
            Ok(status) if status.statuses.iter().any(&is) => return Ok(()),
            Ok(status) => status.statuses.iter().map(judge::describe).collect(),
        };
        if Instant::now() >= deadline {
            let seconds = UNTIL.as_secs();
            bail!("{name} is not there after {seconds} s; run the same command again\n{}", rows.join("\n"));
        }
        progress.tell(&rows.join("; "));
        tokio::time::sleep(LOOK).await;
    }
}

/// How a wait ended.
#[derive(Debug)]
pub(crate) struct Waited {
    /// The last status that was seen.
    pub(crate) last: Option<WatchSyncStatusResponse>,
    /// Whether the goal was reached, and why not.
    pub(crate) outcome: anyhow::Result<()>,
}

async fn watch(
    grants: &Grants,
    request: &WatchSyncStatusRequest,
    goal: &Goal,
    progress: &Progress,
    last: &mut Option<WatchSyncStatusResponse>,
) -> anyhow::Result<()> {
    loop {
        let ended = match open(grants, request).await {
            Ok(stream) => follow(stream, goal, progress, last).await,
            Err(error) if !passes(error.code()) => return Err(error.into()),
            Err(error) => Err(*error.status),
        };
        match ended {
            Ok(Verdict::Done) => return Ok(()),
            Ok(Verdict::Failed(lines)) => bail!("not everything can be done\n{}", lines.join("\n")),
            Ok(Verdict::Waiting(_)) => {}
            Err(status) if passes(status.code()) => {
                progress.tell(&format!("grant-manager is away: {}", status.message()));
            }
            Err(status) => return Err(grants.failed("watch the status", status).into()),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn open(
    grants: &Grants,
    request: &WatchSyncStatusRequest,
) -> Result<Streaming<WatchSyncStatusResponse>, CallError> {
    let request = request.clone();
    grants.call("watch the status", async |mut c| c.watch_sync_status(request).await).await
}

/// Follows one stream until it says that there is nothing to wait for, or ends.
async fn follow(
    mut stream: Streaming<WatchSyncStatusResponse>,
    goal: &Goal,
    progress: &Progress,
    last: &mut Option<WatchSyncStatusResponse>,
) -> Result<Verdict, Status> {
    while let Some(status) = stream.next().await {
        let verdict = goal.judge(last.insert(status?));
        match verdict {
            Verdict::Waiting(what) => progress.tell(&what),
            verdict => return Ok(verdict),
        }
    }
    Ok(Verdict::Waiting(String::new()))
}

/// Whether it is worth while to try again.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::ResourceExhausted
            | Code::Unknown
    )
}

/// The status of one link or grant.
pub(crate) fn status_of(name: &str) -> GetSyncStatusRequest {
    GetSyncStatusRequest { names: vec![name.to_owned()], cluster: String::new() }
}

/// One line for each link or grant and cluster that still holds traces of it.
async fn leaving(grants: &Grants, request: &GetSyncStatusRequest) -> Vec<String> {
    let request = request.clone();
    match grants.call("get the status", async |mut c| c.get_sync_status(request).await).await {
        Err(error) => vec![format!("{error}: {}", error.status.message())],
        Ok(status) => {
            let rows = status.statuses.iter().map(judge::describe).collect();
            let whole =
                WatchSyncStatusResponse { statuses: status.statuses, clusters: status.clusters, revision: 0 };
            [rows, away(&whole)].concat()
        }
    }
}

/// One line for each cluster that is needed and whose applier is not there.
fn away(status: &WatchSyncStatusResponse) -> Vec<String> {
    let needed: BTreeSet<_> = status.statuses.iter().map(|row| row.cluster.as_str()).collect();
    let away = status.clusters.iter().filter(|c| !c.connected && needed.contains(c.cluster.as_str()));
    away.map(|c| format!("the applier of {} is not connected: is it running?", values::short(&c.cluster)))
        .collect()
}
