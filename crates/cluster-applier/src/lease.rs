//! Of several appliers of one cluster one is active; the others stand by with full caches. Which one, a Lease of
//! `coordination.k8s.io/v1` says.
//!
//! ```text
//!  API server ──watch──► election ──► turn: until when we may write, by our steady clock ──► every write asks it
//!      ▲                  (pure)  └─► state: takes jobs, fetches, reports; or stands by
//!      └── create, replace ──┘
//! ```
//!
//! A Lease alone fences nobody: a process can be stopped between its look at the clock and its write. So the turn ends a
//! third of the duration before others may take over, it is asked when a write's body goes to the connection
//! ([`crate::cluster::client`]), and what leaves too late all the same is refused by the write's own precondition, or is
//! seen and undone by whoever is active then. A report says since when its applier is the active one: grant-manager refuses
//! it if one that became active later has reported.
//!
//! Whoever loses the Lease stands by and does not end: while the API server is away nobody can renew, and appliers that
//! all end then would come back with one list for each watch and one fetch for each link, just when it is back.

mod election;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use k8s_openapi::{
    api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp,
};
use kube::{Api, api::PostParams};
use pullpass_runtime::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::election::{Election, Step};
use crate::{cluster::client::Cluster, config::LeaseConfig, state::Shared};

/// Until when we may write to the cluster. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Turn(Arc<Mutex<Until>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// We are the only one.
    Always,
    Moment(Instant),
    Never,
}

impl Default for Turn {
    fn default() -> Self {
        Self::always()
    }
}

impl Turn {
    /// For an applier without a Lease.
    pub(crate) fn always() -> Self {
        Self(Arc::new(Mutex::new(Until::Always)))
    }

    /// For one that has a Lease to win first.
    pub(crate) fn not_yet() -> Self {
        Self(Arc::new(Mutex::new(Until::Never)))
    }

    pub(crate) fn is_held(&self, now: Instant) -> bool {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Until::Always => true,
            Until::Moment(until) => now < until,
            Until::Never => false,
        }
    }

    /// For tests of what asks it.
    #[cfg(test)]
    pub(crate) fn lasts_until(&self, until: Instant) {
        self.set(Some(until));
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until.map_or(Until::Never, Until::Moment);
    }
}

/// Takes part in the election on behalf of this process.
pub(crate) struct Candidate {
    api: Api<Lease>,
    /// What the watch tells of the Lease.
    news: watch::Receiver<Option<Lease>>,
    election: Election,
    shared: Arc<Shared>,
    turn: Turn,
    clock: Clock,
    failures: u32,
    /// What the state was told last: whether we are active, and who is if not.
    told: (bool, Option<String>),
}

impl Candidate {
    /// In the election of `config`, about which `news` tells.
    pub(crate) fn new(
        config: &LeaseConfig,
        cluster: &Cluster,
        news: watch::Receiver<Option<Lease>>,
        shared: Arc<Shared>,
        clock: Clock,
    ) -> Self {
        let us = config.identity(&clock);
        tracing::info!(us, lease = config.name, namespace = config.namespace, "standing by");
        crate::metrics::active(false);
        let election = Election::new(&config.name, &us, config.duration(), Instant::now());
        let (api, turn) = (cluster.leases(&config.namespace), cluster.turn.clone());
        shared.with(|state| state.wait_for(turn.clone()));
        Self { api, news, election, shared, turn, clock, failures: 0, told: (false, None) }
    }

    /// Stands for election as soon as everything is known, holds what it won, and gives it back when everybody `at_rest`
    /// has stopped writing.
    pub(crate) async fn run(mut self, at_rest: CancellationToken) {
        tokio::select! {
            () = self.shared.complete.notified() => {}
            () = at_rest.cancelled() => return,
        }
        while !at_rest.is_cancelled() {
            match self.election.step(Instant::now(), &self.wall()) {
                Step::Look => self.look().await,
                Step::Write(lease) => self.write(*lease).await,
                Step::Wait(until) => self.wait(until, &at_rest).await,
            }
            self.tell();
        }
        self.resign().await;
    }

