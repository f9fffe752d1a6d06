//! The other half of delegated authentication: hands out tokens that the registry trusts, to whom it knows.
//!
//! It speaks just enough of the distribution project's token protocol for the real registry and real clients:
//! `GET /token?service=…&scope=repository:NAME:pull,push` with a Basic login, answered by a signed token.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::ports;

const ISSUER: &str = "e2e-authorization-server";
const SERVICE: &str = "e2e-registry";

/// A running server.
#[derive(Debug)]
pub(super) struct AuthorizationServer {
    port: u16,
    certificate: PathBuf,
    login: Arc<Mutex<String>>,
    user: String,
}

/// What signs the tokens.
struct Signer {
    key: EncodingKey,
    certificate: String,
}

impl AuthorizationServer {
    pub(super) async fn start(folder: &Path, user: &str, password: &str) -> anyhow::Result<Self> {
        let pair = KeyPair::generate().context("failed to make the authorization server's key")?;
        let own = CertificateParams::default().self_signed(&pair);
        let own = own.context("failed to make the authorization server's certificate")?;
        let certificate = folder.join("authorization-server.pem");
        fs::write(&certificate, own.pem()).context("failed to write its certificate")?;
        let signer = Signer {
            key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes())?,
            certificate: BASE64_STANDARD.encode(own.der()),
        };
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("failed to listen")?;
        let login = Arc::new(Mutex::new(basic(user, password)));
        // Its own thread: a test's runtime may end before the world does.
        let wanted = Arc::clone(&login);
        let listener = listener.into_std().context("failed to detach the listener")?;
        std::thread::spawn(move || serve(listener, &signer, &wanted));
        Ok(Self { port, certificate, login, user: user.to_owned() })
    }

    pub(super) fn realm(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    pub(super) fn registry_settings(&self) -> Value {
        json!({
            "realm": self.realm(), "service": SERVICE, "issuer": ISSUER, "rootcertbundle": self.certificate,
        })
    }

    pub(super) fn change_password(&self, password: &str) {
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = basic(&self.user, password);
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

fn serve(listener: std::net::TcpListener, signer: &Signer, login: &Mutex<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("a listener");
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let wanted = login.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A client that goes away gets no answer.
                let _ = answer(stream, signer, &wanted).await;
            }
        }
    });
}

async fn answer(mut stream: TcpStream, signer: &Signer, login: &str) -> anyhow::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await? > 0 {}
    let request = String::from_utf8_lossy(&request).into_owned();
    let (status, body) = if knows(&request, login) {
        ("200 OK", json!({"token": signer.token(&scopes(&request))?}))
    } else {
        ("401 Unauthorized", json!({"errors": [{"code": "UNAUTHORIZED"}]}))
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    Ok(())
}

fn knows(request: &str, login: &str) -> bool {
    let header = request.lines().filter_map(|line| line.split_once(": "));
    let mut given = header.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    given.any(|(_, value)| value == login)
}

/// `repository:acme/app:pull,push` of every `scope` in the first line, as name and actions.
fn scopes(request: &str) -> Vec<(String, Vec<String>)> {
    let line = request
        .lines()
        .next()
        .unwrap_or_default()
        .replace("%3A", ":")
        .replace("%2F", "/")
        .replace("%2C", ",");
    let query = line.split([' ', '?', '&']).filter_map(|part| part.strip_prefix("scope=repository:"));
    query
        .filter_map(|scope| scope.rsplit_once(':'))
        .map(|(name, actions)| (name.to_owned(), actions.split(',').map(str::to_owned).collect()))
        .collect()
}

impl Signer {
    fn token(&self, scopes: &[(String, Vec<String>)]) -> anyhow::Result<String> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let access: Vec<Value> = scopes
            .iter()
            .map(|(name, actions)| json!({"type": "repository", "name": name, "actions": actions}))
            .collect();
        let claims = json!({
            "iss": ISSUER, "sub": "e2e", "aud": SERVICE, "iat": now, "nbf": now - 60, "exp": now + 300,
            "jti": now.to_string(), "access": access,
        });
        let mut header = Header::new(Algorithm::ES256);
        header.x5c = Some(vec![self.certificate.clone()]);
        Ok(jsonwebtoken::encode(&header, &claims, &self.key)?)
    }
}
