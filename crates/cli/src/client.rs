//! The calling side: one lazy connection to each service, errors that say what was tried and where.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use pullpass_api::{
    applier::v1::cluster_applier_client::ClusterApplierClient,
    credential::v1::credential_store_client::CredentialStoreClient,
    grant::v1::grant_manager_client::GrantManagerClient, recovery::v1::recovery_client::RecoveryClient,
};
use pullpass_domain::name::ClusterName;
use pullpass_runtime::{Bearer, Connection, Tls, config::PeerConfig, connect, connect_with_token};
use tonic::{Response, Status};

use crate::{
    config::ClientConfig,
    failure::{CallError, Usage},
    output::Format,
    values::{self, Keeper},
};

/// No single answer takes longer than this.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a call is made again that is refused for our rate.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer; a page of 1,000 links with many names is large.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// credential-store.
pub(crate) type Store = Peer<CredentialStoreClient<Connection>>;
/// grant-manager.
pub(crate) type Grants = Peer<GrantManagerClient<Connection>>;
/// The applier of one cluster.
pub(crate) type Applier = Peer<ClusterApplierClient<Connection>>;

/// Everything a command needs: the configuration, who we are, and how to write data.
#[derive(Debug)]
pub(crate) struct Session {
    config: ClientConfig,
    proof: Proof,
    /// How data is written.
    pub(crate) format: Format,
}

/// How we say who we are.
#[derive(Debug)]
enum Proof {
    Certificate(Arc<Tls>),
    Token(Arc<Bearer>),
}

impl Proof {
    /// A token goes before a certificate: who names one means it, and the services take only one of both.
    fn of(config: &ClientConfig, token_file: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(file) = token_file.or(config.token_file.as_deref()) {
            let bearer = Bearer::load(&config.tls.authorities, file)
                .context("no token can be sent to the services")?;
            return Ok(Self::Token(Arc::new(bearer)));
        }
        let files = config.tls.certified().ok_or_else(|| {
            Usage("nothing says who we are: name tls.certificate and tls.key in client.toml, or a token by `--token-file`".into())
        })?;
        let tls = Tls::load(&files).context("the certificate files named in client.toml cannot be used")?;
        Ok(Self::Certificate(Arc::new(tls)))
    }
}

impl Session {
    pub(crate) fn new(
        config: ClientConfig,
        format: Format,
        token_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let proof = Proof::of(&config, token_file)?;
        Ok(Self { config, proof, format })
    }

    /// For other clients than the generated ones of the API.
    pub(crate) fn connection(&self, peer: &PeerConfig) -> Connection {
        let connection = match &self.proof {
            Proof::Certificate(tls) => connect(tls, peer),
            Proof::Token(bearer) => connect_with_token(bearer, peer),
        };
        connection.patient(PATIENCE)
    }

    pub(crate) fn store(&self) -> Store {
        let peer = &self.config.credential_store;
        let client = CredentialStoreClient::new(self.connection(peer)).max_decoding_message_size(MAX_ANSWER);
        Peer::new("credential-store".to_owned(), peer, client)
    }

    pub(crate) fn grants(&self) -> Grants {
        let peer = &self.config.grant_manager;
        let client = GrantManagerClient::new(self.connection(peer)).max_decoding_message_size(MAX_ANSWER);
        Peer::new("grant-manager".to_owned(), peer, client)
    }

    /// What a service with a database serves even while it is sealed.
    pub(crate) fn recovery(&self, keeper: Keeper) -> Peer<RecoveryClient<Connection>> {
        let peer = match keeper {
            Keeper::CredentialStore => &self.config.credential_store,
            Keeper::GrantManager => &self.config.grant_manager,
        };
        Peer::new(keeper.to_string(), peer, RecoveryClient::new(self.connection(peer)))
    }

    pub(crate) fn applier(&self, cluster: &ClusterName) -> anyhow::Result<Applier> {
        let id = cluster.id();
        let peer = self.config.appliers.get(id).ok_or_else(|| {
            Usage(format!("client.toml does not say where the applier of cluster {id} is: add [appliers.{id}] with endpoint and identity"))
        })?;
        let client = ClusterApplierClient::new(self.connection(peer)).max_decoding_message_size(MAX_ANSWER);
        Ok(Peer::new(format!("cluster-applier of {id}"), peer, client))
    }

    /// The clusters that were named, or else the configured ones.
    pub(crate) fn clusters(&self, named: Vec<ClusterName>) -> Result<Vec<ClusterName>, Usage> {
        if !named.is_empty() {
            return Ok(named);
        }
        let configured = self.config.clusters.iter().map(|cluster| values::cluster(cluster));
        let configured: Vec<_> = configured
            .collect::<Result<_, _>>()
            .map_err(|e| Usage(format!("`clusters` in client.toml: {e}")))?;
        if configured.is_empty() {
            return Err(Usage(
                "no cluster is given: use `--cluster K`, or name one in `clusters` in client.toml".into(),
            ));
        }
        Ok(configured)
    }
}

/// A service that we call.
#[derive(Debug, Clone)]
pub(crate) struct Peer<C> {
    service: String,
    config: PeerConfig,
    client: C,
}

impl<C: Clone> Peer<C> {
    fn new(service: String, config: &PeerConfig, client: C) -> Self {
        Self { service, config: config.clone(), client }
    }

    /// Makes one call. `attempted` is what it is for, as in `create credential quay`.
    pub(crate) async fn call<T, F>(&self, attempted: impl Into<String>, call: F) -> Result<T, CallError>
    where
        F: AsyncFnOnce(C) -> Result<Response<T>, Status>,
    {
        let answer = tokio::time::timeout(ANSWER, call(self.client.clone())).await;
        let silent = |_| Err(Status::deadline_exceeded(format!("no answer within {} s", ANSWER.as_secs())));
        match answer.unwrap_or_else(silent) {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.failed(attempted, status)),
        }
    }

    /// The error of a call that was answered by `status`.
    pub(crate) fn failed(&self, attempted: impl Into<String>, status: Status) -> CallError {
        CallError {
            attempted: attempted.into(),
            service: self.service.clone(),
            peer: self.config.clone(),
            status: Box::new(status),
        }
    }
}

/// All items of a list, page by page. `fetch` takes the token of a page and gives its items and the next token.
pub(crate) async fn all_pages<T, E, F>(mut fetch: F) -> Result<Vec<T>, E>
where
    F: AsyncFnMut(String) -> Result<(Vec<T>, String), E>,
{
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (items, next) = fetch(token).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

/// As large as the services give.
pub(crate) const PAGE_SIZE: i32 = 1000;
