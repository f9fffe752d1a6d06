//! Files with secrets: read only if nobody else can read them.

use std::{
    fs::{File, Metadata},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Why a file with a secret is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("failed to read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others than its owner can read or change it.
    #[error(
        "{} has mode {mode:04o}, so that others have access to it: make it 0600 (0640 if it belongs to root)",
        file.display()
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// The content of a file that nobody but its owner has access to. One of root's may also be read by a group: that is how
/// Kubernetes hands a Secret to a process that is not root.
pub fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source| Error::Read { file: file.to_owned(), source };
    let mut open = File::open(file).map_err(failed)?;
    // Of the file that is open: the path may lead to another one by now.
    let metadata = open.metadata().map_err(failed)?;
    if is_exposed(&metadata) {
        return Err(Error::Exposed { file: file.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    // With room for all of it: a vector that grows leaves copies behind.
    let mut content =
        Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1));
    open.read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

fn is_exposed(metadata: &Metadata) -> bool {
    let allowed = if metadata.uid() == 0 { 0o740 } else { 0o700 };
    metadata.mode() & 0o777 & !allowed != 0
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn file(mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "fake").unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn what_its_owner_alone_can_read_is_read() {
        for mode in [0o600, 0o400] {
            assert_eq!(**read(file(mode).path()).unwrap(), *b"fake");
        }
    }

    #[test]
    fn what_others_have_access_to_is_refused() {
        for mode in [0o604, 0o660, 0o644, 0o602] {
            let error = read(file(mode).path()).unwrap_err();
            assert!(matches!(error, Error::Exposed { mode: found, .. } if found == mode), "{error}");
        }
        assert!(matches!(read(Path::new("/nowhere/key")), Err(Error::Read { .. })));
    }
}
