//! What is known of the appliers in memory only: who follows the desired state right now, and when each last reported.
//!
//! It is this process's own view; whatever must outlive it is in the database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::metrics;

/// Clones are the same. Clusters go by their uid, so that a new one of the same name begins anew.
#[derive(Debug, Clone, Default)]
pub(crate) struct Presence(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    appliers: Mutex<HashMap<String, Applier>>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Applier {
    streams: usize,
    report_time: Option<OffsetDateTime>,
}

impl Presence {
    /// Counts the cluster as connected until the guard is dropped.
    pub(crate) fn connect(&self, uid: &str) -> Connected {
        self.appliers().entry(uid.to_owned()).or_default().streams += 1;
        metrics::stream_opened();
        self.notify();
        Connected { presence: self.clone(), uid: uid.to_owned() }
    }

    pub(crate) fn is_connected(&self, uid: &str) -> bool {
        self.appliers().get(uid).is_some_and(|applier| applier.streams > 0)
    }

    pub(crate) fn reported(&self, uid: &str, now: OffsetDateTime) {
        self.appliers().entry(uid.to_owned()).or_default().report_time = Some(now);
    }

    pub(crate) fn report_time(&self, uid: &str) -> Option<OffsetDateTime> {
        self.appliers().get(uid)?.report_time
    }

    /// Tells the watchers of the status to look again.
    pub(crate) fn notify(&self) {
        self.0.changed.send_replace(());
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    fn appliers(&self) -> MutexGuard<'_, HashMap<String, Applier>> {
        self.0.appliers.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(applier) = self.presence.appliers().get_mut(&self.uid) {
            applier.streams = applier.streams.saturating_sub(1);
        }
        metrics::stream_closed();
        self.presence.notify();
    }
}
