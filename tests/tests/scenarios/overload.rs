//! One principal asks far more often than it may: what is lost to refusing it is little, and the others get their work done.
//!
//! Here the work is audited fetches, one caller after the other in four places at once, which keeps the service busy; the one
//! who floods makes one call for every fifth of them, by ten connections, which is far over its rate, so that nearly all are
//! refused. By turns, the fetches alone and beside the flood; each pair gives a ratio, and the median of the pairs counts.
//!
//! Asserted is *goodput for what the service spends*: fetches for a second of the service's processor time, beside the flood
//! and alone, at least 80 %. That is about the service, and neither about the processors that the callers here take from it
//! nor about what else the machine does, for the flood goes by the number of fetches and not by the clock. Fetches a second
//! are asserted loosely, since the service and all its callers share two processors.
//!
//! Not asserted is that any flood is borne: a refused call costs a good part of a fetch in this build (a call is read and its
//! caller is known before it can be refused), so one who sends as many calls as the service could serve takes what they
//! cost. `server.limits` bounds how many connections and calls one may have open, not how fast they are repeated.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use e2e::{
    LoneStore,
    lone_store::Caller,
    measure::{Sample, Usage},
    pullpass::Service,
};
use pullpass_api::credential::v1::{ListCredentialsRequest, credential_store_client::CredentialStoreClient};
use pullpass_runtime::{Connection, status::retry_after};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::Code;

use crate::trust::reason;

type Client = CredentialStoreClient<Connection>;

/// What the one who floods may ask for in a second, and at once.
const ALLOWED: u32 = 1;
const FLOODERS: usize = 10;
const CALLERS: usize = 4;
/// So many fetches for each call of the flood.
const FOR_EACH: usize = 5;
const PAIRS: usize = 20;
const ROUND: Duration = Duration::from_millis(500);
/// What the service may grow by, in MB.
const GROWN: f64 = 20.0;

#[tokio::test(flavor = "multi_thread")]
async fn refusing_one_who_asks_far_too_often_leaves_four_fifths_of_the_service_to_the_others() {
    let scene = Scene::start().await;
    scene.round(false).await;
    let before = scene.usage();
    let (mut spent, mut clock) = (Sample::new(), Sample::new());
    let (mut fetched, mut floods) = (Sample::new(), Flood::default());
    for _ in 0..PAIRS {
        let (alone, beside) = (scene.round(false).await, scene.round(true).await);
        spent.add(beside.for_a_processor_second() / alone.for_a_processor_second());
        clock.add(beside.for_a_second() / alone.for_a_second());
        println!(
            "{:.0} fetches/s alone, {:.0} beside {}",
            alone.for_a_second(),
            beside.for_a_second(),
            beside.flood
        );
        fetched.extend(beside.took);
        floods = floods.and(beside.flood);
    }
    let grown = scene.usage().peak_megabytes - before.peak_megabytes;
    println!(
        "beside the flood ÷ alone: {spent} for what the service spends, {clock} by the clock; +{grown:.1} MB"
    );
    println!("fetches: {}; refusals: {}", fetched.milliseconds(), floods.took.milliseconds());
    assert!(floods.refused > 4 * floods.admitted, "it was {floods}");
    assert!(spent.median() >= 0.8, "for what the service spends: {spent}");
    assert!(clock.median() >= 0.5, "by the clock: {clock}");
    assert!(floods.took.median() < fetched.median(), "who is refused must not wait for those who are served");
    assert!(grown < GROWN, "the service grew by {grown} MB");
}

/// credential-store, in which whoever is below `/flood/` may ask for next to nothing.
struct Scene {
    store: LoneStore,
    caller: Caller,
    flooders: Vec<Client>,
}

