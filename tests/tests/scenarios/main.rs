//! The scenarios, by what they show. One binary, so that most of them share one cluster.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "in a test whatever does not work must stop it, in its helper functions too"
)]

mod adopt;
mod audit;
mod authorization;
mod canaries;
mod certificates;
mod cli;
mod clusters;
mod deploy;
mod dev;
mod dice;
mod door;
mod drift;
mod faults;
mod guard;
mod harness;
mod idle;
mod keys;
mod killing;
mod leave;
mod limits;
mod linking;
mod node;
mod overload;
mod page;
mod plan;
mod pods;
mod replicas;
mod rollback;
mod standby;
mod trace;
mod trust;
mod writes;
