//! From the command line to the exit code.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use pullpass_runtime::{config::TelemetryConfig, process, telemetry};
use tracing::Instrument as _;

use crate::{
    args::{Cli, Command, Global},
    client::Session,
    config::{ClientConfig, ClientTelemetry},
    dev, failure, output, pki,
};

/// Runs the `pullpass` command with the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    process::keep_memory_private().context("failed to keep our memory out of core dumps")?;
    let Cli { global, command } = cli;
    match command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pullpass", &mut script);
            output::emit(&String::from_utf8_lossy(&script))
        }
        Command::Pki(command) => pki::run(command, global.output),
        Command::Audit(command) => match command.run_offline(global.output) {
            Ok(done) => done,
            Err(command) => online(Command::Audit(command), &global),
        },
        Command::Dev(arguments) => {
            let telemetry = ClientTelemetry::default();
            traced("pullpass dev", &telemetry, async || dev::run(arguments).await)
        }
        Command::DevService(arguments) => Err(dev::become_service(&arguments)),
        command => online(command, &global),
    }
}

fn online(command: Command, global: &Global) -> anyhow::Result<()> {
    let config = ClientConfig::load(global.config.as_deref())?;
    let telemetry = config.telemetry.clone();
    let title = command.title();
    traced(title, &telemetry, async || dispatch(command, config, global).await)
}

async fn dispatch(command: Command, config: ClientConfig, global: &Global) -> anyhow::Result<()> {
    let session = Session::new(config, global.output, global.token_file.as_deref())?;
    match command {
        Command::Credential(command) => command.run(&session).await,
        Command::Link(command) => command.run(&session).await,
        Command::Grant(command) => command.run(&session).await,
        Command::Cluster(command) => command.run(&session).await,
        Command::Adopt(arguments) => arguments.run(&session).await,
        Command::Status(arguments) => arguments.run(&session).await,
        Command::Plan(arguments) => arguments.run(&session).await,
        Command::Sync(arguments) => arguments.run(&session).await,
        Command::Audit(command) => command.run(&session).await,
        Command::Keys(command) => command.run(&session).await,
        Command::AcceptRollback(arguments) => arguments.run(&session).await,
        Command::Dev(_) | Command::DevService(_) | Command::Pki(_) | Command::Completion { .. } => Ok(()),
    }
}

/// Runs `work` inside one span, which the services' spans then belong to, and sends the trace before it returns.
fn traced<F>(title: &'static str, config: &ClientTelemetry, work: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce() -> anyhow::Result<()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("failed to start the async runtime")?;
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::init("pullpass", &TelemetryConfig::from(config))?
    };
    let span = tracing::info_span!("command", otel.name = title, otel.status_code = tracing::field::Empty);
    let outcome = runtime.block_on(
        async {
            let outcome = work().await;
            if outcome.is_err() {
                tracing::Span::current().record("otel.status_code", "ERROR");
            }
            outcome
        }
        .instrument(span),
    );
    telemetry.shutdown();
    runtime.shutdown_background();
    outcome
}
