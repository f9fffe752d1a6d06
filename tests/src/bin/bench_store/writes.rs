//! How many durable writes there are in a second, beside how often the disk alone can say that something is durable.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    time::Instant,
};

use e2e::measure::Sample;

use crate::{
    load::Cost,
    store::{Client, Store, creation, rotation},
};

const CLIENTS: usize = 32;
/// Of each client, so that none gets more versions than it would in years.
const CREDENTIALS: usize = 8;
const WRITES: usize = 40;
/// What a small transaction appends to a log, at least.
const BLOCK: [u8; 4096] = [7; 4096];
const SYNCS: u32 = 400;

pub(crate) async fn run(store: &Store, rounds: u32) -> anyhow::Result<()> {
    let clients: Vec<_> = (0..CLIENTS).map(|_| store.platform()).collect();
    Cost::default()
        .round(store, &clients, CREDENTIALS, |mut client, n| async move {
            client.create_credential(creation(&format!("written-{n}"))).await?;
            Ok(())
        })
        .await?;
    let (mut appended, mut overwritten) = (Sample::new(), Sample::new());
    let (mut many, mut one) = (Cost::default(), Cost::default());
    for round in 0..rounds {
        appended.add(serial_syncs(store, false)?);
        add_versions(store, &clients, round, &mut many).await?;
        overwritten.add(serial_syncs(store, true)?);
        add_versions(store, &clients[..1], round, &mut one).await?;
    }
    println!("AddCredentialVersion beside fdatasync, one after the other, on the same file system:\n");
    println!(
        "| | a second | CPU of the service, µs | p50, ms | p99, ms | ÷ fdatasync (aim ≥ 4): appended, overwritten |"
    );
    println!("|---|---|---|---|---|---|");
    println!("| fdatasync, 4 KiB appended | {appended} | | | | |");
    println!("| fdatasync, 4 KiB overwritten | {overwritten} | | | | |");
    for (clients, cost) in [("1 client".to_owned(), &one), (format!("{CLIENTS} clients"), &many)] {
        let beside = |syncs: &Sample| cost.rate.median() / syncs.median();
        let (first, second) = (beside(&appended), beside(&overwritten));
        println!("| {clients} | {} | {cost} | **{first:.2}**, {second:.2} |", cost.rate);
    }
    println!();
    Ok(())
}

async fn add_versions(store: &Store, clients: &[Client], round: u32, cost: &mut Cost) -> anyhow::Result<()> {
    let round = round as usize;
    cost.round(store, clients, WRITES, move |mut client, n| async move {
        let id = format!("written-{}", n / WRITES * CREDENTIALS + n % CREDENTIALS);
        client.add_credential_version(rotation(&id, round * 100_000 + n)).await?;
        Ok(())
    })
    .await
}

/// How often in a second. A file that grows costs the file system more than one whose blocks are there already, as those of
/// a database's log mostly are.
fn serial_syncs(store: &Store, overwriting: bool) -> anyhow::Result<f64> {
    let path = store.folder().join("serial");
    let mut file = File::create(&path)?;
    if overwriting {
        file.write_all(&BLOCK)?;
        file.sync_all()?;
    }
    let began = Instant::now();
    for _ in 0..SYNCS {
        if overwriting {
            file.rewind()?;
        }
        file.write_all(&BLOCK)?;
        file.sync_data()?;
    }
    let rate = f64::from(SYNCS) / began.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
