//! The key of the audit chain, from its file.

use std::path::{Path, PathBuf};

use pullpass_domain::audit::AuditKey;
use pullpass_runtime::private_file;

/// Why the audit key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read, or others can.
    #[error("the audit key cannot be used: {0}")]
    File(#[from] private_file::Error),
    /// The file is no such key.
    #[error("the audit key {} is not 32 bytes in base64", file.display())]
    Form {
        /// The file.
        file: PathBuf,
    },
}

/// Takes the key from its file.
pub(crate) fn load(file: &Path) -> Result<AuditKey, KeyError> {
    let text = private_file::read(file)?;
    AuditKey::from_base64(&text).ok_or_else(|| KeyError::Form { file: file.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use super::*;

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.key");
        assert!(matches!(load(&file), Err(KeyError::File(private_file::Error::Read { .. }))));
        for (text, mode, says) in [
            ("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n", 0o644, "has mode 0644"),
            ("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n", 0o620, "has mode 0620"),
            ("BwcH\n", 0o600, "is not 32 bytes"),
        ] {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let error = load(&file).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("audit.key"), "{error}");
        }
        fs::write(&file, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n").unwrap();
        for mode in [0o600, 0o400] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            load(&file).unwrap();
        }
    }
}
