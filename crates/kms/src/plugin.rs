//! The plugin as we call it.

use std::{collections::BTreeMap, error::Error as _, fmt, path::Path, sync::OnceLock, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use zeroize::Zeroizing;

use crate::{
    checks,
    v2::{self, key_management_service_client::KeyManagementServiceClient},
};

/// Why a plugin is of no use now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not answer in time.
    #[error("{method} was not answered within {} s", timeout.as_secs_f32())]
    Timeout {
        /// Which call.
        method: &'static str,
        /// How long it had.
        timeout: Duration,
    },
    /// It cannot be reached, or it refused.
    #[error("{method} failed: {cause}")]
    Call {
        /// Which call.
        method: &'static str,
        /// The whole chain of causes.
        cause: String,
    },
    /// It speaks another protocol.
    #[error("the plugin speaks version {0:?}, and v2 is needed")]
    Version(String),
    /// It is not the plugin that it was.
    #[error("the plugin spoke version {before}, and now speaks {now}")]
    VersionChanged {
        /// What it said first.
        before: String,
        /// What it says now.
        now: String,
    },
    /// It says itself that it is not well.
    #[error("the plugin is not well: healthz is {0:?}")]
    Unhealthy(String),
    /// Kubernetes' limits are not kept.
    #[error("the plugin's answer cannot be used: {0}")]
    Answer(String),
}

/// Something that the plugin encrypted, and all that it needs to decrypt it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// What it gave.
    pub ciphertext: Vec<u8>,
    /// The key that it used.
    pub key_id: String,
    /// What it wants to be told again.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// A KMS v2 plugin. It is reached anew by the next call when its socket was away.
#[derive(Debug)]
pub struct Plugin {
    client: KeyManagementServiceClient<Channel>,
    timeout: Duration,
    version: OnceLock<String>,
}

impl Plugin {
    /// The plugin behind `socket`, which need not be there yet. Each call has `timeout`. Needs a running tokio runtime.
    pub fn new(socket: &Path, timeout: Duration) -> Self {
        let socket = socket.to_owned();
        let connector = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The authority that the API server sends, too.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self { client: KeyManagementServiceClient::new(channel), timeout, version: OnceLock::new() }
    }

    /// The id of the key that it encrypts with now, if it is well.
    pub async fn status(&self) -> Result<String, Error> {
        let mut client = self.client.clone();
        let answer = self.call("Status", client.status(v2::StatusRequest {})).await?;
        checks::status(&answer)?;
        let before = self.version.get_or_init(|| answer.version.clone());
        if *before != answer.version {
            return Err(Error::VersionChanged { before: before.clone(), now: answer.version });
        }
        Ok(answer.key_id)
    }

    /// Has it encrypt something; `uid` names the request in both sides' logs.
    pub async fn encrypt(&self, uid: &str, plaintext: &[u8]) -> Result<Encrypted, Error> {
        let request = v2::EncryptRequest { plaintext: plaintext.to_vec(), uid: uid.to_owned() };
        let mut client = self.client.clone();
        let answer = self.call("Encrypt", client.encrypt(request)).await?;
        checks::encrypted(&answer)?;
        Ok(Encrypted {
            ciphertext: answer.ciphertext,
            key_id: answer.key_id,
            annotations: answer.annotations.into_iter().collect(),
        })
    }

    /// Has it decrypt what it encrypted once.
    pub async fn decrypt(&self, uid: &str, encrypted: &Encrypted) -> Result<Zeroizing<Vec<u8>>, Error> {
        let request = v2::DecryptRequest {
            ciphertext: encrypted.ciphertext.clone(),
            uid: uid.to_owned(),
            key_id: encrypted.key_id.clone(),
            annotations: encrypted.annotations.clone().into_iter().collect(),
        };
        let mut client = self.client.clone();
        let answer = self.call("Decrypt", client.decrypt(request)).await?;
        Ok(Zeroizing::new(answer.plaintext))
    }

    async fn call<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Error::Call { method, cause: cause(&status) }),
            Err(_) => Err(Error::Timeout { method, timeout: self.timeout }),
        }
    }
}

/// tonic says "transport error" and keeps the reason in the chain.
fn cause(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = status.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    checks::quote(&text)
}

impl fmt::Debug for v2::EncryptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptRequest").field("uid", &self.uid).finish_non_exhaustive()
    }
}

impl fmt::Debug for v2::DecryptResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptResponse").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
