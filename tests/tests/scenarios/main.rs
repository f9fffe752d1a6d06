//! The scenarios, by what they show. One binary, so that most of them share one cluster.

mod canaries;
mod cli;
mod deploy;
mod door;
mod drift;
mod harness;
mod linking;
mod page;
mod plan;
mod trace;
mod trust;
