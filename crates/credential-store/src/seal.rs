//! Envelope encryption: every version of every credential under a data key of its own, the data keys wrapped by the
//! key-encryption key, which is never in the database.
//!
//! ```text
//!  material ── data key ──► ciphertext        AES-256-GCM-SIV both, and both bound to
//!  data key ── key-encryption key ──► wrapped   (format, credential uid, name, version, key id)
//! ```
//!
//! So a row that is moved to another credential or version, or mixed from two, does not open.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac, rand,
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use pullpass_domain::{name::CredentialName, secret::SecretBytes};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const KEY_ID_BYTES: usize = 9;
const MATERIAL: &[u8] = b"pullpass material 1";
const DATA_KEY: &[u8] = b"pullpass data key 1";
/// What the file's mode may not allow: anything to others, writing and executing to the group. A Secret mounted for a
/// process that is not root is readable by its group.
const FORBIDDEN_MODE: u32 = 0o037;

/// Why the key-encryption key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("failed to read the key-encryption key {}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("the key-encryption key {} has mode {mode:o}: make it 600, readable by its owner alone", file.display())]
    Mode { file: PathBuf, mode: u32 },
    #[error("the key-encryption key {} is not 32 bytes in base64", file.display())]
    Form { file: PathBuf },
}

/// Why material cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("failed to seal")]
    Seal,
    #[error("it is sealed under the key {sealed_by}, and the key-encryption key in use is {in_use}")]
    OtherKey { sealed_by: String, in_use: String },
    #[error("it does not open: it was altered, or belongs to another credential or version")]
    Altered,
}

/// What sealed material is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) uid: &'a str,
    pub(crate) name: &'a CredentialName,
    pub(crate) version: i64,
}

/// Material as it is stored: nonce, ciphertext and tag in one, of the wrapped data key and of the material.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Sealed {
    pub(crate) key_id: String,
    pub(crate) data_key: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
}

/// Seals and opens with one key-encryption key.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: RandomizedNonceKey,
    key_id: String,
}

impl Sealer {
    /// Takes the key from its file.
    pub(crate) fn load(file: &Path) -> Result<Self, KeyError> {
        let text = read_private(file)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let decoded = BASE64_STANDARD.decode_slice(text.trim_ascii(), &mut *key);
        match decoded {
            Ok(KEY_BYTES) => Self::new(&key).map_err(|_| KeyError::Form { file: file.to_owned() }),
            _ => Err(KeyError::Form { file: file.to_owned() }),
        }
    }

    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Result<Self, Error> {
        let id = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"pullpass key id");
        let key_id = BASE64_URL_SAFE_NO_PAD.encode(&id.as_ref()[..KEY_ID_BYTES]);
        Ok(Self { key: cipher(key).map_err(|_| Error::Seal)?, key_id })
    }

    /// Tells the key from others and says nothing else about it.
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    #[tracing::instrument(name = "material.seal", skip_all)]
    pub(crate) fn seal(&self, place: Place<'_>, material: &SecretBytes) -> Result<Sealed, Error> {
        let mut data_key = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *data_key).map_err(|_| Error::Seal)?;
        let encrypt = |key: &RandomizedNonceKey, format, plain| {
            encrypt(key, &associated(format, place, &self.key_id), plain).map_err(|_| Error::Seal)
        };
        Ok(Sealed {
            ciphertext: encrypt(&cipher(&*data_key).map_err(|_| Error::Seal)?, MATERIAL, material.expose())?,
            data_key: encrypt(&self.key, DATA_KEY, &*data_key)?,
            key_id: self.key_id.clone(),
        })
    }

    #[tracing::instrument(name = "material.open", skip_all)]
    pub(crate) fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<SecretBytes, Error> {
        if sealed.key_id != self.key_id {
            return Err(Error::OtherKey { sealed_by: sealed.key_id.clone(), in_use: self.key_id.clone() });
        }
        let decrypt = |key: &RandomizedNonceKey, format, stored| {
            decrypt(key, &associated(format, place, &self.key_id), stored).ok_or(Error::Altered)
        };
        let data_key = decrypt(&self.key, DATA_KEY, &sealed.data_key)?;
        let data_key = cipher(data_key.expose()).map_err(|_| Error::Altered)?;
        decrypt(&data_key, MATERIAL, &sealed.ciphertext)
    }
}

fn read_private(file: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::Read { file: file.to_owned(), source };
    let mut open = File::open(file).map_err(failed)?;
    let mode = open.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(KeyError::Mode { file: file.to_owned(), mode });
    }
    // Room for every well-formed file, so that no copy is left behind by growing.
    let mut text = Zeroizing::new(Vec::with_capacity(256));
    open.by_ref().take(256).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

fn cipher(key: &[u8]) -> Result<RandomizedNonceKey, aws_lc_rs::error::Unspecified> {
    RandomizedNonceKey::new(&AES_256_GCM_SIV, key)
}

/// Each part with its length before it, so that no two places give the same bytes.
fn associated(format: &[u8], place: Place<'_>, key_id: &str) -> Vec<u8> {
    let name = place.name.to_string();
    let version = place.version.to_be_bytes();
    let parts = [format, place.uid.as_bytes(), name.as_bytes(), &version, key_id.as_bytes()];
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat()).collect()
}

fn encrypt(
    key: &RandomizedNonceKey,
    associated: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
    // Encrypted in place, in a buffer that never grows: no copy of the plain text is left behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_BYTES));
    buffer.extend_from_slice(plain);
    let nonce = key.seal_in_place_append_tag(Aad::from(associated), &mut *buffer)?;
    Ok([&nonce.as_ref()[..], &buffer].concat())
}

fn decrypt(key: &RandomizedNonceKey, associated: &[u8], stored: &[u8]) -> Option<SecretBytes> {
    let (nonce, ciphertext) = stored.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = key.open_in_place(nonce, Aad::from(associated), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(SecretBytes::new(std::mem::take(&mut *buffer)))
}

#[cfg(test)]
mod tests;
