//! Key files: 32 random bytes in base64, readable by nobody else.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::seal::{KEY_BYTES, Kek};

/// What the file's mode may not allow: anything to others, writing and executing to the group. A Secret mounted for a
/// process that is not root is readable by its group.
const FORBIDDEN_MODE: u32 = 0o037;
/// Room for every well-formed file, so that no copy is left behind by growing.
const LONGEST: usize = 256;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("failed to read the key-encryption key {}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("the key-encryption key {} has mode {mode:o}: make it 600, readable by its owner alone", file.display())]
    Mode { file: PathBuf, mode: u32 },
    #[error("the key-encryption key {} is not 32 bytes in base64", file.display())]
    Form { file: PathBuf },
}

pub(crate) fn load(file: &Path) -> Result<Kek, Error> {
    let text = read_private(file)?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let decoded = BASE64_STANDARD.decode_slice(text.trim_ascii(), &mut *key);
    match decoded {
        Ok(KEY_BYTES) => Kek::new(&key).map_err(|_| Error::Form { file: file.to_owned() }),
        _ => Err(Error::Form { file: file.to_owned() }),
    }
}

fn read_private(file: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source| Error::Read { file: file.to_owned(), source };
    let mut open = File::open(file).map_err(failed)?;
    let mode = open.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(Error::Mode { file: file.to_owned(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST));
    open.by_ref().take(LONGEST as u64).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
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
        assert!(load(good.as_bytes(), 0o440).is_ok(), "as Kubernetes mounts it for a group");
        for mode in [0o644, 0o604, 0o620, 0o660, 0o601] {
            assert!(matches!(load(good.as_bytes(), mode), Err(Error::Mode { .. })), "{mode:o}");
        }
        for (text, length) in [("", 0), ("short", 31), ("long", 33), ("very long", 300)] {
            let text = if length == 0 { text.to_owned() } else { BASE64_STANDARD.encode(vec![3; length]) };
            assert!(matches!(load(text.as_bytes(), 0o600), Err(Error::Form { .. })), "{text}");
        }
        assert!(matches!(load(&[0xff; 32], 0o600), Err(Error::Form { .. })));
        assert!(matches!(super::load(&folder.path().join("absent")), Err(Error::Read { .. })));
    }
}
