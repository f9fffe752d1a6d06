//! Mutual TLS: TLS 1.3 only, both sides known by the one SPIFFE id in their certificate, no resumption.
//!
//! The files are read again when their content changes, so that certificates can be replaced while we run: new
//! connections use the new ones, old connections live on for as long as their peer would be accepted again ([`trust`]).
//! Files that cannot be used are logged and change nothing.

mod certificate;
mod expiry;
pub(crate) mod trust;
mod verify;

use std::{path::Path, path::PathBuf, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, danger::ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs as aws_lc},
    server::{NoServerSessionStorage, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio::sync::watch;

pub(crate) use self::verify::Refused;
use self::{
    certificate::Facts,
    expiry::{Expiry, Kind},
};
use crate::{
    clock::Clock,
    config::TlsConfig,
    identity::{self, PeerIdentity, SpiffeId},
    shutdown::Shutdown,
};

const POLL: Duration = Duration::from_secs(2);
pub(crate) const ALPN: &[u8] = b"h2";

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
    /// Our own certificate is of no use at this time.
    #[error("the certificate in {} {reason} ({certificate}): renew it", file.display())]
    Unusable {
        /// The certificate file.
        file: PathBuf,
        /// Since or until when.
        reason: String,
        /// What it says of itself.
        certificate: String,
    },
}

/// Our certificate, key and trusted authorities, always as the files last said it well.
#[derive(Debug)]
pub struct Tls {
    files: TlsConfig,
    current: watch::Sender<Arc<Material>>,
    clock: Clock,
}

/// Which clients a server lets in. A certificate that is shown must be good in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// Those with a certificate.
    Certified,
    /// Also those without one: their calls have to bring a token.
    CertifiedOrNot,
}

