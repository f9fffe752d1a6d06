//! Images small enough to make by hand: one with nothing in it, and one that runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{binaries, command::Run};

/// The name of each in its archive.
const NAME: &str = "e2e/image:1";
/// The same in containerd's words.
pub const FULL_NAME: &str = "docker.io/e2e/image:1";

/// The only program of the image that runs: it waits until it is told to end.
const PROGRAM: &str = "#include <signal.h>\n#include <unistd.h>\n\
     int main(void) { signal(SIGTERM, _exit); for (;;) pause(); }\n";

/// Writes the one with nothing in it as a docker archive, as `docker save` does.
pub async fn empty(folder: &Path) -> anyhow::Result<PathBuf> {
    // An empty tar.
    fs::write(folder.join("layer.tar"), [0; 1024]).context("failed to write the layer")?;
    archive(folder, json!({})).await
}

/// Writes the one that runs.
pub async fn running(folder: &Path) -> anyhow::Result<PathBuf> {
    let (source, root) = (folder.join("wait.c"), folder.join("root"));
    let program = root.join("wait");
    fs::create_dir_all(&root).with_context(|| format!("failed to make {}", root.display()))?;
    fs::write(&source, PROGRAM).with_context(|| format!("failed to write {}", source.display()))?;
    let cc = binaries::installed("cc", "gcc libc6-dev")?;
    let arguments = ["-static".as_ref(), "-s".as_ref(), "-o".as_ref(), program.as_os_str()];
    let run = Run::new(&cc, arguments.into_iter().chain([source.as_os_str()]));
    run.output().await?.into_result().context("failed to compile the image's program")?;
    pack(&folder.join("layer.tar"), &root, &["wait"]).await?;
    archive(folder, json!({"Entrypoint": ["/wait"]})).await
}

/// The archive of `layer.tar` and the configuration of what runs from it.
async fn archive(folder: &Path, config: Value) -> anyhow::Result<PathBuf> {
    let layer = fs::read(folder.join("layer.tar")).context("failed to read the layer")?;
    let digest = digest(&SHA256, &layer);
    let hex = digest.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{hex}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]);
    for (name, content) in [("config.json", config), ("manifest.json", manifest)] {
        fs::write(folder.join(name), content.to_string())
            .with_context(|| format!("failed to write {name}"))?;
    }
    let archive = folder.join("image.tar");
    pack(&archive, folder, &["manifest.json", "config.json", "layer.tar"]).await?;
    Ok(archive)
}

/// As Go, and so every image, calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn pack(archive: &Path, folder: &Path, names: &[&str]) -> anyhow::Result<()> {
    let tar = binaries::installed("tar", "tar")?;
    let arguments =
        ["--create", "--file", &archive.to_string_lossy(), "--directory", &folder.to_string_lossy()];
    let run = Run::new(&tar, arguments.iter().chain(names));
    run.output().await?.into_result().with_context(|| format!("failed to pack {}", archive.display()))?;
    Ok(())
}
