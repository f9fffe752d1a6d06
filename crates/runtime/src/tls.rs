//! Mutual TLS: TLS 1.3 only, both sides known by the one SPIFFE id in their certificate, no resumption.
//!
//! The files are read again when their content changes, so that certificates can be replaced while we run: new
//! connections use the new ones, old connections live on. Files that cannot be used are logged and change nothing.

mod verify;

use std::{path::Path, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs as aws_lc},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

pub(crate) use verify::plain;

use crate::{
    config::TlsConfig,
    identity::{self, PeerIdentity, SpiffeId},
    shutdown::Shutdown,
};

const POLL: Duration = Duration::from_secs(2);
const ALPN: &[u8] = b"h2";

/// Why the TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("failed to read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not the PEM that it should be.
    #[error("failed to parse {}: {reason}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Our own certificate does not say who we are.
    #[error("{} names no usable identity", file.display())]
    Identity {
        /// The certificate file.
        file: PathBuf,
        /// Why.
        source: identity::Error,
    },
    /// Certificate and key do not fit together, or the parts cannot be made into a TLS configuration.
    #[error("{} and {} cannot be used together", certificate.display(), key.display())]
    Pair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Our certificate, key and trusted authorities, always as the files last said it well.
#[derive(Debug)]
pub struct Tls {
    files: TlsConfig,
    current: ArcSwap<Material>,
}

/// What the files said at one time.
#[derive(Debug)]
struct Material {
    digest: digest::Digest,
    identity: PeerIdentity,
    own: Arc<SingleCertAndKey>,
    authorities: Arc<RootCertStore>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsConfig) -> Result<Self, Error> {
        let material = Material::build(files, &Content::read(files)?)?;
        Ok(Self { files: files.clone(), current: ArcSwap::from_pointee(material) })
    }

    /// Who we are, and by which certificate.
    pub fn identity(&self) -> PeerIdentity {
        self.current.load().identity.clone()
    }

    /// Reads the files again when their content changes, until the shutdown.
    pub fn watch(self: &Arc<Self>, shutdown: &Shutdown) {
        let (tls, token) = (Arc::clone(self), shutdown.token());
        shutdown.spawn("certificate reload", async move {
            let mut complaint = None;
            while token.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
                tls.reload_logged(&mut complaint);
            }
        });
    }

    /// Reads the files, takes them into use if their content changed, and says whether it did. On an error the old
    /// ones stay in use.
    pub fn reload(&self) -> Result<bool, Error> {
        let content = Content::read(&self.files)?;
        let changed = content.digest().as_ref() != self.current.load().digest.as_ref();
        if changed {
            self.current.store(Arc::new(Material::build(&self.files, &content)?));
        }
        Ok(changed)
    }

    /// One round of the watch. A complaint is logged when it is new, not in every round.
    fn reload_logged(&self, complaint: &mut Option<String>) {
        let new = match self.reload() {
            Ok(false) => None,
            Ok(true) => {
                tracing::info!(identity = %self.identity().spiffe_id, "certificates reloaded");
                None
            }
            Err(error) => Some(format!("{:#}", anyhow::Error::from(error))),
        };
        if let Some(error) = new.as_ref().filter(|new| complaint.as_ref() != Some(new)) {
            tracing::error!(error, "certificates not reloaded, the old ones stay in use");
        }
        *complaint = new;
    }

    pub(crate) fn trust_domain(&self) -> &str {
        &self.files.trust_domain
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// For one connection to `peer` and nobody else.
    pub(crate) fn client_config(&self, peer: &SpiffeId) -> Result<ClientConfig, rustls::Error> {
        let material = self.current.load();
        let verifier = verify::Server::new(&material.authorities, &provider(), peer.clone());
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(material.own.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl Material {
    fn build(files: &TlsConfig, content: &Content) -> Result<Self, Error> {
        let chain = certificates(&files.certificate, &content.certificate)?;
        let identity = PeerIdentity::from_certificate(&chain[0], &files.trust_domain)
            .map_err(|source| Error::Identity { file: files.certificate.clone(), source })?;
        let key = PrivateKeyDer::from_pem_slice(&content.key)
            .map_err(|e| parse_error(&files.key, e.to_string()))?;
        let authorities = Arc::new(authorities(&files.authorities, &content.authorities)?);
        let pair =
            |source| Error::Pair { certificate: files.certificate.clone(), key: files.key.clone(), source };
        let own = CertifiedKey::from_der(chain, key, &provider()).map_err(pair)?;
        let own = Arc::new(SingleCertAndKey::from(own));
        let server = server_config(&own, &authorities, &files.trust_domain).map_err(pair)?;
        Ok(Self { digest: content.digest(), identity, own, authorities, server: Arc::new(server) })
    }
}

/// The bytes of the three files.
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

impl Content {
    fn read(files: &TlsConfig) -> Result<Self, Error> {
        let read =
            |file: &Path| std::fs::read(file).map_err(|source| Error::Read { file: file.to_owned(), source });
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            authorities: read(&files.authorities)?,
        })
    }

    fn digest(&self) -> digest::Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&self.certificate, &self.key, &self.authorities] {
            context.update(digest::digest(&digest::SHA256, part).as_ref());
        }
        context.finish()
    }
}

fn server_config(
    own: &Arc<SingleCertAndKey>,
    authorities: &Arc<RootCertStore>,
    trust_domain: &str,
) -> Result<ServerConfig, rustls::Error> {
    let verifier = verify::Client::new(authorities, &provider(), trust_domain)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(own.clone());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn authorities(file: &Path, pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(file, pem)? {
        store.add(certificate).map_err(|e| parse_error(file, e.to_string()))?;
    }
    Ok(store)
}

/// One or more certificates.
fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(parse_error(file, "it holds no certificate".to_owned())),
        Ok(found) => Ok(found),
        Err(e) => Err(parse_error(file, e.to_string())),
    }
}

fn parse_error(file: &Path, reason: String) -> Error {
    Error::Parse { file: file.to_owned(), reason }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc::default_provider())
}

#[cfg(test)]
mod tests;
