//! Envelope encryption: every version of every credential under a data key of its own, the data keys wrapped by a
//! key-encryption key, which is never in the database in the clear. `docs/record-format.md` says it byte by byte.
//!
//! ```text
//!  material ── data key ──► ciphertext          AES-256-GCM-SIV both; bound to
//!     │                                            (format, credential uid, name, version, registries and user names)
//!  data key ── key-encryption key ──► wrapped      (format, credential uid, name, version, key id)
//! ```
//!
//! So a row that is moved to another credential or version, or mixed from two, or that shows other registries than its
//! material has, does not open. Only the wrapped data key knows the key-encryption key: a new one touches no material.

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac, rand,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use pullpass_domain::{name::CredentialName, secret::SecretBytes};
use zeroize::Zeroizing;

use crate::store::Entry;

pub(crate) const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const KEY_ID_BYTES: usize = 9;
/// The format of what is sealed now.
const FORMAT: i64 = 2;
/// Material of the first format is bound to the id of the key-encryption key that it was sealed under.
const MATERIAL_1: &[u8] = b"pullpass material 1";
const MATERIAL_2: &[u8] = b"pullpass material 2";
const DATA_KEY: &[u8] = b"pullpass data key 1";
const KEY_ID: &[u8] = b"pullpass key id";

/// Why material cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("failed to seal")]
    Seal,
    #[error("it is sealed under the key {sealed_by}, and not under {tried}")]
    OtherKey { sealed_by: String, tried: String },
    #[error("it is sealed in the format {0}, which this program does not know: it comes from a newer one")]
    Format(i64),
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
    pub(crate) format: i64,
    /// The key-encryption key that material of format 1 is bound to; none in later ones.
    pub(crate) material_key_id: Option<String>,
    /// The key-encryption key that wraps the data key.
    pub(crate) key_id: String,
    pub(crate) data_key: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
}

/// A key-encryption key.
#[derive(Debug)]
pub(crate) struct Kek {
    cipher: RandomizedNonceKey,
    id: String,
}

impl Kek {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Result<Self, Error> {
        let id = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), KEY_ID);
        let id = BASE64_URL_SAFE_NO_PAD.encode(&id.as_ref()[..KEY_ID_BYTES]);
        Ok(Self { cipher: cipher(key)?, id })
    }

    /// A new one, and its bytes.
    pub(crate) fn random() -> Result<(Self, Zeroizing<[u8; KEY_BYTES]>), Error> {
        let bytes = random_key()?;
        Ok((Self::new(&bytes)?, bytes))
    }

    /// Tells the key from others and says nothing else about it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    #[tracing::instrument(name = "material.seal", skip_all)]
    pub(crate) fn seal(
        &self,
        place: Place<'_>,
        entries: &[Entry],
        material: &SecretBytes,
    ) -> Result<Sealed, Error> {
        let data_key = random_key()?;
        Ok(Sealed {
            format: FORMAT,
            material_key_id: None,
            ciphertext: encrypt(&cipher(&*data_key)?, &material_bound(place, entries), material.expose())?,
            data_key: self.wrap_key(place, &*data_key)?,
            key_id: self.id.clone(),
        })
    }

    #[tracing::instrument(name = "material.open", skip_all)]
    pub(crate) fn open(
        &self,
        place: Place<'_>,
        entries: &[Entry],
        sealed: &Sealed,
    ) -> Result<SecretBytes, Error> {
        if sealed.key_id != self.id {
            return Err(Error::OtherKey { sealed_by: sealed.key_id.clone(), tried: self.id.clone() });
        }
        let bound = match (sealed.format, &sealed.material_key_id) {
            (1, Some(key_id)) => key_bound(MATERIAL_1, place, key_id),
            (2, None) => material_bound(place, entries),
            (1 | 2, _) => return Err(Error::Altered),
            (other, _) => return Err(Error::Format(other)),
        };
        let data_key = self.unwrap_key(place, &sealed.data_key)?;
        decrypt(&cipher(data_key.expose())?, &bound, &sealed.ciphertext)
    }

    /// The same data key, wrapped by `to` instead.
    pub(crate) fn rewrap(&self, place: Place<'_>, data_key: &[u8], to: &Self) -> Result<Vec<u8>, Error> {
        to.wrap_key(place, self.unwrap_key(place, data_key)?.expose())
    }

    fn wrap_key(&self, place: Place<'_>, data_key: &[u8]) -> Result<Vec<u8>, Error> {
        encrypt(&self.cipher, &key_bound(DATA_KEY, place, &self.id), data_key)
    }

    fn unwrap_key(&self, place: Place<'_>, data_key: &[u8]) -> Result<SecretBytes, Error> {
        decrypt(&self.cipher, &key_bound(DATA_KEY, place, &self.id), data_key)
    }
}

fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, Error> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(&mut *key).map_err(|_| Error::Seal)?;
    Ok(key)
}

/// A stored data key of another length is not ours.
fn cipher(key: &[u8]) -> Result<RandomizedNonceKey, Error> {
    RandomizedNonceKey::new(&AES_256_GCM_SIV, key).map_err(|_| Error::Altered)
}

fn material_bound(place: Place<'_>, entries: &[Entry]) -> Vec<u8> {
    let (name, version) = (place.name.to_string(), place.version.to_be_bytes());
    let mut parts = vec![MATERIAL_2, place.uid.as_bytes(), name.as_bytes(), &version];
    parts.extend(entries.iter().flat_map(|entry| [entry.registry.as_bytes(), entry.username.as_bytes()]));
    joined(&parts)
}

fn key_bound(format: &[u8], place: Place<'_>, key_id: &str) -> Vec<u8> {
    let (name, version) = (place.name.to_string(), place.version.to_be_bytes());
    joined(&[format, place.uid.as_bytes(), name.as_bytes(), &version, key_id.as_bytes()])
}

/// Each part with its length before it, so that no two lists of parts give the same bytes.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat()).collect()
}

fn encrypt(key: &RandomizedNonceKey, associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
    // Encrypted in place, in a buffer that never grows: no copy of the plain text is left behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_BYTES));
    buffer.extend_from_slice(plain);
    let nonce = key.seal_in_place_append_tag(Aad::from(associated), &mut *buffer);
    Ok([&nonce.map_err(|_| Error::Seal)?.as_ref()[..], &buffer].concat())
}

fn decrypt(key: &RandomizedNonceKey, associated: &[u8], stored: &[u8]) -> Result<SecretBytes, Error> {
    let (nonce, ciphertext) = stored.split_at_checked(NONCE_LEN).ok_or(Error::Altered)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Altered)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let opened = key.open_in_place(nonce, Aad::from(associated), &mut buffer);
    let length = opened.map_err(|_| Error::Altered)?.len();
    buffer.truncate(length);
    Ok(SecretBytes::new(std::mem::take(&mut *buffer)))
}

#[cfg(test)]
mod tests;
