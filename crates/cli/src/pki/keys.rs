//! The services' own keys: the one that seals the credentials, the pair that signs and checks tickets, and those that chain
//! the audit trails.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{KeyPair, PKCS_ED25519};
use zeroize::Zeroizing;

use crate::files::{self, PRIVATE, PUBLIC};

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// credential-store: 32 random bytes in base64, which wrap every data key.
    pub key_encryption_key: PathBuf,
    /// grant-manager: an Ed25519 key in PKCS #8 PEM, which signs tickets.
    pub ticket_signing_key: PathBuf,
    /// credential-store: the public half in PEM, which checks tickets.
    pub ticket_public_key: PathBuf,
    /// credential-store: 32 random bytes in base64, which chain its audit trail.
    pub credential_store_audit_key: PathBuf,
    /// grant-manager: the same for its own.
    pub grant_manager_audit_key: PathBuf,
}

impl Keys {
    fn at(folder: &Path) -> Self {
        Self {
            key_encryption_key: folder.join("key-encryption.key"),
            ticket_signing_key: folder.join("ticket-signing.key"),
            ticket_public_key: folder.join("ticket-signing.pub"),
            credential_store_audit_key: folder.join("credential-store-audit.key"),
            grant_manager_audit_key: folder.join("grant-manager-audit.key"),
        }
    }

    /// Makes the keys in `folder`. Fails if one of them exists: sealed credentials are lost with their key.
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        let keys = Self::at(folder);
        files::private_folder(folder)?;
        files::none_exists([
            keys.key_encryption_key.as_path(),
            keys.ticket_signing_key.as_path(),
            keys.ticket_public_key.as_path(),
            keys.credential_store_audit_key.as_path(),
            keys.grant_manager_audit_key.as_path(),
        ])?;
        keys.ensure_all()?;
        Ok(keys)
    }

    /// Makes those keys in `folder` that are not there yet.
    pub(crate) fn ensure(folder: &Path) -> anyhow::Result<Self> {
        let keys = Self::at(folder);
        files::private_folder(folder)?;
        keys.ensure_all()?;
        Ok(keys)
    }

    fn ensure_all(&self) -> anyhow::Result<()> {
        ensure_random(&self.key_encryption_key)?;
        ensure_random(&self.credential_store_audit_key)?;
        ensure_random(&self.grant_manager_audit_key)?;
        self.ensure_ticket_keys()
    }

    /// The public key is derived from the private one, so that the two always fit.
    fn ensure_ticket_keys(&self) -> anyhow::Result<()> {
        if !self.ticket_signing_key.exists() {
            let pair =
                KeyPair::generate_for(&PKCS_ED25519).context("failed to make the ticket signing key")?;
            let pem = Zeroizing::new(pair.serialize_pem());
            files::create(&self.ticket_signing_key, PRIVATE, pem.as_bytes())?;
        }
        if !self.ticket_public_key.exists() {
            let file = &self.ticket_signing_key;
            let pem = std::fs::read_to_string(file).map(Zeroizing::new);
            let pem = pem.with_context(|| format!("failed to read {}", file.display()))?;
            let pair = KeyPair::from_pem(&pem).with_context(|| format!("{} is no key", file.display()))?;
            files::create(&self.ticket_public_key, PUBLIC, pair.public_key_pem().as_bytes())?;
        }
        Ok(())
    }
}

/// 32 random bytes in base64, unless there is a file already.
fn ensure_random(file: &Path) -> anyhow::Result<()> {
    if file.exists() {
        return Ok(());
    }
    let mut key = Zeroizing::new([0_u8; 32]);
    let made = aws_lc_rs::rand::fill(&mut *key);
    made.with_context(|| format!("failed to make the key {}", file.display()))?;
    let mut text = Zeroizing::new(BASE64_STANDARD.encode(*key));
    text.push('\n');
    files::create(file, PRIVATE, text.as_bytes())
}
