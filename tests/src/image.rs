//! An image small enough to make by hand: one empty layer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{binaries, command::Run};

/// SHA-256 of an empty tar: 1,024 zero bytes.
const EMPTY_LAYER: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// Writes it as a docker archive, as `docker save` does.
pub async fn docker_archive(folder: &Path) -> anyhow::Result<PathBuf> {
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["sha256:{EMPTY_LAYER}"]}}}}"#
    );
    let manifest = r#"[{"Config":"config.json","RepoTags":["e2e/empty:1"],"Layers":["layer.tar"]}]"#;
    let write = |name: &str, content: &[u8]| {
        fs::write(folder.join(name), content).with_context(|| format!("failed to write {name}"))
    };
    write("layer.tar", &[0; 1024])?;
    write("config.json", config.as_bytes())?;
    write("manifest.json", manifest.as_bytes())?;
    let archive = folder.join("image.tar");
    let tar = binaries::installed("tar", "tar")?;
    let arguments =
        ["--create", "--file", &archive.to_string_lossy(), "--directory", &folder.to_string_lossy()];
    let run = Run::new(&tar, arguments.iter().chain(&["manifest.json", "config.json", "layer.tar"]));
    run.output().await?.into_result().context("failed to pack the image")?;
    Ok(archive)
}
