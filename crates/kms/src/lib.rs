//! Kubernetes' KMS v2 protocol: whatever plugin serves it over a Unix socket can wrap our key-encryption keys.
//!
//! ```text
//!  Plugin ─► checks ─► generated client ─► Unix socket ─► the plugin of a KMS or an HSM
//! ```
//!
//! The rules are Kubernetes' own (`k8s.io/apiserver`, `pkg/storage/value/encrypt/envelope/kmsv2`), so that a plugin that
//! works there works here: every call has a timeout, and no answer is believed before it was checked.

#![expect(
    clippy::allow_attributes,
    reason = "generated code trips a set of lints that changes with its generator"
)]

mod checks;
mod plugin;
#[cfg(feature = "testing")]
pub mod testing;

mod v2 {
    #![allow(warnings, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("v2");
}

pub use plugin::{Encrypted, Error, Plugin};
