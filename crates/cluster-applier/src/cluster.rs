//! The cluster: how we talk to its API server and what we keep of what it tells.
//!
//! ```text
//!  API server ──watch──► watch ──► index ──► plan
//!      ▲                             ▲
//!      └────── client (writes) ──────┘ the answer to a write is news too
//! ```

pub(crate) mod client;
mod gate;
pub(crate) mod index;
pub(crate) mod object;
pub(crate) mod pod;
pub(crate) mod watch;
