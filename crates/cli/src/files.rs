//! Files that come into being whole or not at all, with the right mode from the first byte.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// Readable by the owner alone: keys.
pub(crate) const PRIVATE: u32 = 0o600;
/// Readable by all: certificates and public keys.
pub(crate) const PUBLIC: u32 = 0o644;

/// Makes a folder that only its owner may enter, and the ones above it. One that exists stays as it is.
pub(crate) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("failed to make the folder {}", folder.display()))
}

/// Writes a file that must not exist yet.
pub(crate) fn create(file: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    let temporary = write_beside(file, mode, content)?;
    let linked = fs::hard_link(&temporary, file);
    let removed = fs::remove_file(&temporary);
    match linked {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            bail!(
                "{} exists already and is not overwritten: move it away or name another place",
                file.display()
            )
        }
        linked => linked.and(removed).with_context(|| format!("failed to write {}", file.display())),
    }
}

/// Writes a file in the place of whatever was there.
pub(crate) fn replace(file: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    let temporary = write_beside(file, mode, content)?;
    fs::rename(&temporary, file).with_context(|| format!("failed to write {}", file.display()))
}

/// Fails if any of `files` exists, before anything is written.
pub(crate) fn none_exists<'a>(files: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    match files.into_iter().find(|file| file.exists()) {
        None => Ok(()),
        Some(file) => bail!(
            "{} exists already and is not overwritten: move it away or name another place",
            file.display()
        ),
    }
}

fn write_beside(file: &Path, mode: u32, content: &[u8]) -> anyhow::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(file.file_name().with_context(|| format!("{} is no file name", file.display()))?);
    name.push(format!(".{}", std::process::id()));
    let temporary = file.with_file_name(name);
    let write = || {
        // What a process of the same id left behind when it was killed.
        let _ = fs::remove_file(&temporary);
        let mut open = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        open.write_all(content)?;
        open.sync_all()
    };
    write().with_context(|| format!("failed to write {}", temporary.display()))?;
    Ok(temporary)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_existing_file_is_not_overwritten_by_create() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        create(&file, PRIVATE, b"first").unwrap();
        let error = create(&file, PRIVATE, b"second").unwrap_err();
        assert!(error.to_string().contains("not overwritten"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_private_file_is_private_and_can_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        replace(&file, PUBLIC, b"first").unwrap();
        replace(&file, PRIVATE, b"second").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"second");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, PRIVATE);
    }
}
