//! `./just bench-fanout`: the applier against a raw write loop, in one run and by turns, on the same API server.
//!
//! ```text
//!  arguments ─► Bench::start   control plane, Pullpass (release builds), N namespaces, foreign Secrets
//!                 │
//!                 ├─ fanout    raw loop and applier by turns: new link, rotation, taken back; N/2 and N namespaces
//!                 ├─ kinds     the raw loop with every kind of request that could do the same
//!                 ├─ newcomers from the creation of a namespace to its link, at rest and during a fan-out
//!                 └─ usage     the applier's CPU time and memory, its requests by verb
//!                      ▲
//!                 observer: one watch that says when all of it is done, the same for both sides
//! ```

#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

#[path = "bench_fanout/bench.rs"]
mod bench;
#[path = "bench_fanout/fanout.rs"]
mod fanout;
#[path = "bench_fanout/newcomers.rs"]
mod newcomers;
#[path = "bench_fanout/observer.rs"]
mod observer;
#[path = "bench_fanout/raw.rs"]
mod raw;

use std::process::ExitCode;

use bench::Bench;
use clap::Parser;
use e2e::measure::machine;

/// Times the applier against a raw parallel write loop
#[derive(Debug, Parser)]
#[command(name = "./just bench-fanout")]
struct Arguments {
    /// How many namespaces; with fewer the deletions of half of them would not be held
    #[arg(default_value_t = 1000, value_parser = clap::value_parser!(u32).range(102..))]
    namespaces: u32,
    /// How often each side has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Secrets in the cluster that are none of ours, made first
    #[arg(long, default_value_t = 0)]
    foreign_secrets: u32,
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
    let bench = Bench::start(arguments.namespaces, arguments.foreign_secrets).await?;
    println!("{}", machine());
    let half = bench.namespaces.len() / 2;
    for namespaces in [&bench.namespaces[..half], &bench.namespaces[..]] {
        fanout::run(&bench, namespaces, arguments.rounds).await?;
    }
    fanout::kinds(&bench, &bench.namespaces, arguments.rounds).await?;
    newcomers::run(&bench).await?;
    println!("{}", bench.applier_usage()?);
    Ok(())
}
