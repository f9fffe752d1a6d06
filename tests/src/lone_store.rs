//! credential-store alone, without a cluster: whoever has the keys of its state folder makes tickets for it.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, prelude::*};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pullpass::dev::{Options, Service};
use pullpass_api::{
    credential::v1::{
        AddCredentialVersionRequest, CreateCredentialRequest, FetchPullSecretRequest, Material,
        RegistryLogin, credential_store_client::CredentialStoreClient, material::Source,
    },
    ticket::{AUDIENCE, Claims, Confirmation, ISSUER},
};
use pullpass_runtime::{Connection, Tls};
use time::OffsetDateTime;
use tonic::Status;

use crate::{Pullpass, WorkFolder};

/// credential-store in a folder of its own, as the command and an applier reach it.
#[derive(Debug)]
pub struct LoneStore {
    /// Its state folder, its process, and the command.
    pub pullpass: Pullpass,
    folder: WorkFolder,
}

/// Clients that share their connections.
#[derive(Debug, Clone)]
pub struct Caller {
    platform: CredentialStoreClient<Connection>,
    applier: CredentialStoreClient<Connection>,
    key: EncodingKey,
    claims: Claims,
}

impl LoneStore {
    /// Starts it with its configuration changed as one likes.
    pub async fn start(name: &str, change: impl FnOnce(&Path, &mut toml::Table)) -> anyhow::Result<Self> {
        let folder = WorkFolder::new(name)?;
        let pullpass = Pullpass::prepare(&Options::new(folder.path().join("pullpass")))?;
        let store = Self { pullpass, folder };
        store.reconfigure(change)?;
        store.pullpass.launch(Service::CredentialStore)?;
        store.pullpass.wait_until_healthy(Service::CredentialStore).await?;
        Ok(store)
    }

    /// Where the test may keep what it likes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes the configuration file, which counts from the next start on.
    pub fn reconfigure(&self, change: impl FnOnce(&Path, &mut toml::Table)) -> anyhow::Result<()> {
        let file = self.pullpass.state().config_file(Service::CredentialStore);
        let text = std::fs::read_to_string(&file).context("failed to read the configuration")?;
        let mut config = text.parse()?;
        change(self.folder.path(), &mut config);
        std::fs::write(&file, toml::to_string(&config)?).context("failed to write the configuration")
    }

    /// Stops it and starts it again.
    pub async fn restart(&self) {
        let stopped = self.pullpass.terminate(Service::CredentialStore, Duration::from_secs(15)).await;
        assert!(stopped.is_some_and(|status| status.success()), "{stopped:?}");
        self.pullpass.launch_and_wait(Service::CredentialStore).await;
    }

    /// Somebody with an administrator's and an applier's certificate, and with the key that signs tickets.
    pub fn caller(&self) -> Caller {
        let applier = self.pullpass.applier();
        let identity = Tls::load(&applier).expect("the applier's certificate").identity();
        let thumbprint = identity.certificate_sha256.expect("the identity of a certificate");
        let pem = std::fs::read(self.pullpass.state().dir().join("keys/ticket-signing.key"));
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: self.pullpass.state().identity(Service::ClusterApplier).expect("an identity").to_string(),
            iat: 0,
            exp: 0,
            jti: "a-ticket".into(),
            cnf: Confirmation { certificate_sha256: BASE64_URL_SAFE_NO_PAD.encode(thumbprint) },
            cluster: "clusters/dev".into(),
            link: "secretLinks/web".into(),
            revision: 1,
            credentials: Vec::new(),
            secret_type: "kubernetes.io/dockerconfigjson".into(),
        };
        Caller {
            platform: self.pullpass.credential_store(&self.pullpass.admin()),
            applier: self.pullpass.credential_store(&applier),
            key: EncodingKey::from_ed_pem(&pem.expect("the signing key")).expect("an Ed25519 key"),
            claims,
        }
    }
}

impl Caller {
    /// credential-store as the administrator sees it.
    pub fn platform(&self) -> CredentialStoreClient<Connection> {
        self.platform.clone()
    }

    /// A new credential for `quay.io`.
    pub async fn create(&self, id: &str, password: &str) -> Result<(), Status> {
        let material = Some(material(password));
        let request =
            CreateCredentialRequest { credential_id: id.to_owned(), material, ..Default::default() };
        self.platform().create_credential(request).await.map(drop)
    }

    /// Its next version, whose number it gives.
    pub async fn rotate(&self, id: &str, password: &str) -> Result<i64, Status> {
        let (name, material) = (format!("credentials/{id}"), Some(material(password)));
        let request = AddCredentialVersionRequest { name, material, ..Default::default() };
        let answer = self.platform().add_credential_version(request).await?.into_inner();
        Ok(answer.credential.unwrap_or_default().version)
    }

    /// What an applier gets for a ticket: the password for `quay.io`.
    pub async fn fetch(&self, id: &str) -> Result<String, Status> {
        let iat = OffsetDateTime::now_utc().unix_timestamp();
        let claims = Claims {
            iat,
            exp: iat + 60,
            credentials: vec![format!("credentials/{id}")],
            ..self.claims.clone()
        };
        let ticket = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key).expect("a JWT");
        let request = FetchPullSecretRequest { ticket };
        let data = self.applier.clone().fetch_pull_secret(request).await?.into_inner().data;
        let config: serde_json::Value = serde_json::from_slice(&data).expect("a docker config");
        Ok(config["auths"]["quay.io"]["password"].as_str().expect("a password").to_owned())
    }
}

fn material(password: &str) -> Material {
    let login = RegistryLogin {
        server: "quay.io".to_owned(),
        username: "robot".to_owned(),
        password: password.to_owned(),
        ..Default::default()
    };
    Material { source: Some(Source::Login(login)) }
}
