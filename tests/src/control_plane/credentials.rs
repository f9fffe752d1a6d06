//! Keys, certificates, tokens and kubeconfig files of a control plane.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{CertifiedKey, KeyPair};
use serde_json::json;

/// The administrator: a static token in the group that may do everything.
#[derive(Debug)]
pub struct Admin;

impl Admin {
    /// His token. The API server listens on loopback and ends with the test.
    pub const TOKEN: &str = "admin-of-a-throw-away-control-plane";
}

/// The files of one control plane.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) url: String,
    pub(super) authority_pem: String,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) tokens: PathBuf,
    pub(super) account_key: PathBuf,
    pub(super) account_public_key: PathBuf,
    pub(super) admin_kubeconfig: PathBuf,
}

impl Credentials {
    pub(super) fn create(folder: &Path, url: &str) -> anyhow::Result<Self> {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)
            .context("failed to make the API server's certificate")?;
        let account = KeyPair::generate().context("failed to make the service accounts' key")?;
        let write = |name: &str, content: &str| {
            let file = folder.join(name);
            fs::write(&file, content).with_context(|| format!("failed to write {}", file.display()))?;
            Ok::<_, anyhow::Error>(file)
        };
        let credentials = Self {
            url: url.to_owned(),
            authority_pem: cert.pem(),
            certificate: write("api-server.pem", &cert.pem())?,
            key: write("api-server.key", &signing_key.serialize_pem())?,
            tokens: write("tokens.csv", &format!("{},admin,admin,system:masters\n", Admin::TOKEN))?,
            account_key: write("service-accounts.key", &account.serialize_pem())?,
            account_public_key: write("service-accounts.pub", &account.public_key_pem())?,
            admin_kubeconfig: folder.join("admin.kubeconfig"),
        };
        kubeconfig(&credentials.admin_kubeconfig, url, &credentials.authority_pem, "admin", Admin::TOKEN)?;
        Ok(credentials)
    }
}

/// Writes a kubeconfig file for the bearer of `token`.
pub fn kubeconfig(file: &Path, url: &str, authority: &str, user: &str, token: &str) -> anyhow::Result<()> {
    let authority = BASE64_STANDARD.encode(authority);
    let content = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": user}}],
        "current-context": "e2e",
    });
    fs::write(file, format!("{content:#}\n")).with_context(|| format!("failed to write {}", file.display()))
}
