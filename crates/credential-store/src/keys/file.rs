//! Key files: 32 random bytes in base64, readable by nobody else.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use pullpass_runtime::private_file;
use zeroize::Zeroizing;

use crate::seal::{KEY_BYTES, Kek};

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the key-encryption key cannot be used: {0}")]
    File(#[from] private_file::Error),
    #[error("the key-encryption key {} is not 32 bytes in base64", file.display())]
    Form { file: PathBuf },
}

pub(crate) fn load(file: &Path) -> Result<Kek, Error> {
    let text = private_file::read(file)?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let decoded = BASE64_STANDARD.decode_slice(text.trim_ascii(), &mut *key);
    match decoded {
        Ok(KEY_BYTES) => Kek::new(&key).map_err(|_| Error::Form { file: file.to_owned() }),
        _ => Err(Error::Form { file: file.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_key_file_must_hold_32_bytes_in_base64_and_be_private() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("kek");
        let load = |text: &[u8], mode: u32| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            load(&file)
        };
        let good = BASE64_STANDARD.encode([3; 32]);
        assert_eq!(load(good.as_bytes(), 0o600).unwrap().id(), Kek::new(&[3; 32]).unwrap().id());
        assert!(load(format!("{good}\n").as_bytes(), 0o400).is_ok());
        assert!(matches!(
            load(good.as_bytes(), 0o644),
            Err(Error::File(private_file::Error::Exposed { .. }))
        ));
        for (text, length) in [("", 0), ("short", 31), ("long", 33), ("very long", 300)] {
            let text = if length == 0 { text.to_owned() } else { BASE64_STANDARD.encode(vec![3; length]) };
            assert!(matches!(load(text.as_bytes(), 0o600), Err(Error::Form { .. })), "{text}");
        }
        assert!(matches!(load(&[0xff; 32], 0o600), Err(Error::Form { .. })));
        assert!(matches!(
            super::load(&folder.path().join("absent")),
            Err(Error::File(private_file::Error::Read { .. }))
        ));
    }
}
