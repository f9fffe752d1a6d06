//! The frame of a service's process: command line, configuration, telemetry, signals, exit code.

use std::{
    future::Future,
    io::{Write, stderr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Arg, Command, value_parser};
use serde::de::DeserializeOwned;

use crate::{
    config::{self, ServerConfig},
    process,
    shutdown::Shutdown,
    telemetry,
};

/// Runs `app` as the process `service`: reads `--config FILE` (or `PULLPASS_CONFIG`), sets up telemetry and signals,
/// waits for all tasks, prints the chain of an error to stderr, and returns 0 or 1.
pub fn main<C, F, Fut>(service: &'static str, about: &'static str, app: F) -> ExitCode
where
    C: DeserializeOwned + AsRef<ServerConfig>,
    F: FnOnce(C, Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let file = config_file(service, about);
    let Err(error) = run(service, &file, app) else {
        return ExitCode::SUCCESS;
    };
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(stderr(), "{service}: {error:#}");
    ExitCode::FAILURE
}

fn config_file(service: &'static str, about: &'static str) -> PathBuf {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("PULLPASS_CONFIG")
        .value_parser(value_parser!(PathBuf))
        .required(true)
        .help("The configuration, in TOML. Variables PULLPASS__SECTION__FIELD override its fields");
    let command = Command::new(service).about(about).version(env!("CARGO_PKG_VERSION")).arg(config);
    command.get_matches().remove_one("config").unwrap_or_default()
}

fn run<C, F, Fut>(service: &'static str, file: &Path, app: F) -> anyhow::Result<()>
where
    C: DeserializeOwned + AsRef<ServerConfig>,
    F: FnOnce(C, Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    process::keep_memory_private().context("failed to keep our memory out of core dumps")?;
    process::use_all_descriptors().context("failed to raise the limit on open files")?;
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config: C = config::load(file)?;
    let server = config.as_ref();
    let budget = Duration::from_secs(server.shutdown_seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("failed to start the async runtime")?;
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::init(service, &server.telemetry)?
    };
    let ended = runtime.block_on(supervise(config, budget, app));
    telemetry.shutdown();
    runtime.shutdown_background();
    ended
}

/// Runs the app and then waits for the tasks. Of several failures the first is told: the others follow from it.
async fn supervise<C, F, Fut>(config: C, budget: Duration, app: F) -> anyhow::Result<()>
where
    F: FnOnce(C, Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let shutdown = Shutdown::new(budget);
    shutdown.listen().context("failed to listen for signals")?;
    let ended = tokio::select! {
        ended = app(config, shutdown.clone()) => ended,
        () = shutdown.forced() => Err(anyhow::anyhow!("still running when the time to shut down was over")),
    };
    let task_failed_first = shutdown.has_failed();
    let finished = shutdown.finish().await.map_err(Into::into);
    if task_failed_first { finished } else { ended.and(finished) }
}

#[cfg(test)]
mod tests;