impl Scene {
    async fn start() -> Self {
        let role = format!(
            "name = 'flood'\nprincipals = ['spiffe://pullpass.local/flood/*']\n\
             methods = ['pullpass.credential.v1.CredentialStore/*']\n\
             requests_per_second = {ALLOWED}\nburst = {ALLOWED}"
        );
        let store = LoneStore::start("overload", |_, config| {
            let role: toml::Table = role.parse().expect("a role");
            config["server"]["roles"].as_array_mut().expect("roles").push(role.into());
        });
        let store = store.await.expect("credential-store starts");
        let caller = store.caller();
        caller.create("quay", "fake-password").await.expect("it is created");
        let flooder = store.pullpass.state().issue("/flood/one").expect("a certificate");
        let flooders = (0..FLOODERS).map(|_| store.pullpass.credential_store(&flooder)).collect();
        Self { store, caller, flooders }
    }

    fn usage(&self) -> Usage {
        Usage::of(self.store.pullpass.process_id(Service::CredentialStore)).expect("it runs")
    }

    /// Fetches for a while, beside a flood or alone.
    async fn round(&self, beside: bool) -> Round {
        let (before, began) = (self.usage(), Instant::now());
        let signals = Arc::new(Semaphore::new(0));
        let done = Arc::new(AtomicUsize::new(0));
        let (mut fetching, mut flooding) = (JoinSet::new(), JoinSet::new());
        for _ in 0..CALLERS {
            fetching.spawn(fetch(self.caller.clone(), began + ROUND, done.clone(), signals.clone()));
        }
        for client in self.flooders.iter().filter(|_| beside) {
            flooding.spawn(flood(client.clone(), signals.clone()));
        }
        let mut took = Sample::new();
        fetching.join_all().await.into_iter().for_each(|times| took.extend(times));
        let elapsed = began.elapsed();
        let cpu_seconds = self.usage().cpu_seconds - before.cpu_seconds;
        signals.close();
        let flood = flooding.join_all().await.into_iter().fold(Flood::default(), Flood::and);
        Round { fetches: done.load(Relaxed), took, elapsed, cpu_seconds, flood }
    }
}

/// What was done in a round.
struct Round {
    fetches: usize,
    took: Sample,
    elapsed: Duration,
    cpu_seconds: f64,
    flood: Flood,
}

#[expect(clippy::cast_precision_loss, reason = "a count of calls")]
impl Round {
    fn for_a_second(&self) -> f64 {
        self.fetches as f64 / self.elapsed.as_secs_f64()
    }

    fn for_a_processor_second(&self) -> f64 {
        self.fetches as f64 / self.cpu_seconds
    }
}

/// What became of the calls of somebody who does not listen.
#[derive(Default)]
struct Flood {
    admitted: usize,
    refused: usize,
    took: Sample,
}

impl Flood {
    fn and(mut self, other: Self) -> Self {
        self.took.extend(other.took);
        Self {
            admitted: self.admitted + other.admitted,
            refused: self.refused + other.refused,
            took: self.took,
        }
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a flood of {} refused calls ({} admitted)", self.refused, self.admitted)
    }
}

/// One fetch after the other, none of which may be refused; every fifth of all gives the signal for a call of the flood.
async fn fetch(caller: Caller, ends: Instant, done: Arc<AtomicUsize>, signals: Arc<Semaphore>) -> Sample {
    let mut took = Sample::new();
    while Instant::now() < ends {
        let began = Instant::now();
        caller.fetch("quay").await.expect("nobody else is refused");
        took.add_time(began.elapsed());
        if done.fetch_add(1, Relaxed).is_multiple_of(FOR_EACH) {
            signals.add_permits(1);
        }
    }
    took
}

async fn flood(client: Client, signals: Arc<Semaphore>) -> Flood {
    let mut flood = Flood::default();
    while let Ok(signal) = signals.acquire().await {
        signal.forget();
        let began = Instant::now();
        match client.clone().list_credentials(ListCredentialsRequest::default()).await {
            Ok(_) => flood.admitted += 1,
            Err(status) => {
                let told = (status.code(), reason(&status));
                assert_eq!(told, (Code::ResourceExhausted, "RATE_LIMITED".to_owned()), "{status:?}");
                assert!(retry_after(&status).is_some_and(|after| !after.is_zero()), "{status:?}");
                flood.refused += 1;
                flood.took.add_time(began.elapsed());
            }
        }
    }
    flood
}
