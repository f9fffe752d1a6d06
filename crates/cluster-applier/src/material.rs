//! The content of the links' Secrets: one fetch per link and credential version, however many namespaces, kept in memory
//! only. A fetch that fails changes nothing but the report: what was fetched before stays in use.
//!
//! Pure state; [`crate::fetch`] does the fetching.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use pullpass_api::credential::v1::{WatchCredentialsResponse as Message, watch_credentials_response::Event};
use pullpass_domain::{
    docker_config::SecretType,
    link::Link,
    name::{CredentialName, LinkName},
    secret::SecretBytes,
};
use zeroize::Zeroize;

use crate::{
    cluster::object::{Digest, digest_of},
    plan::Reason,
};

/// Resource names of credentials with their versions.
pub(crate) type Versions = Arc<[(String, i64)]>;

/// What a plan knows of the content of a link's Secret.
#[derive(Debug, Clone, Default)]
pub(crate) struct Material {
    /// What shall be written, as last fetched.
    pub(crate) rendered: Option<Arc<Rendered>>,
    /// Why there is nothing newer.
    pub(crate) problem: Option<Reason>,
    /// Nothing is fetched for it: the link is only a proposal, or we stand by.
    pub(crate) unfetched: bool,
}

/// The content of a Secret, ready to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) digest: Digest,
    pub(crate) secret_type: SecretType,
    pub(crate) versions: Versions,
    encoded: SecretBytes,
}

impl Rendered {
    pub(crate) fn new(bytes: &SecretBytes, secret_type: SecretType, versions: Versions) -> Self {
        let mut encoded = STANDARD.encode(bytes.expose());
        let encoded_bytes = SecretBytes::new(encoded.as_bytes().to_vec());
        encoded.zeroize();
        Self { digest: digest_of(bytes.expose()), secret_type, versions, encoded: encoded_bytes }
    }

    /// The value of the Secret's one key, in base64. For request bodies and nothing else.
    pub(crate) fn expose_base64(&self) -> &str {
        std::str::from_utf8(self.encoded.expose()).unwrap_or_default()
    }
}

/// A credential as the watch tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// The watch has not told yet.
    Unknown,
    Absent,
    At {
        uid: String,
        version: i64,
    },
}

/// What credential-store says exists.
#[derive(Debug, Default)]
pub(crate) struct Credentials(BTreeMap<String, Seen>);

impl Credentials {
    /// Takes in one message. Gives the resource name of the credential that it tells of.
    pub(crate) fn apply(&mut self, message: &Message) -> Option<String> {
        match message.event.as_ref()? {
            Event::Changed(change) => {
                let seen = Seen::At { uid: change.uid.clone(), version: change.version };
                self.0.insert(change.name.clone(), seen);
                Some(change.name.clone())
            }
            Event::Deleted(name) => self.0.remove(name).map(|_| name.clone()),
            Event::SnapshotEnd(_) => None,
        }
    }
}

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recipe {
    credentials: Vec<CredentialName>,
    secret_type: SecretType,
}

impl Recipe {
    fn of(link: &Link) -> Self {
        Self { credentials: link.credentials().to_vec(), secret_type: link.secret_type() }
    }
}

#[derive(Debug)]
struct Holding {
    recipe: Recipe,
    rendered: Option<Arc<Rendered>>,
    problem: Option<Reason>,
    /// What the credentials were like at the last attempt; none before the first.
    tried: Option<Vec<Seen>>,
    failures: u32,
    retry_at: Option<Instant>,
    /// The number of the order that is under way.
    fetching: Option<u64>,
    trace: String,
}

/// A fetch to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    number: u64,
    pub(crate) link: LinkName,
    pub(crate) secret_type: SecretType,
    pub(crate) trace: String,
}

/// Why a fetch failed, and when it is worth another try.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) retry_after: Duration,
}

/// The material of all links.
#[derive(Debug, Default)]
pub(crate) struct Materials {
    /// None before the first snapshot is complete.
    credentials: Option<Credentials>,
    links: BTreeMap<LinkName, Holding>,
    orders: u64,
}

impl Materials {
    /// What is known for a link.
    pub(crate) fn of(&self, link: &LinkName) -> Material {
        self.links.get(link).map_or_else(Material::default, |holding| Material {
            rendered: holding.rendered.clone(),
            problem: holding.problem.clone(),
            unfetched: false,
        })
    }

    /// What is known for a link as it stands in a plan: nothing is fetched for one that is only proposed.
    pub(crate) fn for_plan(&self, name: &LinkName, link: &Link) -> Material {
        match self.links.get(name) {
            Some(holding) if holding.recipe == Recipe::of(link) => self.of(name),
            _ => Material { unfetched: true, ..Material::default() },
        }
    }

    /// The link stands like this, or not any more. What was fetched for other credentials is forgotten.
    pub(crate) fn set_link(&mut self, name: &LinkName, link: Option<&Link>, trace: &str) {
        let Some(link) = link else {
            self.links.remove(name);
            return;
        };
        let recipe = Recipe::of(link);
        if self.links.get(name).is_none_or(|holding| holding.recipe != recipe) {
            self.links.insert(name.clone(), Holding::new(recipe, trace.to_owned()));
        }
    }

