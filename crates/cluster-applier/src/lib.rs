//! Makes one Kubernetes or OpenShift cluster agree with the desired state, and keeps it so.
//!
//! ```text
//!  grant-manager ── WatchDesiredState ──► desired ─┐            ┌─► apply ──► API server
//!  credential-store ── WatchCredentials ─► material ┼─ plan ◄─► reconcile         │
//!        ▲   fetch: ticket, bytes  ────────► ┘      │   (pure)   ▲               │
//!                                                   │            │ queue         │
//!  API server ── watches ──► index ─────────────────┴────────────┘               │
//!                              ▲──────────── answers to writes ──────────────────┘
//!  board: how every link and grant stands in every namespace ──► report ──► grant-manager
//! ```
//!
//! Of several appliers of one cluster only the active one writes ([`lease`]).
//!
//! One lock ([`state`]) holds all of it. Whatever changes there marks the namespaces concerned, the queue hands them to
//! workers, and a worker looks, plans, applies and plans again until there is nothing left to do. Nothing is written
//! before every cache is filled and the desired state is complete; a lost stream changes nothing, and deletions that look
//! like a mistake are held ([`guard`]).
//!
//! Nothing durable is kept here: the cluster's own objects, by their marks ([`plan::ownership`]), are the ledger.

pub mod app;
mod apply;
mod board;
mod cluster;
pub mod config;
mod desired;
mod error;
mod fetch;
mod follow;
mod grpc;
mod guard;
mod lease;
mod material;
mod metrics;
mod plan;
mod queue;
mod reconcile;
mod report;
mod state;

/// What `--help` says.
pub const ABOUT: &str =
    "Makes one Kubernetes or OpenShift cluster agree with the desired state, and keeps it so";
