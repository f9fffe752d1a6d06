//! One change is one trace, from the command to the Kubernetes write, across all three services.

use std::collections::BTreeSet;

use e2e::{
    Scenario,
    collector::{Collector, Span},
    eventually,
};

#[tokio::test]
async fn a_new_link_is_one_trace_from_the_command_to_the_kubernetes_writes() {
    let collector = Collector::start().await.unwrap();
    let endpoint = collector.endpoint();
    let scenario = Scenario::own("trace", |options| options.otlp_endpoint = Some(endpoint)).await;
    let namespace = scenario.namespace("traced").await;
    let credential = scenario.credential("quay", "quay.io", "robot", "fake-password").await;
    let link = ["link", "create", "traced", "--credential", &credential, "--namespace", &namespace];
    scenario.pullpass.cli(&[&link[..], &["--service-account", "default", "--wait"]].concat()).await.ok();
    one_trace(&collector, "CreateSecretLink", &["Secret", "ServiceAccount"]).await;

    let rotate = [
        "credential",
        "rotate",
        &credential,
        "--server",
        "quay.io",
        "--username",
        "robot",
        "--password-stdin",
    ];
    scenario.pullpass.cli_with("fake-password-2", &rotate).await.ok();
    scenario.pullpass.cli(&["status", "--wait"]).await.ok();
    one_trace(&collector, "AddCredentialVersion", &["Secret"]).await;
}

/// Waits until the trace in which the command called `method` has spans of everybody, the Kubernetes writes among them.
async fn one_trace(collector: &Collector, method: &str, kinds: &[&str]) {
    let everybody = BTreeSet::from(["pullpass", "credential-store", "grant-manager", "cluster-applier"]);
    eventually(format!("one trace of {method}"), async || {
        let spans = traces_with(collector, method);
        let services: BTreeSet<&str> = spans.iter().map(|span| span.service.as_str()).collect();
        let written = kinds.iter().all(|kind| spans.iter().any(|span| is_write(span, kind)));
        if services == everybody && written { Ok(()) } else { Err(summary(&spans)) }
    })
    .await;
}

/// The trace that a server's span of `method` is in.
fn traces_with(collector: &Collector, method: &str) -> Vec<Span> {
    let servers = ["credential-store", "grant-manager"];
    let traces = servers.iter().map(|service| collector.trace_of(service, method));
    traces.max_by_key(Vec::len).unwrap_or_default()
}

fn is_write(span: &Span, kind: &str) -> bool {
    span.service == "cluster-applier"
        && span.attributes.iter().any(|pair| pair == &format!("k8s.kind={kind}"))
}

fn summary(spans: &[Span]) -> String {
    let lines = spans.iter().map(|span| format!("{}: {} {:?}", span.service, span.name, span.attributes));
    lines.collect::<Vec<_>>().join("\n")
}
