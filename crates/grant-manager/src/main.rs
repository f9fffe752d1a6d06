//! The process: everything is in the library.

use std::process::ExitCode;

use pullpass_grant_manager::app;

fn main() -> ExitCode {
    pullpass_runtime::service::main(
        "grant-manager",
        "Keeps secret links, image grants and clusters; decides who may fetch what; issues tickets",
        app::run,
    )
}
