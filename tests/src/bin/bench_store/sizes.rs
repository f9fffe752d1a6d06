//! Reads of a large database beside the same reads of a small one; what a credential with very many versions costs; and the
//! memory that listing and watching take.

use std::time::Instant;

use pullpass_api::credential::v1::{
    GetCredentialRequest, ListCredentialsRequest, WatchCredentialsRequest, watch_credentials_response::Event,
};

use crate::{
    fill,
    load::Cost,
    store::{Client, Store, creation, name, rotation},
};

/// Made by the service itself, in both databases.
const CREDENTIALS: usize = 100;
const VERSIONS: usize = 10;
const CLIENTS: usize = 20;
const MANY: u32 = 10_000;
const PAGE: i32 = 100;

/// A database, and how many credentials are in it.
struct Side {
    store: Store,
    copies: u32,
    costs: [Cost; 4],
}

const READS: [&str; 4] = [
    "GetCredential, 10 versions",
    "ListCredentials, a page of 100",
    "FetchPullSecret, audited",
    "WatchCredentials, each of a snapshot",
];

pub(crate) async fn run(versions: u32, rounds: u32) -> anyhow::Result<()> {
    let copies = versions / u32::try_from(VERSIONS)? - u32::try_from(CREDENTIALS)?;
    println!("filling a database with {versions} versions");
    let mut small = Side::start(0).await?;
    let mut large = Side::start(copies).await?;
    for _ in 0..rounds {
        small.round().await?;
        large.round().await?;
    }
    print(versions, &small, &large);
    large.memory().await?;
    many_versions(&mut small.store).await
}

impl Side {
    async fn start(copies: u32) -> anyhow::Result<Self> {
        let mut store = Store::start("bench-sizes").await?;
        let clients: Vec<_> = (0..CLIENTS).map(|_| store.platform()).collect();
        let mut making = Cost::default();
        let make = |mut client: Client, n| async move {
            client.create_credential(creation(&real(n))).await?;
            for version in 1..VERSIONS {
                client.add_credential_version(rotation(&real(n), version)).await?;
            }
            Ok(())
        };
        making.round(&store, &clients, CREDENTIALS / CLIENTS, make).await?;
        if copies > 0 {
            store.restart_after(async |url| fill::copies(url, &name(&real(0)), copies).await).await?;
        }
        Ok(Self { store, copies, costs: Default::default() })
    }

    /// Any credential, at random.
    fn any(&self) -> impl Fn(usize) -> String + Clone + Send + 'static {
        let copies = self.copies as usize;
        move |n| match scattered(n) % (copies + CREDENTIALS) {
            one if one < CREDENTIALS => real(one),
            copy => format!("copy-{}", 1_000_000 + copy - CREDENTIALS + 1),
        }
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let (platform, applier) = (vec![self.store.platform()], vec![self.store.applier()]);
        let any = self.any();
        self.costs[0]
            .round(&self.store, &platform, 600, move |mut client, n| {
                let request = GetCredentialRequest { name: name(&any(n)) };
                async move { Ok(client.get_credential(request).await.map(drop)?) }
            })
            .await?;
        let (any, all) = (self.any(), self.copies == 0);
        self.costs[1]
            .round(&self.store, &platform, 40, move |mut client, n| {
                // In the small one there is but one page, which begins without a token.
                let page_token = if all { String::new() } else { any(n) };
                let request = ListCredentialsRequest { page_size: PAGE, page_token };
                async move { Ok(client.list_credentials(request).await.map(drop)?) }
            })
            .await?;
        let tickets = self.store.tickets();
        self.costs[2]
            .round(&self.store, &applier, 300, move |mut client, n| {
                let request = tickets.request(&name(&real(scattered(n) % CREDENTIALS)));
                async move { Ok(client.fetch_pull_secret(request?).await.map(drop)?) }
            })
            .await?;
        self.snapshots().await
    }

    /// Enough of them to measure; what is added is the cost of one credential.
    async fn snapshots(&mut self) -> anyhow::Result<()> {
        let (before, began, mut client) = (self.store.usage()?, Instant::now(), self.store.applier());
        let (mut told, at_least) = (0_u32, 50_000);
        while told < at_least {
            told += snapshot(&mut client).await?;
        }
        let told = f64::from(told);
        self.costs[3].cpu.add((self.store.usage()?.cpu_seconds - before.cpu_seconds) * 1e6 / told);
        self.costs[3].latency.add(began.elapsed().as_secs_f64() / told);
        Ok(())
    }

    /// How the service grows while it tells of all its credentials.
    async fn memory(&mut self) -> anyhow::Result<()> {
        self.store.restart_after(async |_| Ok(())).await?;
        let fresh = self.store.usage()?;
        let (mut platform, mut page_token, mut listed) = (self.store.platform(), String::new(), 0);
        loop {
            let request = ListCredentialsRequest { page_size: 1000, page_token };
            let page = platform.list_credentials(request).await?.into_inner();
            listed += page.credentials.len();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let after_listing = self.store.usage()?;
        let told = snapshot(&mut self.store.applier()).await?;
        let (hundreds, after_watching) = (f64::from(told) / 100_000.0, self.store.usage()?);
        println!(
            "Memory of the service with {told} credentials ({listed} listed), and growth for each 100,000:\n"
        );
        println!("| | resident, MB | for each 100,000 credentials, MB |");
        println!("|---|---|---|");
        println!("| started | {:.0} | |", fresh.megabytes);
        let row = |what, now: f64| {
            println!("| {what} | {now:.0} | {:.1} |", (now - fresh.megabytes) / hundreds);
        };
        row("after listing all by pages of 1000", after_listing.megabytes);
        row("after the snapshot of a watch", after_watching.megabytes);
        row("at most", after_watching.peak_megabytes);
        println!();
        Ok(())
    }
}

