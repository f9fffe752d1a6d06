//! Compiles `proto/` with protox (no protoc needed) into Rust types, clients and servers.
use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTO: &str = "../../proto";
const FILES: [&str; 5] = [
    "pullpass/audit/v1/audit.proto",
    "pullpass/credential/v1/credential.proto",
    "pullpass/grant/v1/grant.proto",
    "pullpass/applier/v1/applier.proto",
    "pullpass/recovery/v1/recovery.proto",
];
/// Messages that carry material or tickets: their `Debug` is written by hand in `redacted.rs`.
const SECRET_BEARING: [&str; 5] = [
    ".pullpass.credential.v1.Material",
    ".pullpass.credential.v1.RegistryLogin",
    ".pullpass.credential.v1.FetchPullSecretRequest",
    ".pullpass.credential.v1.FetchPullSecretResponse",
    ".pullpass.grant.v1.IssueTicketResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let descriptors = protox::compile(FILES, [PROTO])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("pullpass.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().skip_debug(SECRET_BEARING).compile_fds(descriptors)?;
    Ok(())
}
