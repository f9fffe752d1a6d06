//! What an audited fetch costs beside a call that does nothing.

use tonic_health::pb::HealthCheckRequest;

use crate::{
    load::Cost,
    store::{Store, creation, name},
};

const ID: &str = "fetched";

/// Runs both sides by turns, one call at a time and 32 at once.
pub(crate) async fn run(store: &Store, rounds: u32) -> anyhow::Result<()> {
    store.platform().create_credential(creation(ID)).await?;
    println!(
        "Audited FetchPullSecret beside an empty call (grpc.health.v1.Health/Check), {rounds} rounds by turns:\n"
    );
    println!("| calls at once | call | CPU of the service, µs | p50, ms | p99, ms | CPU ÷ empty (aim ≤ 3) |");
    println!("|---|---|---|---|---|---|");
    for (at_once, empty_calls, fetch_calls) in [(1, 4000, 600), (32, 250, 75)] {
        let (empty, fetched) = compare(store, rounds, at_once, empty_calls, fetch_calls).await?;
        println!("| {at_once} | empty | {empty} | |");
        println!("| | fetch | {fetched} | **{:.2}** |", fetched.cpu.median() / empty.cpu.median());
    }
    println!();
    Ok(())
}

async fn compare(
    store: &Store,
    rounds: u32,
    at_once: usize,
    empty_calls: usize,
    fetch_calls: usize,
) -> anyhow::Result<(Cost, Cost)> {
    let idle: Vec<_> = (0..at_once).map(|_| store.health()).collect();
    let appliers: Vec<_> = (0..at_once).map(|_| store.applier()).collect();
    let (mut empty, mut fetched) = (Cost::default(), Cost::default());
    // The first round opens the connections and is not counted.
    for round in 0..=rounds {
        let (mut first, mut second) = (Cost::default(), Cost::default());
        first
            .round(store, &idle, empty_calls, |mut client, _| async move {
                client.check(HealthCheckRequest::default()).await?;
                Ok(())
            })
            .await?;
        let tickets = store.tickets();
        second
            .round(store, &appliers, fetch_calls, move |mut client, _| {
                let request = tickets.request(&name(ID));
                async move {
                    let answer = client.fetch_pull_secret(request?).await?.into_inner();
                    anyhow::ensure!(!answer.data.is_empty(), "nothing was fetched");
                    Ok(())
                }
            })
            .await?;
        if round > 0 {
            empty.add(first);
            fetched.add(second);
        }
    }
    Ok((empty, fetched))
}
