//! Which certificates we accept: a valid chain to our authorities, and then the right SPIFFE id.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Clients, certificate::describe};
use crate::identity::{PeerIdentity, SpiffeId};

/// Which certificate of one connection's peer was refused: rustls says why, but not which.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refused(Arc<OnceLock<String>>);

impl Refused {
    fn note(&self, leaf: &CertificateDer<'_>) {
        self.0.get_or_init(|| describe(leaf));
    }

    /// Why a handshake failed, in a sentence that names the certificate if that was the reason.
    pub(crate) fn explain(&self, error: io::Error) -> io::Error {
        let error = plain(error);
        match self.0.get() {
            Some(certificate) => {
                io::Error::new(error.kind(), format!("{error}; the certificate: {certificate}"))
            }
            None => error,
        }
    }
}

/// The server answered as somebody else.
#[derive(Debug, thiserror::Error)]
#[error("the server is {actual}, not {expected}")]
struct WrongServer {
    actual: SpiffeId,
    expected: SpiffeId,
}

/// Accepts any client of our trust domain; what it may do is the authorization's business.
#[derive(Debug)]
pub(super) struct Client {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: String,
    clients: Clients,
    refused: Refused,
}

/// Accepts any client with a certificate of our authorities.
pub(super) fn chain(
    authorities: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), Arc::clone(provider))
        .build()
        .map_err(|e| Error::General(e.to_string()))
}

impl Client {
    pub(super) fn new(
        chain: Arc<dyn ClientCertVerifier>,
        trust_domain: &str,
        clients: Clients,
        refused: &Refused,
    ) -> Self {
        Self { chain, trust_domain: trust_domain.to_owned(), clients, refused: refused.clone() }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        PeerIdentity::from_certificate(leaf, &self.trust_domain).map_err(refused)?;
        Ok(verified)
    }
}

impl ClientCertVerifier for Client {
    fn client_auth_mandatory(&self) -> bool {
        self.clients == Clients::Certified
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, intermediates, now).inspect_err(|_| self.refused.note(leaf))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Accepts one server, by its SPIFFE id; the DNS name does not matter.
#[derive(Debug)]
pub(super) struct Server {
    authorities: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    expected: SpiffeId,
    refused: Refused,
}

impl Server {
    pub(super) fn new(
        authorities: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        expected: SpiffeId,
        refused: &Refused,
    ) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { authorities: Arc::clone(authorities), algorithms, expected, refused: refused.clone() }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.authorities,
            intermediates,
            now,
            algorithms,
        )?;
        let trust_domain = self.expected.trust_domain();
        let actual = PeerIdentity::from_certificate(leaf, trust_domain).map_err(refused)?.spiffe_id;
        if actual != self.expected {
            return Err(refused(WrongServer { actual, expected: self.expected.clone() }));
        }
        Ok(())
    }
}

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, intermediates, now).inspect_err(|_| self.refused.note(leaf))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

/// rustls shows our own reasons in their debug form only; this brings out the sentence.
pub(super) fn plain(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(reason)))) => {
            io::Error::new(error.kind(), reason.to_string())
        }
        _ => error,
    }
}

fn tls13_only() -> Error {
    Error::General("only TLS 1.3 is spoken here".to_owned())
}
