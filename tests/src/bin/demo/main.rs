//! `./just demo`: every procedure of the OpenShift page "Using image pull secrets", walked by real `pullpass` commands on a
//! real API server and against a real registry, with kubectl's view of what came of it, and a check on each.

mod procedures;
mod stage;

use std::process::ExitCode;

use clap::Parser;
use stage::Stage;

/// Walk every procedure of the OpenShift page "Using image pull secrets" through Pullpass.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Leave everything running at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tokio::select! {
        ended = walk(arguments.keep) => match ended {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                stage::note(&format!("the demo cannot go on: {error:#}"));
                ExitCode::FAILURE
            }
        },
        _ = tokio::signal::ctrl_c() => {
            stage::note("interrupted: everything is stopped");
            ExitCode::from(130)
        }
    }
}

/// Whether all checks passed.
async fn walk(keep: bool) -> anyhow::Result<bool> {
    let mut stage = Stage::set().await?;
    procedures::walk(&mut stage).await?;
    let passed = stage.summary();
    if keep {
        stage.explain();
        std::future::pending::<()>().await;
    }
    Ok(passed)
}
