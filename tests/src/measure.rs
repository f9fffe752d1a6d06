//! What the benchmarks share: samples of a measurement, and what a process has used.

mod statistics;
mod usage;

pub use statistics::Sample;
pub use usage::{Usage, machine};
