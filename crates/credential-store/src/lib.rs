//! credential-store: registry credentials go in, sealed and versioned, and come out only as a rendered Secret against a
//! ticket.
//!
//! ```text
//!  grpc ─► credentials ─► seal ─► store      one transaction: rows, change, audit event
//!    │                     ▲
//!    │                    keys ◄─ files, KMS plugin
//!    │
//!    ├───► watch       ◄─ the changes of `database`, names and versions only
//!    │
//!    ├───► fetch       ticket ─► lookup ─► open ─► merge ─► audit event committed ─► bytes
//!    │
//!    └───► rewrap      data keys from one key-encryption key to another; no material
//!    └───► exposures   audit events of one cluster's fetches ─► which versions it was given
//! ```
//!
//! Decrypted material exists in `fetch` alone.

pub mod app;
pub mod config;
mod credentials;
mod error;
mod exposures;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grpc;
mod keys;
mod lookup;
mod metrics;
mod rewrap;
mod seal;
mod store;
#[cfg(test)]
mod testing;
mod ticket;
mod watch;
