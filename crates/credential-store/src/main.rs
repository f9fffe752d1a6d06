//! The process of credential-store.

use std::process::ExitCode;

fn main() -> ExitCode {
    pullpass_runtime::service::main(
        "credential-store",
        "Keeps registry credentials sealed and versioned, and serves them against tickets",
        pullpass_credential_store::app::run,
    )
}
