//! What is known of the appliers beside what is declared: who follows the desired state right now, and when each last
//! reported. This process's own view, and that of the other replicas as [`crate::replicas`] hears of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::metrics;

/// What is known of the appliers, by the uid of their clusters, so that a new one of the same name begins anew.
pub(crate) type Appliers = HashMap<String, Applier>;

/// Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Presence(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: Mutex<Known>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Known {
    here: Appliers,
    elsewhere: Appliers,
    /// How many reports with news were stored here.
    news: i64,
}

/// What one process knows of one applier.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applier {
    pub(crate) streams: usize,
    pub(crate) report_time: Option<OffsetDateTime>,
}

impl Presence {
    /// Counts the cluster as connected until the guard is dropped.
    pub(crate) fn connect(&self, uid: &str) -> Connected {
        self.known().here.entry(uid.to_owned()).or_default().streams += 1;
        metrics::stream_opened();
        self.notify();
        Connected { presence: self.clone(), uid: uid.to_owned() }
    }

    pub(crate) fn is_connected(&self, uid: &str) -> bool {
        self.known().of(uid).any(|applier| applier.streams > 0)
    }

    /// A report came in here, and told something new or not.
    pub(crate) fn reported(&self, uid: &str, now: OffsetDateTime, news: bool) {
        let mut known = self.known();
        known.here.entry(uid.to_owned()).or_default().report_time = Some(now);
        known.news += i64::from(news);
        drop(known);
        if news {
            self.notify();
        }
    }

    pub(crate) fn report_time(&self, uid: &str) -> Option<OffsetDateTime> {
        self.known().of(uid).filter_map(|applier| applier.report_time).max()
    }

    /// What is known here, and how many reports with news came in here.
    pub(crate) fn here(&self) -> (Appliers, i64) {
        let known = self.known();
        (known.here.clone(), known.news)
    }

    /// What the other replicas know, and whether any of them has stored news.
    pub(crate) fn hear(&self, elsewhere: Appliers, news: bool) {
        let mut known = self.known();
        let changed = known.elsewhere != elsewhere;
        known.elsewhere = elsewhere;
        drop(known);
        if changed || news {
            self.notify();
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Tells the watchers of the status to look again.
    fn notify(&self) {
        self.0.changed.send_replace(());
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn of(&self, uid: &str) -> impl Iterator<Item = &Applier> {
        self.here.get(uid).into_iter().chain(self.elsewhere.get(uid))
    }
}

/// A stream of the desired state that is open.
#[derive(Debug)]
pub(crate) struct Connected {
    presence: Presence,
    uid: String,
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(applier) = self.presence.known().here.get_mut(&self.uid) {
            applier.streams = applier.streams.saturating_sub(1);
        }
        metrics::stream_closed();
        self.presence.notify();
    }
}
