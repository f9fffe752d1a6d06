//! What every Pullpass process shares, so that the services hold only their own business.
//!
//! ```text
//!  service::main ─► config::load ─► telemetry::init ─► Shutdown ─► the service's own app
//!
//!  client::connect ─ TLS 1.3, SPIFFE both ways ─► server::Server
//!   (traceparent in, or a token)                    observe ─► authenticate ─► authorize ─► gate ─► handler
//!                                                   (span, log, metrics)                            (identity::peer)
//! ```
//!
//! Nothing here knows about credentials, links or clusters.

mod authenticate;
mod authorize;
pub mod bearer;
pub mod client;
pub mod clock;
pub mod config;
mod cut;
mod ending;
pub mod failpoint;
mod frames;
pub mod gate;
pub mod identity;
mod limit;
mod observe;
pub mod private_file;
pub mod process;
pub mod role;
pub mod server;
pub mod service;
pub mod shutdown;
pub mod status;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod token;

pub use bearer::Bearer;
pub use client::{Connection, connect, connect_with_token};
pub use clock::{Clock, ManualClock};
pub use gate::{Gate, Seal};
pub use identity::{Pattern, PeerIdentity, SpiffeId, peer};
pub use role::Role;
pub use server::Server;
pub use shutdown::Shutdown;
pub use tls::Tls;
