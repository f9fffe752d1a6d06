//! `pullpass audit`: the trails of both services: what they tell, and whether they are whole.
//!
//! ```text
//!  list, head, exposure  ─► the services ─► a table
//!  export                ─► the services ─► one event a line ─► a file
//!  verify                                      the file ─► verify: whole, or the first event at fault. No service needed
//! ```

mod export;
mod exposure;
mod list;
pub mod record;
mod trail;
pub mod verify;
mod verify_command;

use clap::Subcommand;

use crate::{client::Session, output::Format};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pullpass audit list
  pullpass audit export > audit.jsonl
  pullpass audit verify audit.jsonl --key credential-store-audit.key --key grant-manager-audit.key
  pullpass audit exposure --cluster prod";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the newest events of credential-store and grant-manager, the oldest of them first
    #[command(after_help = list::EXAMPLES)]
    List(list::List),
    /// How far both trails are: what to note somewhere else, so that nothing can be cut off later
    #[command(after_help = "Examples:\n  pullpass audit head\n  pullpass audit head -o json")]
    Head,
    /// Writes the trails to stdout, one event a line in JSON, for `pullpass audit verify` and for other stores
    #[command(after_help = export::EXAMPLES)]
    Export(export::Export),
    /// Checks an export offline: no event may be altered, missing, added or out of order
    #[command(after_help = verify_command::EXAMPLES)]
    Verify(verify_command::Arguments),
    /// Which credential versions a cluster's applier was given: the list to rotate after a break-in
    #[command(after_help = exposure::EXAMPLES)]
    Exposure(exposure::Arguments),
}

impl Command {
    /// What a trace calls it.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::List(_) => "pullpass audit list",
            Self::Head => "pullpass audit head",
            Self::Export(_) => "pullpass audit export",
            Self::Verify(_) => "pullpass audit verify",
            Self::Exposure(_) => "pullpass audit exposure",
        }
    }

    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::List(arguments) => arguments.run(session).await,
            Self::Head => list::head(session).await,
            Self::Export(arguments) => arguments.run(session).await,
            Self::Verify(arguments) => arguments.run(session.format),
            Self::Exposure(arguments) => arguments.run(session).await,
        }
    }

    /// What needs neither configuration nor services is done at once; all else is given back.
    pub(crate) fn run_offline(self, format: Format) -> Result<anyhow::Result<()>, Self> {
        match self {
            Self::Verify(arguments) => Ok(arguments.run(format)),
            other => Err(other),
        }
    }
}
