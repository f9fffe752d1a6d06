//! Everything on one machine: `pullpass dev`, and the same state folder for the end-to-end tests.
//!
//! ```text
//!  StateDir::prepare ─► DIR/pki  DIR/keys  DIR/ports.toml  DIR/config/*.toml  DIR/client.toml      (state, config)
//!                                     │
//!  pullpass dev ─► spawn the three binaries ─► healthy ─► register the cluster ─► "ready: …"       (run, child)
//!                  start one again that dies; stop all on SIGINT or SIGTERM
//! ```

mod child;
mod command;
mod config;
mod ports;
mod run;
mod service;
mod state;

pub use ports::Ports;
pub use service::Service;
pub use state::{Options, StateDir, TRUST_DOMAIN};

pub(crate) use child::{ServiceArguments, become_service};
pub(crate) use command::{Arguments, EXAMPLES, run};

#[cfg(test)]
mod tests;