    async fn wait(&mut self, until: Instant, at_rest: &CancellationToken) {
        let lapse = self.election.held_until().filter(|lapse| Instant::now() < *lapse);
        let until = lapse.map_or(until, |lapse| lapse.min(until));
        tokio::select! {
            () = at_rest.cancelled() => {}
            () = tokio::time::sleep_until(until.into()) => {}
            Ok(()) = self.news.changed() => {
                let lease = self.news.borrow_and_update().clone();
                self.election.saw(lease, Instant::now());
            }
        }
    }

    async fn look(&mut self) {
        let name = self.election.name().to_owned();
        match self.limited(self.api.get_opt(&name)).await {
            Ok(lease) => self.election.saw(lease, Instant::now()),
            Err(problem) => self.failed("read", &problem),
        }
    }

    async fn write(&mut self, lease: Lease) {
        let sent = Instant::now();
        match self.limited(self.put(&lease)).await {
            Ok(lease) => {
                self.failures = 0;
                self.election.won(lease, sent);
            }
            Err(Problem::Moved) => self.election.doubt(),
            Err(problem) => {
                // It may have arrived all the same.
                self.election.doubt();
                self.failed("write", &problem);
            }
        }
    }

    /// Creates the Lease, or replaces the version that it names.
    async fn put(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        let params = PostParams::default();
        if lease.metadata.resource_version.is_none() {
            return self.api.create(&params, lease).await;
        }
        self.api.replace(self.election.name(), &params, lease).await
    }

    async fn limited<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Problem> {
        match tokio::time::timeout(self.election.third(), call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Problem::Moved),
            Ok(Err(error)) => Err(Problem::Failed(error.to_string())),
            Err(_) => Err(Problem::Failed("no answer".to_owned())),
        }
    }

    fn failed(&mut self, attempt: &str, problem: &Problem) {
        self.election.failed(Instant::now());
        self.failures += 1;
        if self.failures.is_power_of_two() {
            let (lease, failures) = (self.election.name(), self.failures);
            tracing::warn!(lease, failures, "failed to {attempt} the Lease, it is tried again: {problem}");
        }
    }

    /// Tells the state whether it is our turn now. A turn that lapsed begins anew, for what was refused meanwhile.
    fn tell(&mut self) {
        let now = Instant::now();
        let until = self.election.held_until().filter(|until| now < *until);
        let (was_active, active) = (self.told.0, until.is_some());
        let lapsed = was_active && !self.turn.is_held(now);
        let holder = self.election.other().map(str::to_owned);
        self.turn.set(until);
        crate::metrics::active(active);
        if lapsed || (was_active && !active) {
            tracing::warn!(holder, lapsed, "not the active applier any more");
        }
        let told = (active, holder);
        if lapsed || (!active && told != self.told) {
            self.shared.with(|state| state.stand_by(told.1.clone()));
        }
        if active && (lapsed || !was_active) {
            tracing::info!("the active applier now");
            let acquired = self.election.acquired();
            self.shared.with(|state| state.become_active(acquired));
        }
        self.told = told;
    }

    /// Lets the next one take over at once.
    async fn resign(&mut self) {
        let lease = self.election.resign(&self.wall());
        self.turn.set(None);
        crate::metrics::active(false);
        let Some(lease) = lease else { return };
        match self.limited(self.put(&lease)).await {
            Ok(_) => tracing::info!("the Lease is given back"),
            Err(problem) => tracing::warn!("failed to give the Lease back, it will expire: {problem}"),
        }
    }

    /// For others to read; nobody measures by it.
    fn wall(&self) -> MicroTime {
        let micros = self.clock.now().unix_timestamp_nanos() / 1000;
        let timestamp =
            i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
        MicroTime(timestamp.unwrap_or_default())
    }
}

/// Why a request about the Lease came to nothing.
#[derive(Debug, thiserror::Error)]
enum Problem {
    /// Somebody else was faster.
    #[error("it is not as we thought")]
    Moved,
    #[error("{0}")]
    Failed(String),
}
