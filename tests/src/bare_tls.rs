//! TLS clients that none of our own can be: without a certificate, or with one that nobody should accept.

use std::{io, net::SocketAddr, sync::Arc};

use hyper_util::rt::TokioIo;
use pullpass_runtime::config::TlsConfig;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// A channel over TLS in which the client shows no certificate, and believes any server.
pub fn channel(address: SocketAddr) -> Channel {
    channel_with(address, config(None))
}

/// The same with a certificate, whatever its worth.
pub fn channel_as(shown: &TlsConfig, address: SocketAddr) -> Channel {
    channel_with(address, config(Some(shown)))
}

fn channel_with(address: SocketAddr, config: ClientConfig) -> Channel {
    let config = Arc::new(config);
    let connector = service_fn(move |_: http::Uri| {
        let config = Arc::clone(&config);
        async move { open(config, address).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://peer").connect_with_connector_lazy(connector)
}

/// One connection, to speak by it whatever one likes.
pub async fn connect(shown: &TlsConfig, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    open(Arc::new(config(Some(shown))), address).await
}

/// The certificate that a server shows now.
pub async fn certificate_of(shown: &TlsConfig, address: SocketAddr) -> io::Result<Vec<u8>> {
    let io = connect(shown, address).await?;
    let chain = io.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.first().expect("a server has a certificate").to_vec())
}

/// The first words of a client.
pub fn hello() -> Vec<u8> {
    let name = "localhost".try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config(None)), name).expect("a client");
    let mut words = Vec::new();
    client.write_tls(&mut words).expect("it speaks first");
    words
}

async fn open(config: Arc<ClientConfig>, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(config).connect(ServerName::from(address.ip()), tcp).await
}

fn config(shown: Option<&TlsConfig>) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelieveAnybody));
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = CertificateDer::pem_file_iter(&files.certificate).expect("a certificate file");
            let chain = chain.collect::<Result<_, _>>().expect("certificates");
            let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key file");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[derive(Debug)]
struct BelieveAnybody;

impl ServerCertVerifier for BelieveAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
