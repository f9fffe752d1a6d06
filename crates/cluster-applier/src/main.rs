//! The process `cluster-applier`.

use std::process::ExitCode;

use pullpass_cluster_applier::{ABOUT, app};
use pullpass_runtime::service;

fn main() -> ExitCode {
    service::main("cluster-applier", ABOUT, app::run)
}
