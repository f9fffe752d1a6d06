//! The service as its callers meet it: RPCs by their trait, on a real database file.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod clusters;
mod crud;
mod deletion;
mod desired;
mod leaving;
mod racing;
mod replicas;
mod restart;
mod scene;
mod status;
mod tickets;
