//! grant-manager: who may pull what, where.
//!
//! ```text
//!  platform ─► grpc ─► declarations, clusters ─► transaction: row + change + audience + audit ─► database
//!                                                                                                   │
//!  applier ◄─ desired (snapshot, changes of its own cluster) ◄── revisions ◄─────────────────────────┤
//!          ─► ticket (may this cluster have this link?) ─► JWT                                       │
//!          ─► reports ─► targets.report ─► confirmed removals purge ─────────────────────────────────┤
//!  platform ◄─ status (targets joined with reports) ◄────────────────────────────────────────────────┘
//! ```
//!
//! No secret material passes here. Tickets are secret: they are handed out and never kept or logged.

pub mod app;
mod clusters;
mod config;
mod declarations;
mod desired;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grpc;
mod leaving;
mod manager;
mod metrics;
mod page;
mod presence;
mod replicas;
mod reports;
mod resource;
mod status;
mod store;
mod ticket;
mod transaction;

pub use config::Config;
pub use grpc::Service;
pub use manager::Manager;
pub use ticket::Signer;
