//! An issuer: discovery and keys over real https, as friendly or hostile as a test wants it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, RsaKeySize};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::token::IssuerConfig;

pub(crate) const AUDIENCE: &str = "pullpass";

/// A key pair of an issuer.
pub(crate) struct Pair {
    pub(crate) kid: String,
    algorithm: Algorithm,
    signs: EncodingKey,
    public: Value,
}

impl Pair {
    pub(crate) fn new(kid: &str, algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::ES256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Algorithm::ES384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Algorithm::EdDSA => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            _ => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        };
        let pair = pair.unwrap();
        let pem = pair.serialize_pem();
        let signs = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        let signs = signs.unwrap();
        let public = match algorithm {
            Algorithm::EdDSA => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64_URL_SAFE_NO_PAD.encode(pair.public_key_raw())})
            }
            _ => serde_json::to_value(Jwk::from_encoding_key(&signs, algorithm).unwrap()).unwrap(),
        };
        Self { kid: kid.to_owned(), algorithm, signs, public }
    }

    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.public.clone();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(Header::new(self.algorithm), claims)
    }

    pub(crate) fn sign_with(&self, header: Header, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..header };
        jsonwebtoken::encode(&header, claims, &self.signs).unwrap()
    }
}

/// How a path is answered.
#[derive(Clone)]
pub(crate) enum Answer {
    Json(String),
    Redirect(String),
    /// Never.
    Silence,
    /// The connection is cut.
    Cut,
}

/// The running issuer.
pub(crate) struct StandIn {
    pub(crate) url: String,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
}

impl StandIn {
    /// Starts one that has these keys.
    pub(crate) async fn start(keys: &[&Pair]) -> Self {
        let authority = CertifiedIssuer::self_signed(
            CertificateParams::new(vec!["127.0.0.1".into()]).unwrap(),
            KeyPair::generate().unwrap(),
        )
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("issuer-ca.pem"), authority.pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(authority.key().serialize_pem().as_bytes()).unwrap();
        let tls =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![authority.der().clone()], key)
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let stand_in = Self { url, answers: Arc::default(), asked: Arc::default(), folder };
        stand_in.describe();
        stand_in.publish(keys);
        tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            Arc::clone(&stand_in.answers),
            Arc::clone(&stand_in.asked),
        ));
        stand_in
    }

    pub(crate) fn config(&self) -> IssuerConfig {
        IssuerConfig {
            name: "cluster-a".to_owned(),
            issuer: self.url.clone(),
            audience: AUDIENCE.to_owned(),
            jwks_uri: None,
            jwks_file: None,
            authorities: Some(self.folder.path().join("issuer-ca.pem")),
        }
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub(crate) fn describe(&self) {
        let document = json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)});
        self.answer("/.well-known/openid-configuration", Answer::Json(document.to_string()));
    }

    pub(crate) fn publish(&self, keys: &[&Pair]) {
        let keys: Vec<_> = keys.iter().map(|pair| pair.jwk()).collect();
        self.answer("/keys", Answer::Json(json!({ "keys": keys }).to_string()));
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (tls, answers, asked) = (tls.clone(), Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(mut io) = tls.accept(tcp).await else { return };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let Ok(byte) = io.read_u8().await else { return };
                request.push(byte);
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap().to_owned();
            asked.lock().unwrap().push(path.clone());
            let answer = answers.lock().unwrap().get(&path).cloned();
            // As the API server of Kubernetes is.
            let answer = answer.filter(|_| path != "/keys" || request.contains("application/jwk-set+json"));
            let (code, header, body) = match answer {
                Some(Answer::Json(body)) => ("200 OK", String::new(), body),
                Some(Answer::Redirect(to)) => ("302 Found", format!("Location: {to}\r\n"), String::new()),
                Some(Answer::Silence) => return tokio::time::sleep(Duration::from_mins(1)).await,
                Some(Answer::Cut) => return,
                None => ("404 Not Found", String::new(), String::new()),
            };
            let text = format!(
                "HTTP/1.1 {code}\r\n{header}Content-Length: {}\r\nContent-Type: application/json\r\n\r\n{body}",
                body.len()
            );
            let _ = io.write_all(text.as_bytes()).await;
            let _ = io.shutdown().await;
        });
    }
}
