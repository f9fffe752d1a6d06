//! The key of the audit chain, from its file.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use pullpass_domain::audit::AuditKey;
use zeroize::Zeroizing;

/// What the file's mode may not allow: anything to others, writing and executing to the group. A Secret mounted for a
/// process that is not root is readable by its group.
const FORBIDDEN_MODE: u32 = 0o037;
/// Room for every well-formed file, so that no copy is left behind by growing.
const ROOM: usize = 256;

/// Why the audit key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("failed to read the audit key {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others than its owner can read the file.
    #[error("the audit key {} has mode {mode:o}: make it 600, readable by its owner alone", file.display())]
    Mode {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is no such key.
    #[error("the audit key {} is not 32 bytes in base64", file.display())]
    Form {
        /// The file.
        file: PathBuf,
    },
}

/// Takes the key from its file.
pub(crate) fn load(file: &Path) -> Result<AuditKey, KeyError> {
    let failed = |source| KeyError::Read { file: file.to_owned(), source };
    let open = File::open(file).map_err(failed)?;
    let mode = open.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(KeyError::Mode { file: file.to_owned(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    open.take(ROOM as u64).read_to_end(&mut text).map_err(failed)?;
    AuditKey::from_base64(&text).ok_or_else(|| KeyError::Form { file: file.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.key");
        assert!(matches!(load(&file), Err(KeyError::Read { .. })));
        for (text, mode, says) in [
            ("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n", 0o644, "has mode 644"),
            ("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n", 0o620, "has mode 620"),
            ("BwcH\n", 0o600, "is not 32 bytes"),
        ] {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let error = load(&file).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("audit.key"), "{error}");
        }
        fs::write(&file, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n").unwrap();
        for mode in [0o600, 0o400, 0o440] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            load(&file).unwrap();
        }
    }
}
