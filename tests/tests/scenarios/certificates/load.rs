//! Calls, streams and rotations that go on all the time, by clients that read their certificate again when it changes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use e2e::{Pullpass, Scenario, pullpass::Service};
use pullpass_api::{
    credential::v1::{
        AddCredentialVersionRequest, ListCredentialsRequest, Material, RegistryLogin,
        WatchCredentialsRequest, credential_store_client::CredentialStoreClient, material::Source,
        watch_credentials_response::Event,
    },
    grant::v1::{ListClustersRequest, grant_manager_client::GrantManagerClient},
};
use pullpass_runtime::{Connection, Shutdown, Tls, connect};
use tokio::task::JoinSet;
use tonic::Status;

use crate::trust::reason;

/// Between the calls of one caller.
const PAUSE: Duration = Duration::from_millis(5);
/// Between rotations: the applier fetches all the time.
const ROTATION: Duration = Duration::from_millis(25);

/// The load, until it is stopped.
pub(super) struct Load {
    shutdown: Shutdown,
    tasks: JoinSet<()>,
    books: Arc<Books>,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) calls: AtomicU64,
    pub(super) rotations: AtomicU64,
    pub(super) changes_seen: AtomicU64,
    pub(super) streams_opened_again: AtomicU64,
    pub(super) failures: Mutex<Vec<String>>,
}

impl Books {
    fn note<T>(&self, what: &str, counter: &AtomicU64, answer: Result<T, Status>) {
        match answer {
            Ok(_) => drop(counter.fetch_add(1, Ordering::Relaxed)),
            Err(status) => self.failed(format!("{what}: {status:?}")),
        }
    }

    fn failed(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }
}

impl Load {
    /// Starts it: two callers of each service, one who rotates `credentials`, one who watches.
    pub(super) fn start(s: &Scenario, credentials: &[String]) -> Self {
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let tls = Arc::new(Tls::load(&s.pullpass.admin()).unwrap());
        tls.watch(&shutdown);
        let (mut tasks, books) = (JoinSet::new(), Arc::<Books>::default());
        let store = || CredentialStoreClient::new(way(&s.pullpass, &tls, Service::CredentialStore));
        let grants = || GrantManagerClient::new(way(&s.pullpass, &tls, Service::GrantManager));
        for _ in 0..2 {
            tasks.spawn(list_credentials(store(), Arc::clone(&books)));
            tasks.spawn(list_clusters(grants(), Arc::clone(&books)));
        }
        tasks.spawn(watch(store(), Arc::clone(&books)));
        tasks.spawn(rotate(store(), credentials.to_vec(), Arc::clone(&books)));
        Self { shutdown, tasks, books }
    }

    /// What has happened so far.
    pub(super) fn books(&self) -> &Books {
        &self.books
    }

    /// Stops it, and gives what has happened.
    pub(super) async fn stop(mut self) -> Arc<Books> {
        self.tasks.shutdown().await;
        self.shutdown.finish().await.unwrap();
        self.books
    }
}

fn way(pullpass: &Pullpass, tls: &Arc<Tls>, service: Service) -> Connection {
    connect(tls, &pullpass.state().peer(service).unwrap())
}

async fn list_credentials(mut client: CredentialStoreClient<Connection>, books: Arc<Books>) {
    loop {
        let answer = client.list_credentials(ListCredentialsRequest::default()).await;
        books.note("list credentials", &books.calls, answer);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn list_clusters(mut client: GrantManagerClient<Connection>, books: Arc<Books>) {
    loop {
        let answer = client.list_clusters(ListClustersRequest::default()).await;
        books.note("list clusters", &books.calls, answer);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn rotate(mut client: CredentialStoreClient<Connection>, credentials: Vec<String>, books: Arc<Books>) {
    for number in 0.. {
        let login = RegistryLogin {
            server: "quay.io".to_owned(),
            username: "robot".to_owned(),
            password: format!("fake-password-{number}"),
            ..Default::default()
        };
        let request = AddCredentialVersionRequest {
            name: format!("credentials/{}", credentials[number % credentials.len()]),
            material: Some(Material { source: Some(Source::Login(login)) }),
            ..Default::default()
        };
        books.note("rotate", &books.rotations, client.add_credential_version(request).await);
        tokio::time::sleep(ROTATION).await;
    }
}

/// Follows the changes, each of which has to come once and in order, over the ends of connections.
async fn watch(mut client: CredentialStoreClient<Connection>, books: Arc<Books>) {
    let mut seen = 0;
    loop {
        let ended = follow(&mut client, &mut seen, &books).await;
        match ended.as_ref().map_err(reason) {
            Err(reason) if reason == "CONNECTION_ENDS" => {
                books.streams_opened_again.fetch_add(1, Ordering::Relaxed);
            }
            _ => books.failed(format!("watch: {ended:?}")),
        }
    }
}

async fn follow(
    client: &mut CredentialStoreClient<Connection>,
    seen: &mut i64,
    books: &Books,
) -> Result<(), Status> {
    let request = WatchCredentialsRequest { after_revision: *seen, ..Default::default() };
    let mut in_snapshot = *seen == 0;
    let mut stream = client.watch_credentials(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        if in_snapshot {
            in_snapshot = !matches!(message.event, Some(Event::SnapshotEnd(_)));
        } else {
            books.changes_seen.fetch_add(1, Ordering::Relaxed);
            if message.revision != *seen + 1 {
                books.failed(format!("watch: revision {} after {seen}", message.revision));
            }
        }
        if message.revision > 0 {
            *seen = message.revision;
        }
    }
    Ok(())
}
