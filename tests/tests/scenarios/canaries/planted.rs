//! The control: a canary that is planted in every kind of thing, each in another form, is found in each.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{
    Scenario,
    canary::{Scanner, Search, hex},
    collector::Collector,
    command::Run,
    eventually,
    process::Process,
    wait::seen,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use serde_json::json;

use super::{CREATED, Said, search};

pub(super) async fn is_found_in_every_kind(
    scanner: &Scanner,
    s: &Scenario,
    collector: &Collector,
    said: &mut Said,
) {
    let auth = BASE64_STANDARD.encode(format!("robot:{CREATED}"));
    let state = s.pullpass.state().dir();
    let plant = |file: &str, text: &str| {
        fs::create_dir_all(state.join(file).parent().unwrap()).unwrap();
        fs::write(state.join(file), text).unwrap();
    };
    plant("logs/planted.log", &format!("auth: {auth}"));
    plant("data/planted.db", CREATED);
    plant("data/planted.db-wal", &BASE64_STANDARD.encode(json!({ "auth": auth }).to_string()));
    plant("config/planted.toml", &json!(CREATED).to_string());
    plant("keys/planted.key", &format!("{:?}", CREATED.as_bytes()));
    plant("tmp/planted", &format!("{CREATED:?}"));
    plant("planted.toml", "fake-canary-created-4b1f+%2F%2B%22%C3%A9%5C");
    said.metrics.push_str("fake-canary-created-4b1f%20%2F%2B%22%C3%A9%5C");
    said.audit.push_str("fake-canary-created-4b1f%20%2f%2b%22%c3%a9%5c");
    said.exports.push_str(&hex(CREATED.as_bytes()));
    write!(said.crashes, "Login {{ password: {CREATED:?} }}").unwrap();
    said.commands.run(Run::new(Path::new("cat"), ["-", CREATED])).await.unwrap();
    said.answers.push(hex(CREATED.as_bytes()).to_uppercase());
    export_a_span(collector).await;

    let found = search(scanner, s, collector, said);
    for kind in found.kinds().filter(|kind| *kind != "command lines and environments of services") {
        assert!(!found.hits(kind).is_empty(), "what was planted in {kind} was not found");
    }
    in_a_process(scanner, state).await;
}

/// As a service would that names a span after a password.
async fn export_a_span(collector: &Collector) {
    let span = Span { name: CREATED.to_owned(), ..Default::default() };
    let scope = ScopeSpans { spans: vec![span], ..Default::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..Default::default() };
    let mut client = TraceServiceClient::connect(collector.endpoint()).await.unwrap();
    client.export(ExportTraceServiceRequest { resource_spans: vec![resource] }).await.unwrap();
}

async fn in_a_process(scanner: &Scanner, state: &Path) {
    let mut command = Command::new("sleep");
    command.arg("60").env("PASSWORD", CREATED);
    let process = Process::start("sleep", &command, &state.join("logs/sleep.log")).unwrap();
    // A process that is just becoming another program has no environment for a moment.
    eventually("what was planted in an environment is found", async || {
        let mut search = Search::new(scanner);
        search.process("environment", process.id());
        seen(!search.hits("environment").is_empty(), search.summary())
    })
    .await;
}
