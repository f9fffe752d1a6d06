//! Many watches open at once: what each takes, and how soon the last of them has a change.

use std::time::{Duration, Instant};

use e2e::measure::Sample;
use pullpass_api::credential::v1::{
    WatchCredentialsRequest, WatchCredentialsResponse, watch_credentials_response::Event,
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::store::{Store, creation, rotation};

const ID: &str = "watched";
const CHANGES: u16 = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// Each stream is of an applier of its own, over a connection of its own.
pub(crate) async fn run(streams: u32) -> anyhow::Result<()> {
    let store = Store::start("bench-streams").await?;
    let mut platform = store.platform();
    platform.create_credential(creation(ID)).await?;
    let empty = store.usage()?;
    let (told, mut arrivals) = mpsc::unbounded_channel();
    let mut watches = JoinSet::new();
    for n in 0..streams {
        let mut client = store.applier_of(&format!("bench-{n}"))?;
        let mut stream = client.watch_credentials(WatchCredentialsRequest::default()).await?.into_inner();
        while !matches!(
            stream.message().await?,
            Some(WatchCredentialsResponse { event: Some(Event::SnapshotEnd(_)), .. })
        ) {}
        let told = told.clone();
        watches.spawn(async move {
            while let Ok(Some(change)) = stream.message().await {
                let _ = told.send((change.revision, Instant::now()));
            }
        });
    }
    let open = store.usage()?;
    let mut last = Sample::new();
    for n in 0..CHANGES {
        let answer = platform.add_credential_version(rotation(ID, n.into())).await?.into_inner();
        let acknowledged = Instant::now();
        let revision = answer.credential.unwrap_or_default().revision;
        let mut latest = acknowledged;
        for _ in 0..streams {
            let (arrived, at) = tokio::time::timeout(PATIENCE, arrivals.recv()).await?.unwrap_or((0, latest));
            anyhow::ensure!(arrived == revision, "a watcher saw {arrived} for {revision}");
            latest = latest.max(at);
        }
        last.add_time(latest - acknowledged);
    }
    let done = store.usage()?;
    let each = 1000.0 / f64::from(streams);
    let told = f64::from(streams) * f64::from(CHANGES);
    println!("{streams} watches, each over a connection of its own (the watchers share the processors):\n");
    println!("| | |\n|---|---|");
    println!(
        "| memory for each watch with its connection | {:.0} kB |",
        (open.megabytes - empty.megabytes) * each
    );
    println!("| the same after {CHANGES} changes | {:.0} kB |", (done.megabytes - empty.megabytes) * each);
    println!(
        "| CPU of the service to tell one watcher of one change | {:.0} µs |",
        (done.cpu_seconds - open.cpu_seconds) * 1e6 / told
    );
    println!("| from a change's acknowledgement until the last watcher has it | {} |\n", last.milliseconds());
    watches.abort_all();
    Ok(())
}