/// What the files said at one time.
#[derive(Debug)]
pub(crate) struct Material {
    digest: digest::Digest,
    identity: PeerIdentity,
    own: Arc<SingleCertAndKey>,
    facts: Facts,
    authorities: Arc<RootCertStore>,
    first_to_end: Option<Facts>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsConfig) -> Result<Self, Error> {
        let material = Material::build(files, &Content::read(files)?)?;
        Ok(Self {
            files: files.clone(),
            current: watch::Sender::new(Arc::new(material)),
            clock: Clock::system(),
        })
    }

    /// Who we are, and by which certificate.
    pub fn identity(&self) -> PeerIdentity {
        self.current().identity.clone()
    }

    /// Reads the files again when their content changes, until the shutdown.
    pub fn watch(self: &Arc<Self>, shutdown: &Shutdown) {
        let (tls, token) = (Arc::clone(self), shutdown.token());
        shutdown.spawn("certificate reload", async move {
            let mut complaint = Complaint::default();
            let (mut own, mut authority) = (Expiry::new(Kind::Own), Expiry::new(Kind::Authority));
            loop {
                let (material, now) = (tls.current(), tls.clock.now());
                own.look(&material.facts, now);
                if let Some(facts) = &material.first_to_end {
                    authority.look(facts, now);
                }
                if token.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                    break;
                }
                tls.reload_logged(&mut complaint);
            }
        });
    }

    /// Reads the files, takes them into use if their content changed, and says whether it did. On an error the old
    /// ones stay in use, as they do while the new certificate is expired or not valid yet.
    pub fn reload(&self) -> Result<bool, Error> {
        let content = Content::read(&self.files)?;
        let changed = content.digest().as_ref() != self.current().digest.as_ref();
        if changed {
            let material = Material::build(&self.files, &content)?;
            self.usable(&material)?;
            self.current.send_replace(Arc::new(material));
        }
        Ok(changed)
    }

    /// One round of the watch.
    fn reload_logged(&self, complaint: &mut Complaint) {
        let problem = match self.reload() {
            Ok(false) => None,
            Ok(true) => {
                let now = self.current();
                let (certificate, authorities) = (now.facts.to_string(), now.authorities.len());
                tracing::info!(certificate, authorities, "certificates reloaded");
                None
            }
            Err(error) => Some(format!("{:#}", anyhow::Error::from(error))),
        };
        if let Some(error) = complaint.news(problem) {
            tracing::error!(error, "certificates not reloaded, the old ones stay in use");
        }
    }

    /// An error if the certificate cannot convince anybody now.
    fn usable(&self, material: &Material) -> Result<(), Error> {
        let Some(reason) = material.facts.unusable(self.clock.now()) else { return Ok(()) };
        let certificate = material.facts.to_string();
        Err(Error::Unusable { file: self.files.certificate.clone(), reason, certificate })
    }

    pub(crate) fn trust_domain(&self) -> &str {
        &self.files.trust_domain
    }

    /// What the files say now. A reload gives another one, so that the two can be told apart by their place.
    pub(crate) fn current(&self) -> Arc<Material> {
        Arc::clone(&self.current.borrow())
    }

    /// Wakes up at every reload.
    pub(crate) fn reloads(&self) -> watch::Receiver<Arc<Material>> {
        self.current.subscribe()
    }

    /// For one connection with any of these clients; a certificate that is not accepted is noted in `refused`.
    pub(crate) fn server_config(
        &self,
        clients: Clients,
        refused: &Refused,
    ) -> Result<ServerConfig, rustls::Error> {
        let material = self.current();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(self.client_verifier(&material, clients, refused)))
            .with_cert_resolver(material.own.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Whether a client with this chain would be accepted if it came now.
    pub(crate) fn accepts_client(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let verifier = self.client_verifier(&self.current(), Clients::Certified, &Refused::default());
        let [leaf, intermediates @ ..] = chain else { return Err(rustls::Error::NoCertificatesPresented) };
        verifier.verify_client_cert(leaf, intermediates, UnixTime::now()).map(drop)
    }

    /// For one connection by `material` to `peer` and nobody else; a certificate that is not accepted is noted in `refused`.
    pub(crate) fn client_config(
        &self,
        material: &Material,
        peer: &SpiffeId,
        refused: &Refused,
    ) -> Result<ClientConfig, Error> {
        self.usable(material)?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|source| pair_error(&self.files, source))?
            .dangerous()
            .with_custom_certificate_verifier(server_verifier(&material.authorities, peer, refused))
            .with_client_cert_resolver(material.own.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Whether `peer` with this chain would be accepted if we went to it now.
    pub(crate) fn accepts_server(
        &self,
        peer: &SpiffeId,
        name: &ServerName<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), rustls::Error> {
        let material = self.current();
        let verifier = server_verifier(&material.authorities, peer, &Refused::default());
        let [leaf, intermediates @ ..] = chain else { return Err(rustls::Error::NoCertificatesPresented) };
        verifier.verify_server_cert(leaf, intermediates, name, &[], UnixTime::now()).map(drop)
    }

    fn client_verifier(&self, material: &Material, clients: Clients, refused: &Refused) -> verify::Client {
        verify::Client::new(Arc::clone(&material.clients), &self.files.trust_domain, clients, refused)
    }
}

/// What goes wrong is told when it goes wrong twice in the same way, and once: files that are being replaced one after the
/// other do not fit together for a moment.
#[derive(Debug, Default)]
struct Complaint {
    last: Option<String>,
    told: Option<String>,
}

impl Complaint {
    fn news(&mut self, problem: Option<String>) -> Option<String> {
        if problem.is_none() {
            self.told = None;
        }
        let again = problem.is_some() && problem == self.last && problem != self.told;
        self.last = problem;
        again.then(|| self.told.clone_from(&self.last)).and_then(|()| self.told.clone())
    }
}

impl Material {
    fn build(files: &TlsConfig, content: &Content) -> Result<Self, Error> {
        let chain = certificates(&files.certificate, &content.certificate)?;
        let identity = PeerIdentity::from_certificate(&chain[0], &files.trust_domain)
            .map_err(|source| Error::Identity { file: files.certificate.clone(), source })?;
        let facts = Facts::of(&chain[0])
            .ok_or_else(|| parse_error(&files.certificate, "it is no certificate".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(&content.key)
            .map_err(|e| parse_error(&files.key, e.to_string()))?;
        let trusted = certificates(&files.authorities, &content.authorities)?;
        let first_to_end =
            trusted.iter().filter_map(|der| Facts::of(der)).min_by_key(|facts| facts.not_after);
        let authorities = Arc::new(authorities(&files.authorities, trusted)?);
        let clients = verify::chain(&authorities, &provider()).map_err(|source| pair_error(files, source))?;
        let own =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|source| pair_error(files, source))?;
        let own = Arc::new(SingleCertAndKey::from(own));
        Ok(Self { digest: content.digest(), identity, own, facts, authorities, first_to_end, clients })
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

/// Accepts `peer` and nobody else; a certificate that is not accepted is noted in `refused`.
pub(crate) fn server_verifier(
    authorities: &Arc<RootCertStore>,
    peer: &SpiffeId,
    refused: &Refused,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(verify::Server::new(authorities, &provider(), peer.clone(), refused))
}

/// The authorities in a PEM file.
pub(crate) fn root_store(file: &Path) -> Result<RootCertStore, Error> {
    let pem = std::fs::read(file).map_err(|source| Error::Read { file: file.to_owned(), source })?;
    authorities(file, certificates(file, &pem)?)
}

fn authorities(file: &Path, trusted: Vec<CertificateDer<'static>>) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in trusted {
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

fn pair_error(files: &TlsConfig, source: rustls::Error) -> Error {
    Error::Pair { certificate: files.certificate.clone(), key: files.key.clone(), source }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc::default_provider())
}

#[cfg(test)]
mod tests;
