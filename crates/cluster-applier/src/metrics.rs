//! What Prometheus sees of us, beside the calls that the runtime counts.

use std::time::Duration;

use crate::{
    cluster::client::{Problem, Verb},
    queue::End,
};

/// A request to the API server was answered, or not.
pub(crate) fn request(verb: Verb, kind: &'static str, problem: Option<&Problem>) {
    let code = match problem {
        None => "2xx".to_owned(),
        Some(Problem::Refused { code, .. }) => code.to_string(),
        Some(Problem::NoAnswer(_) | Problem::Withheld) => "none".to_owned(),
    };
    let labels = [("verb", verb.as_str().to_owned()), ("kind", kind.to_owned()), ("code", code)];
    metrics::counter!("applier_kubernetes_requests_total", &labels).increment(1);
}

/// A namespace was looked at and brought to what it shall be, as far as that went.
pub(crate) fn reconciled(took: Duration, end: End, backlog: usize) {
    let result = match end {
        End::Settled => "settled",
        End::Retry { .. } => "retry",
    };
    metrics::counter!("applier_reconciles_total", "result" => result).increment(1);
    metrics::histogram!("applier_reconcile_duration_seconds").record(took);
    let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
    metrics::gauge!("applier_backlog_namespaces").set(f64::from(backlog));
}

/// So many deletions are held until somebody confirms them.
pub(crate) fn held(deletions: usize) {
    let deletions = u32::try_from(deletions).unwrap_or(u32::MAX);
    metrics::gauge!("applier_held_deletions").set(f64::from(deletions));
}

/// The material of a link was fetched, or not.
pub(crate) fn fetched(ok: bool) {
    let result = if ok { "ok" } else { "failed" };
    metrics::counter!("applier_material_fetches_total", "result" => result).increment(1);
}

/// A watch began with a list: at the start, or because it could not be resumed.
pub(crate) fn listed(cache: &'static str) {
    metrics::counter!("applier_lists_total", "cache" => cache).increment(1);
}

/// Whether we are the one that writes to the cluster.
pub(crate) fn active(active: bool) {
    metrics::gauge!("applier_active").set(if active { 1.0 } else { 0.0 });
}
