//! A plugin for tests: a real KMS v2 server on a Unix socket, with keys of its own, that does as it is told.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "it is called by tests: what does not work there must stop them, and say why"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest,
};
use tokio::{net::UnixListener, runtime::Runtime};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::v2::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
    key_management_service_server::{KeyManagementService, KeyManagementServiceServer},
};

const ANNOTATION: &str = "nonce.kms.example.org";

/// How the plugin behaves from now on.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The key that it encrypts with; one that was never heard of is made.
    pub key_id: String,
    /// Keys that it has no more.
    pub destroyed: Vec<String>,
    /// What Status says of the protocol.
    pub version: String,
    /// What Status says of its health.
    pub healthz: String,
    /// How long every answer takes.
    pub delay: Duration,
    /// Refuses Encrypt and Decrypt with these words.
    pub refusal: Option<String>,
    /// What Encrypt says of the key that it used, if not the truth.
    pub pretended_key_id: Option<String>,
    /// Gives back something else than it was given.
    pub garbles: bool,
}

/// How often it was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Status.
    pub status: usize,
    /// Encrypt.
    pub encrypt: usize,
    /// Decrypt.
    pub decrypt: usize,
}

/// A running plugin. It ends when dropped.
#[derive(Debug)]
pub struct TestPlugin {
    socket: PathBuf,
    state: Arc<State>,
    /// A runtime of its own: when it ends, all connections are cut, as if the process had died.
    runtime: Mutex<Option<Runtime>>,
}

#[derive(Debug)]
struct State {
    behaviour: Mutex<Behaviour>,
    calls: Mutex<Calls>,
}

impl TestPlugin {
    /// Serves on `socket` with the key `key_id`.
    pub fn start(socket: &Path, key_id: &str) -> Self {
        let behaviour = Behaviour {
            key_id: key_id.to_owned(),
            destroyed: Vec::new(),
            version: "v2".to_owned(),
            healthz: "ok".to_owned(),
            delay: Duration::ZERO,
            refusal: None,
            pretended_key_id: None,
            garbles: false,
        };
        let state = Arc::new(State { behaviour: Mutex::new(behaviour), calls: Mutex::default() });
        let plugin = Self { socket: socket.to_owned(), state, runtime: Mutex::new(None) };
        plugin.resume();
        plugin
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Changes how it behaves.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.state.behaviour));
    }

    /// How often it was called so far.
    pub fn calls(&self) -> Calls {
        *lock(&self.state.calls)
    }

    /// Goes away, as if it had been killed.
    pub fn stop(&self) {
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
        let _ = fs::remove_file(&self.socket);
    }

    /// Comes back with the keys that it had.
    pub fn resume(&self) {
        self.stop();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&self.socket).expect("the socket can be bound")
        };
        let service = KeyManagementServiceServer::new(Service(Arc::clone(&self.state)));
        let serving =
            Server::builder().add_service(service).serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(async move { serving.await.expect("the plugin serves") });
        *lock(&self.runtime) = Some(runtime);
    }
}

impl Drop for TestPlugin {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Service(Arc<State>);

impl Service {
    async fn behaviour(&self, count: impl FnOnce(&mut Calls)) -> Behaviour {
        count(&mut lock(&self.0.calls));
        let behaviour = lock(&self.0.behaviour).clone();
        tokio::time::sleep(behaviour.delay).await;
        behaviour
    }
}

#[tonic::async_trait]
impl KeyManagementService for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let Behaviour { version, healthz, key_id, .. } = self.behaviour(|calls| calls.status += 1).await;
        Ok(Response::new(StatusResponse { version, healthz, key_id }))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let behaviour = self.behaviour(|calls| calls.encrypt += 1).await;
        if let Some(words) = behaviour.refusal {
            return Err(Status::internal(words));
        }
        let mut buffer = request.into_inner().plaintext;
        let nonce = key(&behaviour.key_id).seal_in_place_append_tag(Aad::empty(), &mut buffer);
        let nonce = nonce.map_err(|_| Status::internal("failed to encrypt"))?;
        let key_id = behaviour.pretended_key_id.unwrap_or(behaviour.key_id);
        let annotations = BTreeMap::from([(ANNOTATION.to_owned(), nonce.as_ref().to_vec())]);
        let annotations = annotations.into_iter().collect();
        Ok(Response::new(EncryptResponse { ciphertext: buffer, key_id, annotations }))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let behaviour = self.behaviour(|calls| calls.decrypt += 1).await;
        if let Some(words) = behaviour.refusal {
            return Err(Status::internal(words));
        }
        let DecryptRequest { mut ciphertext, key_id, annotations, .. } = request.into_inner();
        if behaviour.destroyed.contains(&key_id) {
            return Err(Status::not_found(format!("there is no key {key_id}")));
        }
        let nonce = annotations.get(ANNOTATION).filter(|nonce| nonce.len() == NONCE_LEN);
        let nonce = nonce.and_then(|nonce| Nonce::try_assume_unique_for_key(nonce).ok());
        let nonce = nonce.ok_or_else(|| Status::invalid_argument("the annotation is missing"))?;
        let plain = key(&key_id).open_in_place(nonce, Aad::empty(), &mut ciphertext);
        let mut plaintext = plain.map_err(|_| Status::invalid_argument("not mine"))?.to_vec();
        if behaviour.garbles {
            plaintext.reverse();
        }
        Ok(Response::new(DecryptResponse { plaintext }))
    }
}

/// Fixed for each id, so that a plugin in another process has the same.
fn key(id: &str) -> RandomizedNonceKey {
    let key = digest::digest(&digest::SHA256, format!("fake key {id}").as_bytes());
    RandomizedNonceKey::new(&AES_256_GCM_SIV, key.as_ref()).expect("a key")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
