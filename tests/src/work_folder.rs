//! Folders for what a run leaves behind: logs and databases stay for a look, and go when the next run begins.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::Context as _;

use crate::binaries;

/// `target/tmp/e2e/<process id>-<name>-<number>`.
#[derive(Debug)]
pub struct WorkFolder(PathBuf);

impl WorkFolder {
    /// Makes an empty one, and removes those of processes that are gone.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        static CLEARED: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let all = binaries::profile_folder()?.with_file_name("tmp").join("e2e");
        CLEARED.call_once(|| remove_abandoned(&all));
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = all.join(format!("{process}-{name}-{number}"));
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A folder in it, made if need be.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.0.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        Ok(folder)
    }
}

fn remove_abandoned(all: &Path) {
    let folders = fs::read_dir(all).into_iter().flatten().flatten();
    let abandoned = folders.filter(|folder| {
        let name = folder.file_name().to_string_lossy().into_owned();
        let process = name.split('-').next().unwrap_or_default();
        !Path::new("/proc").join(process).exists()
    });
    for folder in abandoned {
        // Another run may be removing it at the same time.
        let _ = fs::remove_dir_all(folder.path());
    }
}
