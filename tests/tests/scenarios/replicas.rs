//! Two replicas of each service on one `PostgreSQL`: any answers, watches on either see every change once and in order, and
//! when one is killed among writers the other goes on.

mod follow;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use e2e::{
    eventually,
    pullpass::Service::{self, CredentialStore, GrantManager},
    replicas::{Replicas, SERVICES},
    wait::seen,
};
use pullpass_api::{
    audit::v1::AuditEvent,
    credential::v1::{
        CreateCredentialRequest, ListAuditEventsRequest, ListCredentialsRequest, Material, RegistryLogin,
        credential_store_client::CredentialStoreClient, material::Source,
    },
    grant::v1::{
        self as grants, Cluster, CreateClusterRequest, CreateSecretLinkRequest, ListSecretLinksRequest,
        NamespaceSelection, SecretLink, ServiceAccountSelection, Usage,
        grant_manager_client::GrantManagerClient,
    },
};
use pullpass_runtime::Clock;
use tokio::task::JoinSet;
use tonic::Status;

const WRITERS: usize = 4;
/// So many acknowledged writes of each service at least before the next replica is killed, or all is looked at.
const STRETCH: usize = 40;
const PAGE: i32 = 1000;

/// What was acknowledged, by revision: the resource's name.
type Books = BTreeMap<i64, String>;

#[tokio::test]
async fn when_one_of_two_replicas_is_killed_the_other_goes_on_and_nothing_acknowledged_is_lost() {
    let replicas = Arc::new(Replicas::start("replicas").await.expect("the replicas start"));
    register(&replicas).await;
    let stop = Arc::new(AtomicBool::new(false));
    let books = SERVICES.map(|service| (service, Arc::new(Mutex::new(Books::new()))));
    let (mut writers, mut followers) = (JoinSet::new(), JoinSet::new());
    for (service, books) in &books {
        for n in 0..WRITERS {
            let writer = Writer { replicas: replicas.clone(), service: *service, n, books: books.clone() };
            writers.spawn(writer.write(stop.clone()));
        }
        for n in 0..2 {
            followers.spawn(follow::all(replicas.clone(), (*service, n), stop.clone(), books.clone()));
        }
    }
    for killed in [0, 1] {
        progress(&books).await;
        for service in SERVICES {
            replicas.kill9((service, killed));
        }
        progress(&books).await;
        for service in SERVICES {
            replicas.launch((service, killed)).expect("it starts again");
            replicas.wait_until_healthy((service, killed)).await;
        }
    }
    progress(&books).await;
    stop.store(true, Relaxed);
    let retried = AtomicUsize::new(0);
    while let Some(writer) = writers.join_next().await {
        retried.fetch_add(writer.unwrap(), Relaxed);
    }
    assert!(retried.load(Relaxed) > 0, "no writer noticed that a replica was killed");
    while let Some(follower) = followers.join_next().await {
        follower.unwrap();
    }
    for (service, books) in books {
        let books = books.lock().unwrap().clone();
        println!("{service:?}: {} acknowledged", books.len());
        check(&replicas, service, &books).await;
    }
    println!("{} attempts were repeated", retried.load(Relaxed));
}

/// Waits until each service has acknowledged so much more.
async fn progress(books: &[(Service, Arc<Mutex<Books>>); 2]) {
    let before = books.each_ref().map(|(_, books)| books.lock().unwrap().len());
    eventually("the writers get on", async || {
        let now = books.each_ref().map(|(_, books)| books.lock().unwrap().len());
        seen(now.iter().zip(&before).all(|(now, before)| now - before >= STRETCH), (before, now))
    })
    .await;
}

async fn register(replicas: &Replicas) {
    let cluster = Cluster { applier_identity: replicas.applier_identity(), ..Cluster::default() };
    let request = CreateClusterRequest {
        cluster_id: "dev".to_owned(),
        cluster: Some(cluster),
        ..CreateClusterRequest::default()
    };
    grant_manager(replicas, 0).create_cluster(request).await.expect("the cluster is registered");
}

fn credential_store(replicas: &Replicas, n: usize) -> CredentialStoreClient<pullpass_runtime::Connection> {
    CredentialStoreClient::new(replicas.connection(&replicas.admin(), (CredentialStore, n)))
}

fn grant_manager(replicas: &Replicas, n: usize) -> GrantManagerClient<pullpass_runtime::Connection> {
    GrantManagerClient::new(replicas.connection(&replicas.admin(), (GrantManager, n)))
}

/// Creates one resource after the other, by turns on either replica; an attempt that fails is repeated on the other one.
struct Writer {
    replicas: Arc<Replicas>,
    service: Service,
    n: usize,
    books: Arc<Mutex<Books>>,
}

