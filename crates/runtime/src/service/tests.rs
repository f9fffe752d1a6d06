//! These tests start the test binary again as a service of its own: signals and exit codes belong to a process.

use std::{
    collections::HashMap,
    future::{pending, poll_fn},
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Command as Process, Stdio},
    task::Poll,
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use serde::Deserialize;
use tempfile::NamedTempFile;
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use super::*;
use crate::testing::{Authority, Node, SERVER, server_config, write};

const FILE: &str = "PULLPASS_TEST_CONFIG";
const APP: &str = "PULLPASS_TEST_APP";

#[derive(Deserialize)]
struct Config {
    server: ServerConfig,
}

impl AsRef<ServerConfig> for Config {
    fn as_ref(&self) -> &ServerConfig {
        &self.server
    }
}

#[test]
#[ignore = "the service that the other tests start"]
fn child() {
    let Ok(file) = std::env::var(FILE) else { return };
    let ended = run("probe", Path::new(&file), |_: Config, shutdown| async move {
        tracing::info_span!("work").in_scope(|| tracing::info!("ready"));
        match std::env::var(APP).as_deref() {
            Ok("wait") => shutdown.token().cancelled().await,
            Ok("hang") => pending().await,
            Ok("panic") => {
                shutdown.spawn("bad", poll_fn(|_| -> Poll<()> { panic!("boom") }));
                shutdown.token().cancelled().await;
            }
            _ => return Err(anyhow::anyhow!("no disk").context("failed to start")),
        }
        Ok(())
    });
    if let Err(error) = ended {
        eprintln!("probe: {error:#}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

/// A service that has said that it is ready.
struct Probe {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Probe {
    fn start(app: &str, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut server = server_config(&Node::new(&Authority::new(), SERVER));
        change(&mut server);
        let file = NamedTempFile::with_suffix(".toml").unwrap();
        write(file.path(), &toml::to_string(&HashMap::from([("server", server)])).unwrap());
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "service::tests::child", "--ignored", "--nocapture"])
            .envs([(FILE, file.path().to_str().unwrap()), (APP, app)])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let mut probe = Self { child, said };
        probe.wait_for("ready");
        probe
    }

    fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(
                self.said.read_line(&mut line).unwrap(),
                0,
                "the service ended without saying {text:?}"
            );
        }
    }

    fn terminate(&self) {
        let sent = Process::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// The exit code, and what was still said on stderr.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

#[test]
fn sigterm_ends_a_service_well() {
    let probe = Probe::start("wait", |_| {});
    probe.terminate();
    let (code, said) = probe.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_service_that_does_not_stop_is_ended_when_its_time_is_over() {
    let probe = Probe::start("hang", |server| server.shutdown_seconds = 0);
    probe.terminate();
    let (code, said) = probe.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("probe: still running when the time to shut down was over"), "{said}");
}

#[test]
fn a_second_signal_ends_a_service_at_once() {
    let mut probe = Probe::start("hang", |server| server.shutdown_seconds = 3600);
    probe.terminate();
    probe.wait_for("shutting down");
    probe.terminate();
    assert_eq!(probe.end().0, Some(1));
}

#[test]
fn a_service_may_leave_no_core_and_open_as_many_files_as_it_is_allowed() {
    let probe = Probe::start("wait", |_| {});
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", probe.child.id())).unwrap();
    let values = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(values("Max core file size"), ["0", "0"]);
    let files = values("Max open files");
    assert_eq!(files[0], files[1]);
    probe.terminate();
    assert_eq!(probe.end().0, Some(0));
}

#[test]
fn an_error_is_told_with_its_causes() {
    let (code, said) = Probe::start("fail", |_| {}).end();
    assert_eq!(code, Some(1));
    assert!(said.contains("probe: failed to start: no disk"), "{said}");
}

#[test]
fn a_panicking_task_fails_the_process() {
    let (code, said) = Probe::start("panic", |_| {}).end();
    assert_eq!(code, Some(1));
    assert!(said.contains(r#"probe: the task "bad" panicked: boom"#), "{said}");
}

/// Receives traces.
struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test]
async fn a_service_that_fails_still_sends_its_traces() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, mut received) = mpsc::unbounded_channel();
    let collector =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(collector.serve_with_incoming(TcpIncoming::from(listener)));

    let probe = move || Probe::start("fail", |server| server.telemetry.otlp_endpoint = Some(endpoint)).end();
    assert_eq!(tokio::task::spawn_blocking(probe).await.unwrap().0, Some(1));

    let spans = &received.try_recv().unwrap().resource_spans[0];
    let resource = format!("{:?}", spans.resource);
    assert!(resource.contains("service.name") && resource.contains("probe"), "{resource}");
    assert_eq!(spans.scope_spans[0].spans[0].name, "work");
}