fn real(n: usize) -> String {
    format!("real-{n}")
}

/// Numbers in no order, the same in each run.
fn scattered(n: usize) -> usize {
    n.wrapping_mul(0x9e37_79b9).wrapping_add(n >> 3) & 0x7fff_ffff
}

/// Takes a snapshot, and says of how many credentials it told.
async fn snapshot(client: &mut Client) -> anyhow::Result<u32> {
    let mut stream = client.watch_credentials(WatchCredentialsRequest::default()).await?.into_inner();
    let mut told = 0;
    while let Some(message) = stream.message().await? {
        match message.event {
            Some(Event::SnapshotEnd(_)) => return Ok(told),
            _ => told += 1,
        }
    }
    anyhow::bail!("a snapshot broke off")
}

fn print(versions: u32, small: &Side, large: &Side) {
    let few = CREDENTIALS * VERSIONS;
    println!(
        "Reads with {versions} versions beside {few}, one at a time (the snapshot: for each credential):\n"
    );
    println!("| | versions | CPU of the service, µs | p50, ms | p99, ms | CPU, large ÷ small |");
    println!("|---|---|---|---|---|---|");
    for ((read, small), large) in READS.iter().zip(&small.costs).zip(&large.costs) {
        println!("| {read} | {few} | {small} | |");
        println!("| | {versions} | {large} | **{:.2}** |", large.cpu.median() / small.cpu.median());
    }
    println!();
}

async fn many_versions(store: &mut Store) -> anyhow::Result<()> {
    const ID: &str = "real-0";
    println!("A credential with {MANY} versions beside one with {VERSIONS}:\n");
    println!("| | versions | CPU of the service, µs | p50, ms | p99, ms |");
    println!("|---|---|---|---|---|");
    for (id, versions) in [("real-1", 0), (ID, MANY)] {
        if versions > 0 {
            store.restart_after(async |url| fill::more_versions(url, &name(id), versions).await).await?;
        }
        let client = vec![store.platform()];
        let (mut get, mut add) = (Cost::default(), Cost::default());
        get.round(store, &client, 40, move |mut client, _| async move {
            Ok(client.get_credential(GetCredentialRequest { name: name(id) }).await.map(drop)?)
        })
        .await?;
        add.round(store, &client, 40, move |mut client, n| async move {
            Ok(client.add_credential_version(rotation(id, n)).await.map(drop)?)
        })
        .await?;
        let versions = versions.max(u32::try_from(VERSIONS)?);
        println!("| GetCredential | {versions} | {get} |\n| AddCredentialVersion | {versions} | {add} |");
    }
    println!();
    Ok(())
}
