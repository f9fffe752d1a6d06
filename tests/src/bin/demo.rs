//! `./just demo`: every procedure of the OpenShift page "Using image pull secrets", by real commands on real parts.
//!
//! ```text
//!  World (control plane, registries, `pullpass dev`) ─► Walk: grants, secrets ─► checks, count, exit status
//!                                                        │
//!                                                        └─ Shell: what is printed is what bash runs
//! ```

#[path = "demo/grants.rs"]
mod grants;
#[path = "demo/screen.rs"]
mod screen;
#[path = "demo/secrets.rs"]
mod secrets;
#[path = "demo/shell.rs"]
mod shell;
#[path = "demo/walk.rs"]
mod walk;
#[path = "demo/world.rs"]
mod world;

use std::{pin::pin, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use screen::Screen;
use walk::Walk;
use world::World;

/// What a shell calls a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  ./just demo             walk through it, and leave nothing behind
  ./just demo --keep      the same, and then leave it all running for commands of your own

Exit status: 0 if every check passed, 1 if not. Ctrl-C ends it at any time, and all that it started.";

/// Walks through the OpenShift page "Using image pull secrets" with Pullpass, on a real control plane and a real registry
#[derive(Debug, Parser)]
#[command(name = "./just demo", after_help = EXAMPLES)]
struct Arguments {
    /// Leave everything running after the last check, until Ctrl-C, and say how to talk to it
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let screen = Screen::new();
    demo(&arguments, &screen).await.unwrap_or_else(|error| {
        screen.failure(&error);
        ExitCode::FAILURE
    })
}

async fn demo(arguments: &Arguments, screen: &Screen) -> anyhow::Result<ExitCode> {
    let mut interrupted = pin!(interrupt());
    let (world, all_passed) = tokio::select! {
        walked = walk(screen) => walked?,
        interrupted = &mut interrupted => {
            interrupted?;
            screen.line("\nInterrupted; everything was stopped.");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    if arguments.keep {
        world.say_how_to_talk_to_it(screen)?;
        interrupted.await?;
    }
    let all_is_well = world.stop(screen, all_passed).await && all_passed;
    Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts everything, walks through the page, and says whether all checks passed.
async fn walk(screen: &Screen) -> anyhow::Result<(World, bool)> {
    let world = World::start(screen).await?;
    let mut walk = Walk::new(&world, screen)?;
    grants::walk(&mut walk).await?;
    secrets::walk(&mut walk).await?;
    let all_passed = walk.conclude();
    Ok((world, all_passed))
}

/// Until Ctrl-C or SIGTERM.
async fn interrupt() -> anyhow::Result<()> {
    let listen = |kind| signal(kind).context("failed to listen for signals");
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