    /// Forgets every link but these.
    pub(crate) fn retain(&mut self, keep: impl Fn(&LinkName) -> bool) {
        self.links.retain(|name, _| keep(name));
    }

    /// Forgets all content, and how far fetching it was.
    pub(crate) fn forget(&mut self) {
        for holding in self.links.values_mut() {
            let trace = std::mem::take(&mut holding.trace);
            *holding = Holding::new(holding.recipe.clone(), trace);
        }
    }

    /// Waits for none of the fetches under way: they are due again.
    pub(crate) fn abandon(&mut self) {
        for holding in self.links.values_mut().filter(|holding| holding.fetching.is_some()) {
            (holding.fetching, holding.tried) = (None, None);
        }
    }

    /// A snapshot of the credentials is complete.
    pub(crate) fn replace_credentials(&mut self, credentials: Credentials) {
        self.credentials = Some(credentials);
    }

    /// One credential changed or went.
    pub(crate) fn credential(&mut self, message: &Message) {
        let credentials = self.credentials.get_or_insert_default();
        let Some(name) = credentials.apply(message) else { return };
        for holding in self.links.values_mut() {
            if holding.recipe.credentials.iter().any(|credential| credential.to_string() == name) {
                holding.trace.clone_from(&message.trace_context);
            }
        }
    }

    /// Tries everything again that failed, now.
    pub(crate) fn retry_all(&mut self, now: Instant) {
        for holding in self.links.values_mut().filter(|holding| holding.retry_at.is_some()) {
            holding.retry_at = Some(now);
        }
    }

    /// The fetches to be begun now. Each must be answered by [`Materials::fetched`].
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Order> {
        let credentials = self.credentials.as_ref();
        let mut orders = Vec::new();
        for (link, holding) in &mut self.links {
            let seen = holding.recipe.credentials.iter().map(|name| look_up(credentials, name)).collect();
            if holding.begin(seen, now, self.orders) {
                let number = self.orders;
                self.orders += 1;
                let (secret_type, trace) = (holding.recipe.secret_type, holding.trace.clone());
                orders.push(Order { number, link: link.clone(), secret_type, trace });
            }
        }
        orders
    }

    /// When the next failed fetch is to be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let waiting = self.links.values().filter(|holding| holding.fetching.is_none());
        waiting.filter_map(|holding| holding.retry_at).min()
    }

    /// How many attempts in a row have failed.
    pub(crate) fn failures(&self, link: &LinkName) -> u32 {
        self.links.get(link).map_or(0, |holding| holding.failures)
    }

    /// The answer to an order. Whether anything is different now; not if the link has changed meanwhile.
    pub(crate) fn fetched(&mut self, order: &Order, answer: Result<Rendered, Failure>, now: Instant) -> bool {
        let holding = self.links.get_mut(&order.link);
        let Some(holding) = holding.filter(|holding| holding.fetching == Some(order.number)) else {
            return false;
        };
        holding.fetching = None;
        match answer {
            Ok(rendered) => {
                (holding.failures, holding.retry_at, holding.problem) = (0, None, None);
                holding.rendered = Some(Arc::new(rendered));
                true
            }
            Err(failure) => {
                holding.failures = holding.failures.saturating_add(1);
                holding.retry_at = Some(now + failure.retry_after);
                let news = holding.problem.as_ref() != Some(&failure.reason);
                holding.problem = Some(failure.reason);
                news
            }
        }
    }
}

fn look_up(credentials: Option<&Credentials>, name: &CredentialName) -> Seen {
    match credentials {
        None => Seen::Unknown,
        Some(Credentials(known)) => known.get(&name.to_string()).cloned().unwrap_or(Seen::Absent),
    }
}

impl Holding {
    fn new(recipe: Recipe, trace: String) -> Self {
        Self {
            recipe,
            rendered: None,
            problem: None,
            tried: None,
            failures: 0,
            retry_at: None,
            fetching: None,
            trace,
        }
    }

    /// Whether a fetch is due, which then counts as begun.
    fn begin(&mut self, seen: Vec<Seen>, now: Instant, number: u64) -> bool {
        let news = self.tried.as_ref() != Some(&seen) && !self.holds(&seen);
        let retry = self.retry_at.is_some_and(|at| at <= now);
        if self.fetching.is_some() || !(news || retry) {
            return false;
        }
        (self.tried, self.fetching, self.retry_at) = (Some(seen), Some(number), None);
        true
    }

    /// Whether what the last attempt fetched is just what the watch now tells of: the fetch was faster than the watch.
    fn holds(&self, seen: &[Seen]) -> bool {
        let (Some(rendered), Some(tried), None) = (&self.rendered, &self.tried, &self.problem) else {
            return false;
        };
        seen.iter().zip(tried).zip(rendered.versions.iter()).all(|((now, then), (_, held))| {
            match (now, then) {
                (Seen::At { uid, .. }, Seen::At { uid: before, .. }) if uid != before => false,
                (Seen::At { version, .. }, _) => version == held,
                (Seen::Unknown, _) => true,
                (Seen::Absent, _) => false,
            }
        })
    }
}

#[cfg(test)]
mod tests;
