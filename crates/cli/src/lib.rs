//! The `pullpass` command: declares and watches image pull secrets and grants over gRPC.
//!
//! ```text
//!  main ─► args::Cli ─► app::run ─► credential, link, grant, cluster, status, plan, sync, audit, keys ─► client::Session ─► services
//!                                 ├► adopt                   the same, and kubectl
//!                                 ├► pki, completion         nothing but files            output ─► stdout
//!                                 └► dev                      the services themselves      failure ─► stderr, exit code
//! ```
//!
//! Data goes to stdout and everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage.

mod accept_rollback;
mod adopt;
mod app;
mod args;
pub mod audit;
mod client;
mod cluster;
pub mod config;
mod credential;
pub mod dev;
mod failure;
mod files;
mod grant;
mod input;
mod json;
mod keys;
mod link;
mod output;
pub mod pki;
mod plan;
mod progress;
mod status;
mod sync;
mod values;
mod wait;

pub use app::main;
