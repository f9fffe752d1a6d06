//! Asking an issuer for its keys: https only, no redirects, 64 KiB and 10 s at most.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::ServerName;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes of an answer.
const LARGEST: usize = 64 * 1024;
/// How long all of one request may take.
const LIMIT: Duration = Duration::from_secs(10);
const HTTPS: u16 = 443;
/// The API server of Kubernetes gives its keys to nobody who does not name their own type.
const ACCEPTED: &str = "application/jwk-set+json, application/json";

/// Where an issuer says what it has (`OpenID` Connect Discovery 1.0, section 4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// What we need of the discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Asks issuers, and checks who they are by `authorities`.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    tls: Arc<ClientConfig>,
}

impl Fetcher {
    pub(super) fn new(authorities: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Self { tls: Arc::new(builder.with_root_certificates(authorities).with_no_client_auth()) })
    }

    /// The key set of `issuer`, as its discovery document says.
    pub(super) async fn discover(&self, issuer: &str) -> Result<Bytes, String> {
        let document = self.get(&format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/'))).await?;
        let Discovery { issuer: claimed, jwks_uri } = serde_json::from_slice(&document)
            .map_err(|e| format!("{issuer}{WELL_KNOWN} is no discovery document: {e}"))?;
        if claimed != issuer {
            return Err(format!("{issuer}{WELL_KNOWN} is of another issuer, {claimed:?}"));
        }
        self.get(&jwks_uri).await
    }

    /// What is at `url`.
    pub(super) async fn get(&self, url: &str) -> Result<Bytes, String> {
        let uri = https(url)?;
        let answer = tokio::time::timeout(LIMIT, self.exchange(&uri)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("it took longer than {} s", LIMIT.as_secs())));
        answer.map_err(|problem| format!("failed to get {url}: {problem}"))
    }

    async fn exchange(&self, uri: &Uri) -> Result<Bytes, String> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let tcp =
            TcpStream::connect((host, uri.port_u16().unwrap_or(HTTPS))).await.map_err(|e| e.to_string())?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let tls = connector.connect(name, tcp).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(tls)).await.map_err(|e| e.to_string())?;
        let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, uri.authority().map_or(host, |authority| authority.as_str()))
            .header(header::ACCEPT, ACCEPTED)
            .body(Empty::<Bytes>::new())
            .map_err(|e| e.to_string())?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
            match answer.status() {
                StatusCode::OK => {}
                code if code.is_redirection() => {
                    return Err(format!("it answers {code}, and redirects are not followed"));
                }
                code => return Err(format!("it answers {code}")),
            }
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            Ok(body.map_err(|e| e.to_string())?.to_bytes())
        };
        tokio::pin!(answer);
        // The connection is driven as long as the answer is not complete, and then dropped.
        tokio::select! {
            answer = &mut answer => answer,
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

/// The parts of an https URL.
pub(super) fn https(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|e| format!("{url:?} is no URL: {e}"))?;
    match (uri.scheme_str(), uri.host(), uri.authority()) {
        (Some("https"), Some(_), Some(authority)) if !authority.as_str().contains('@') => Ok(uri),
        _ => Err(format!("{url:?} must be an https URL, as in https://issuer.example.org")),
    }
}
