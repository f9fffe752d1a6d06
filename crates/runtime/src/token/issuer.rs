//! One issuer and the keys that it had when it was last asked.
//!
//! It is asked in the background, every few minutes, and at once when a token names a key that is not known: at most every
//! so often ([`Pace::apart`]) that made-up key ids cannot make us pester it. A call waits for an answer that is on its way
//! for a moment only. While the issuer is away the last keys hold for as long as a token may live.

use std::{io, path::Path, sync::Arc, time::Duration};

use rustls::RootCertStore;
use tokio::{
    io::AsyncReadExt as _,
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    IssuerConfig, Refusal,
    claims::LONGEST_LIFE,
    fetch::{self, Fetcher},
    keys::{Key, Keys},
};
use crate::{role, tls};

/// How patient we are with an issuer, and how a call is with us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between one time of asking and the next, at least.
    pub(super) apart: Duration,
    /// … and at most: a key that the issuer has taken back is believed for no longer.
    pub(super) fresh: Duration,
    /// How long a call waits for keys.
    pub(super) patience: Duration,
    /// How long keys hold that could not be confirmed.
    pub(super) stale: Duration,
}

impl Pace {
    pub(super) const USUAL: Self = Self {
        apart: Duration::from_secs(10),
        fresh: Duration::from_mins(5),
        patience: Duration::from_secs(2),
        stale: Duration::from_secs(LONGEST_LIFE.unsigned_abs()),
    };
}

/// Bytes of a key file.
const LARGEST_FILE: u64 = 64 * 1024;

/// An issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) config: IssuerConfig,
    pace: Pace,
    /// None where a file has the keys.
    fetcher: Option<Fetcher>,
    known: watch::Sender<Option<Arc<Known>>>,
    attempts: watch::Sender<Attempts>,
    wanted: Notify,
}

/// What the issuer said, and when.
#[derive(Debug)]
struct Known {
    keys: Keys,
    at: Instant,
}

/// The times that the issuer was asked.
#[derive(Debug, Clone, Copy, Default)]
struct Attempts {
    finished: u64,
    /// When the last one began.
    began: Option<Instant>,
    running: bool,
}

impl Issuer {
    /// Checks the configuration; an error is the field and what is wrong with it.
    pub(super) fn new(config: &IssuerConfig, pace: Pace) -> Result<Self, (&'static str, String)> {
        if !role::is_name(&config.name) {
            return Err(("name", format!("{:?} is not 1 to 63 of a-z, 0-9 and '-'", config.name)));
        }
        fetch::https(&config.issuer).map_err(|problem| ("issuer", problem))?;
        if config.audience.is_empty() {
            return Err((
                "audience",
                "must not be empty: what tokens for this service have in `aud`".to_owned(),
            ));
        }
        if let Some(uri) = &config.jwks_uri {
            fetch::https(uri).map_err(|problem| ("jwks_uri", problem))?;
        }
        let fetcher = match (&config.jwks_file, &config.jwks_uri) {
            (Some(_), Some(_)) => return Err(("jwks_file", "and jwks_uri exclude each other".to_owned())),
            (Some(_), None) => None,
            (None, _) => Some(fetcher(config).map_err(|problem| ("authorities", problem))?),
        };
        let (known, attempts) = (watch::Sender::default(), watch::Sender::default());
        Ok(Self { config: config.clone(), pace, fetcher, known, attempts, wanted: Notify::new() })
    }

    /// The key `kid`, asked for if it is not known.
    pub(super) async fn key(&self, kid: &str) -> Result<Key, Refusal> {
        let mut attempts = self.attempts.subscribe();
        let last = *attempts.borrow_and_update();
        if let Some(key) = self.known_key(kid) {
            return Ok(key);
        }
        if last.running || last.began.is_none_or(|began| began.elapsed() >= self.pace.apart) {
            self.wanted.notify_one();
            let next = attempts.wait_for(|now| now.finished > last.finished);
            // However this ends, what is known by then decides.
            let _ = tokio::time::timeout(self.pace.patience, next).await;
        }
        self.known_key(kid).ok_or_else(|| match self.known() {
            Some(_) => Refusal::UnknownKey(self.config.name.clone()),
            None => Refusal::Unavailable(self.config.name.clone()),
        })
    }

    fn known_key(&self, kid: &str) -> Option<Key> {
        self.known()?.keys.find(kid).cloned()
    }

    /// What the issuer said, as long as it may be believed.
    fn known(&self) -> Option<Arc<Known>> {
        self.known.borrow().clone().filter(|known| known.at.elapsed() < self.pace.stale)
    }

    /// Asks again and again.
    pub(super) async fn refresh_forever(&self) {
        let mut complaint = None;
        loop {
            let began = Instant::now();
            self.attempts.send_modify(|attempts| (attempts.began, attempts.running) = (Some(began), true));
            let outcome = self.ask().await;
            self.note(outcome, &mut complaint);
            self.attempts.send_modify(|attempts| {
                (attempts.finished, attempts.running) = (attempts.finished + 1, false);
            });
            // A file is cheap to read, and whoever replaces it expects it to be taken.
            let soon = complaint.is_some() || self.fetcher.is_none();
            let pause = if soon { self.pace.apart } else { self.pace.fresh };
            let _ = tokio::time::timeout_at(began + pause, self.wanted.notified()).await;
            tokio::time::sleep_until(began + self.pace.apart).await;
        }
    }

    async fn ask(&self) -> Result<Keys, String> {
        let IssuerConfig { issuer, jwks_uri, jwks_file, .. } = &self.config;
        let json = match (&self.fetcher, jwks_uri, jwks_file) {
            (Some(fetcher), Some(uri), _) => fetcher.get(uri).await?.to_vec(),
            (Some(fetcher), None, _) => fetcher.discover(issuer).await?.to_vec(),
            (None, _, Some(file)) => {
                read(file).await.map_err(|e| format!("failed to read {}: {e}", file.display()))?
            }
            (None, _, None) => return Err("nothing says where its keys are".to_owned()),
        };
        Keys::parse(&json)
    }

    /// Takes new keys into use, and logs what is new about an issuer that is away.
    fn note(&self, outcome: Result<Keys, String>, complaint: &mut Option<String>) {
        let issuer = &self.config.name;
        let told = if outcome.is_ok() { "fetched" } else { "failed" };
        metrics::counter!("token_issuer_keys_total", "issuer" => issuer.clone(), "outcome" => told)
            .increment(1);
        match outcome {
            Ok(keys) => {
                self.known.send_replace(Some(Arc::new(Known { keys, at: Instant::now() })));
                if complaint.take().is_some() {
                    tracing::info!(issuer, "the keys of the token issuer were fetched again");
                }
            }
            Err(problem) if complaint.as_ref() != Some(&problem) => {
                tracing::warn!(
                    issuer,
                    problem,
                    "the keys of the token issuer cannot be had; what is known of them holds for a day"
                );
                *complaint = Some(problem);
            }
            Err(_) => {}
        }
    }
}

fn fetcher(config: &IssuerConfig) -> Result<Fetcher, String> {
    let roots = match &config.authorities {
        Some(file) => tls::root_store(file).map_err(|e| format!("{:#}", anyhow::Error::from(e)))?,
        None => system_roots()?,
    };
    Fetcher::new(roots).map_err(|e| e.to_string())
}

/// The authorities that the machine trusts.
fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("must name a PEM file: this system has no trusted authorities of its own".to_owned());
    }
    Ok(roots)
}

async fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    let opened = tokio::fs::File::open(file).await?;
    opened.take(LARGEST_FILE).read_to_end(&mut json).await?;
    Ok(json)
}
