//! What the service counts, beside what the runtime counts of every call.

const TICKETS: &str = "grant_manager_tickets_total";
const REPORTS: &str = "grant_manager_sync_reports_total";
const PURGED: &str = "grant_manager_purged_total";
const STREAMS: &str = "grant_manager_desired_state_streams";

/// Tells the recorder what the names mean.
pub(crate) fn describe() {
    metrics::describe_counter!(TICKETS, "Tickets asked for, by outcome");
    metrics::describe_counter!(REPORTS, "Sync reports received, by whether they told anything new");
    metrics::describe_counter!(PURGED, "Deleted links and grants that every cluster has taken back");
    metrics::describe_gauge!(STREAMS, "Open WatchDesiredState streams");
}

pub(crate) fn ticket(outcome: &'static str) {
    metrics::counter!(TICKETS, "outcome" => outcome).increment(1);
}

pub(crate) fn report(news: bool) {
    metrics::counter!(REPORTS, "news" => news.to_string()).increment(1);
}

pub(crate) fn purged(count: u64) {
    metrics::counter!(PURGED).increment(count);
}

pub(crate) fn stream_opened() {
    metrics::gauge!(STREAMS).increment(1);
}

pub(crate) fn stream_closed() {
    metrics::gauge!(STREAMS).decrement(1);
}
