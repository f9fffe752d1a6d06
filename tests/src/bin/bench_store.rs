//! `./just bench-store`: credential-store against what it cannot do without, in one run and by turns.
//!
//! ```text
//!  Store (a real service of its own state folder; no cluster, no other service)
//!    │
//!    ├─ fetches   audited FetchPullSecret ÷ a call that does nothing, over the same kind of connection
//!    ├─ writes    durable writes of 32 clients ÷ serial fdatasync on the same file system
//!    ├─ sizes     reads with 1,000,000 versions ÷ 1,000, side by side; one credential with very many; memory
//!    └─ streams   500 watches: memory, and from a change's acknowledgement to the last watcher
//! ```
//!
//! Over `SQLite`, or with `PULLPASS_TEST_DATABASE=postgres` over a real `PostgreSQL` of Debian's package.
//!
//! The tables are Markdown, for docs/benchmarks.md.

#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

#[path = "bench_store/fetches.rs"]
mod fetches;
#[path = "bench_store/fill.rs"]
mod fill;
#[path = "bench_store/load.rs"]
mod load;
#[path = "bench_store/sizes.rs"]
mod sizes;
#[path = "bench_store/store.rs"]
mod store;
#[path = "bench_store/streams.rs"]
mod streams;
#[path = "bench_store/writes.rs"]
mod writes;

use std::process::ExitCode;

use clap::Parser;
use e2e::measure::machine;
use pullpass_test_database::Kind;
use store::Store;

/// Times credential-store against empty calls, fdatasync and a small database
#[derive(Debug, Parser)]
#[command(name = "./just bench-store")]
struct Arguments {
    /// How often each side has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Versions in the large database, ten of each credential
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..))]
    versions: u32,
    /// Watches that are open at once
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..1000))]
    streams: u32,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        println!("This is a debug build: its figures say nothing.");
    }
    println!("{}; {:?}\n", machine(), Kind::of_this_run());
    let store = Store::start("bench-store").await?;
    fetches::run(&store, arguments.rounds).await?;
    writes::run(&store, arguments.rounds).await?;
    drop(store);
    streams::run(arguments.streams).await?;
    sizes::run(arguments.versions, arguments.rounds).await
}
