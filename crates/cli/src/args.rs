//! The command line as a whole; each noun's own arguments stand beside what they do.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    accept_rollback, adopt, audit, cluster, credential, dev, grant, keys, link, output::Format, pki, plan,
    status, sync,
};

const EXAMPLES: &str = "\
Examples:
  pullpass dev --state-dir ./state --kubeconfig ~/.kube/config
  export PULLPASS_CONFIG=./state/client.toml
  pullpass credential create quay --server quay.io --username robot --password-stdin < token
  pullpass link create quay --credential quay --namespace-selector team=a --service-account default --wait
  pullpass status

Exit codes: 0 done, 1 failed, 2 wrong usage. Data goes to stdout, everything else to stderr.";

/// Says which image pull secrets and image grants there shall be, in which clusters, and watches them come true.
#[derive(Debug, Parser)]
#[command(name = "pullpass", version, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where the services are and who we are to them; `pullpass dev` writes one
    #[arg(long, global = true, value_name = "FILE", env = "PULLPASS_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// A file with a token (JWT) that says who we are, instead of the certificate in the configuration
    #[arg(long, global = true, value_name = "FILE", env = "PULLPASS_TOKEN_FILE", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// How data is written to stdout; json and yaml have the API's messages in protobuf JSON (lowerCamelCase names)
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value = "table")]
    pub(crate) output: Format,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs all three services here, in the foreground, for development
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::Arguments),
    /// Becomes a service of `pullpass dev`
    #[command(hide = true)]
    DevService(dev::ServiceArguments),
    /// Registry credentials: material goes in and never comes out
    #[command(subcommand, after_help = credential::EXAMPLES)]
    Credential(credential::Command),
    /// Secret links: which credentials become which Secret, where, for whom
    #[command(subcommand, after_help = link::EXAMPLES)]
    Link(link::Command),
    /// Image grants: who may pull, push or build the images of which project
    #[command(subcommand, after_help = grant::EXAMPLES)]
    Grant(grant::Command),
    /// Clusters and who may act for them
    #[command(subcommand, after_help = cluster::EXAMPLES)]
    Cluster(cluster::Command),
    /// What pull secrets and image-role bindings a cluster has already; takes over those that are asked for
    #[command(after_help = adopt::EXAMPLES)]
    Adopt(adopt::Arguments),
    /// How far the clusters agree with what was declared
    #[command(after_help = status::EXAMPLES)]
    Status(status::Arguments),
    /// What would change in the clusters now, and why; changes nothing
    #[command(after_help = plan::EXAMPLES)]
    Plan(plan::Arguments),
    /// Looks at every namespace again now; with --confirm-deletions also carries out the deletions that are held
    #[command(after_help = sync::EXAMPLES)]
    Sync(sync::Arguments),
    /// Who did what, whether that is the whole truth, and what a cluster was given
    #[command(subcommand, after_help = audit::EXAMPLES)]
    Audit(audit::Command),
    /// Lets an older copy of a service's database count, after the service has noticed it and was sealed
    #[command(after_help = accept_rollback::EXAMPLES)]
    AcceptRollback(accept_rollback::Arguments),
    /// A development authority: certificates and keys
    #[command(subcommand, after_help = pki::EXAMPLES)]
    Pki(pki::Command),
    /// Completions for a shell
    #[command(
        after_help = "Examples:\n  source <(pullpass completion bash)\n  pullpass completion fish > ~/.config/fish/completions/pullpass.fish"
    )]
    Completion {
        /// The shell
        #[arg(value_parser = shell)]
        shell: Shell,
    },
    /// The keys that wrap what credential-store keeps
    #[command(subcommand, after_help = keys::EXAMPLES)]
    Keys(keys::Command),
}

fn shell(text: &str) -> Result<Shell, String> {
    match text {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("choose bash, zsh or fish".to_owned()),
    }
}

impl Command {
    /// What a trace calls it.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Dev(_) | Self::DevService(_) => "pullpass dev",
            Self::Credential(command) => command.title(),
            Self::Link(command) => command.title(),
            Self::Grant(command) => command.title(),
            Self::Cluster(command) => command.title(),
            Self::Adopt(_) => "pullpass adopt",
            Self::Status(_) => "pullpass status",
            Self::Plan(_) => "pullpass plan",
            Self::Sync(_) => "pullpass sync",
            Self::Audit(command) => command.title(),
            Self::AcceptRollback(_) => "pullpass accept-rollback",
            Self::Pki(_) => "pullpass pki",
            Self::Completion { .. } => "pullpass completion",
            Self::Keys(command) => command.title(),
        }
    }
}

#[cfg(test)]
mod tests;