impl Writer {
    /// Gives how many attempts had to be repeated.
    async fn write(self, stop: Arc<AtomicBool>) -> usize {
        let mut repeated = 0;
        for number in 0.. {
            if stop.load(Relaxed) {
                break;
            }
            let (id, request_id) = (format!("w{}-{number}", self.n), Clock::system().new_id().to_string());
            let mut at = (self.n + number) % 2;
            let (revision, name) = loop {
                if let Ok(created) = self.create(at, &id, &request_id).await {
                    break created;
                }
                (repeated, at) = (repeated + 1, 1 - at);
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            let before = self.books.lock().unwrap().insert(revision, name);
            assert_eq!(before, None, "revision {revision} was given twice");
        }
        repeated
    }

    async fn create(&self, at: usize, id: &str, request_id: &str) -> Result<(i64, String), Status> {
        if self.service == CredentialStore {
            let request = credential(id, request_id);
            let created = credential_store(&self.replicas, at).create_credential(request).await?;
            let created = created.into_inner().credential.unwrap();
            return Ok((created.revision, created.name));
        }
        let request = link(id, request_id);
        let created = grant_manager(&self.replicas, at).create_secret_link(request).await?;
        let created = created.into_inner().secret_link.unwrap();
        Ok((created.revision, created.name))
    }
}

fn credential(id: &str, request_id: &str) -> CreateCredentialRequest {
    let login = RegistryLogin {
        server: "quay.io".to_owned(),
        username: "robot".to_owned(),
        password: "fake-password".to_owned(),
        email: String::new(),
    };
    CreateCredentialRequest {
        credential_id: id.to_owned(),
        material: Some(Material { source: Some(Source::Login(login)) }),
        request_id: request_id.to_owned(),
        ..CreateCredentialRequest::default()
    }
}

fn link(id: &str, request_id: &str) -> CreateSecretLinkRequest {
    let link = SecretLink {
        credentials: vec!["credentials/quay".to_owned()],
        clusters: vec!["clusters/dev".to_owned()],
        namespaces: Some(NamespaceSelection { all: true, ..NamespaceSelection::default() }),
        service_accounts: Some(ServiceAccountSelection {
            names: vec!["default".to_owned()],
            ..ServiceAccountSelection::default()
        }),
        usages: vec![Usage::Pull.into()],
        ..SecretLink::default()
    };
    CreateSecretLinkRequest {
        secret_link_id: id.to_owned(),
        secret_link: Some(link),
        request_id: request_id.to_owned(),
        ..CreateSecretLinkRequest::default()
    }
}

/// Both replicas hold what was acknowledged and nothing else, each with one event.
async fn check(replicas: &Replicas, service: Service, books: &Books) {
    let mut all = books.clone();
    if service == GrantManager {
        all.insert(1, "clusters/dev".to_owned());
    }
    let revisions: Vec<i64> = all.keys().copied().collect();
    assert_eq!(
        revisions,
        (1..=i64::try_from(all.len()).unwrap()).collect::<Vec<_>>(),
        "{service:?} has gaps"
    );
    for n in 0..2 {
        assert_eq!(list(replicas, service, n).await, *books, "{service:?} {n}");
        let events = audit(replicas, service, n).await;
        let told: Vec<_> = events.iter().map(|e| (e.sequence, e.revision, e.resource.clone())).collect();
        let expected: Vec<_> =
            all.iter().map(|(revision, name)| (*revision, *revision, name.clone())).collect();
        assert_eq!(told, expected, "the audit trail of {service:?} at {n}");
    }
}

async fn list(replicas: &Replicas, service: Service, n: usize) -> Books {
    let (mut books, mut token) = (Books::new(), String::new());
    loop {
        token = if service == CredentialStore {
            let request = ListCredentialsRequest { page_size: PAGE, page_token: token };
            let page = credential_store(replicas, n).list_credentials(request).await.unwrap().into_inner();
            books.extend(page.credentials.into_iter().map(|found| (found.revision, found.name)));
            page.next_page_token
        } else {
            let request = ListSecretLinksRequest { page_size: PAGE, page_token: token };
            let page = grant_manager(replicas, n).list_secret_links(request).await.unwrap().into_inner();
            books.extend(page.secret_links.into_iter().map(|found| (found.revision, found.name)));
            page.next_page_token
        };
        if token.is_empty() {
            return books;
        }
    }
}

async fn audit(replicas: &Replicas, service: Service, n: usize) -> Vec<AuditEvent> {
    let (mut events, mut token) = (Vec::new(), String::new());
    loop {
        let (page, next) = if service == CredentialStore {
            let request = ListAuditEventsRequest { page_size: PAGE, page_token: token, ..Default::default() };
            let page = credential_store(replicas, n).list_audit_events(request).await.unwrap().into_inner();
            (page.events, page.next_page_token)
        } else {
            let request =
                grants::ListAuditEventsRequest { page_size: PAGE, page_token: token, ..Default::default() };
            let page = grant_manager(replicas, n).list_audit_events(request).await.unwrap().into_inner();
            (page.events, page.next_page_token)
        };
        events.extend(page);
        token = next;
        if token.is_empty() {
            return events;
        }
    }
}
