//! Where the programs are that the harness starts, and what to do when one is missing.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Folder of the Kubernetes programs, as with envtest.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// A program of the control plane: `etcd`, `kube-apiserver`, `kube-controller-manager` or `kubectl`.
pub fn kubernetes(name: &str) -> anyhow::Result<PathBuf> {
    let Some(folder) = std::env::var_os(ASSETS).filter(|folder| !folder.is_empty()) else {
        bail!(
            "{ASSETS} is not set: run `./just test` or `./just demo`, which set it, or \
             `export {ASSETS}=$(deploy/dev/kubernetes)`"
        );
    };
    let program = PathBuf::from(folder).join(name);
    let remedy = format!("{ASSETS} must name a folder with it: `deploy/dev/kubernetes` makes one");
    executable(&program).with_context(|| remedy)?;
    Ok(program)
}

/// One of our own programs, from the folder of this profile: `credential-store`, …, `pullpass`.
pub fn own(name: &str) -> anyhow::Result<PathBuf> {
    let program = profile_folder()?.join(name);
    executable(&program).context("build the services first: `cargo build --workspace --bins`")?;
    Ok(program)
}

/// A program of the machine, such as `skopeo`; `package` is the Debian package that has it.
pub fn installed(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| executable(program).is_ok())
        .with_context(|| format!("{name} is not installed: `apt-get install {package}`"))
}

/// `target/<profile>`: where the running executable is, or its parent for a test's.
pub(crate) fn profile_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find the running executable")?;
    let folder = own.parent().context("the running executable is in no folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

fn executable(program: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let found = program.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    anyhow::ensure!(found, "{} is not there, or not executable", program.display());
    Ok(())
}
