mod limits;
mod reload;
mod tokens;

use std::num::NonZeroU32;

use tokio::time::{Instant, timeout};
use tonic::{Code, server::NamedService};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus as Wire, health_client::HealthClient,
};
use tonic_types::StatusExt as _;
use tracing::{Instrument, info_span};

use super::*;
use crate::{
    client::{Connection, connect},
    gate::Seal,
    status::retry_after,
    telemetry,
    testing::{Authority, CLIENT, Node, Probe, Running, SERVER, call, header, record, server_config},
};

const BUDGET: Duration = Duration::from_secs(10);
/// Only reached by a test that fails.
const TOO_LONG: Duration = Duration::from_secs(30);

/// An authority, the files of both sides, and a running server.
struct Scene {
    authority: Authority,
    server: Node,
    client: Node,
    server_tls: Arc<Tls>,
    running: Running,
}

impl Scene {
    fn new() -> Self {
        Self::with(BUDGET, |_| {})
    }

    fn with(budget: Duration, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let authority = Authority::new();
        let (server, client) = (Node::new(&authority, SERVER), Node::new(&authority, CLIENT));
        let server_tls = server.tls();
        let mut config = server_config(&server);
        change(&mut config);
        let running = Running::start(&config, &server_tls, budget, Vec::new());
        Self { authority, server, client, server_tls, running }
    }

    fn with_conditions(conditions: Vec<watch::Receiver<bool>>) -> Self {
        let scene = Self::new();
        let running = Running::start(&server_config(&scene.server), &scene.server_tls, BUDGET, conditions);
        Self { running, ..scene }
    }

    fn connect(&self) -> Connection {
        connect(&self.client.tls(), &self.running.peer)
    }

    fn connect_as(&self, id: &str) -> Connection {
        connect(&Node::new(&self.authority, id).tls(), &self.running.peer)
    }
}

/// What a stream ends with that has said nothing so far.
async fn end_of(answer: http::Response<tonic::body::Body>) -> tonic::Status {
    let mut body = answer.into_body();
    let ended = std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx));
    match timeout(TOO_LONG, ended).await.expect("an end").expect("a last frame") {
        Ok(frame) => tonic::Status::from_header_map(frame.trailers_ref().unwrap()).unwrap(),
        Err(status) => status,
    }
}

#[tokio::test]
async fn a_handler_sees_who_calls_and_by_which_certificate() {
    let scene = Scene::new();
    let answer = call(&mut scene.connect(), "Look").await.unwrap();
    assert_eq!(header(&answer, "principal"), CLIENT);
    let thumbprint = scene.client.tls().identity().certificate_sha256;
    assert_eq!(header(&answer, "thumbprint"), format!("{thumbprint:?}"));
}

#[tokio::test]
async fn a_principal_without_a_rule_is_denied_all_but_health() {
    let scene = Scene::new();
    let mut stranger = scene.connect_as("spiffe://example.org/applier/west");
    assert_eq!(call(&mut stranger, "Look").await.unwrap_err().code(), Code::PermissionDenied);
    let mut health = HealthClient::new(stranger);
    let request = HealthCheckRequest { service: Probe::NAME.to_owned() };
    assert_eq!(health.check(request).await.unwrap().into_inner().status(), Wire::Serving);
}

#[tokio::test]
async fn whoever_calls_too_often_is_told_when_to_come_back_and_nobody_else_is() {
    let scene = Scene::with(BUDGET, |config| {
        config.roles[0].principals.push("spiffe://example.org/applier/*".parse().unwrap());
        config.roles[0].requests_per_second = NonZeroU32::new(1);
        config.roles[0].burst = NonZeroU32::new(3);
    });
    let mut loud = scene.connect();
    let mut admitted = 0;
    let refused = loop {
        match call(&mut loud, "Look").await {
            Ok(_) => admitted += 1,
            Err(refused) => break refused,
        }
    };
    assert!((3..100).contains(&admitted), "{admitted}");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["principal"].as_str()), ("RATE_LIMITED", CLIENT));
    assert_eq!((info.metadata["role"].as_str(), info.metadata["requestsPerSecond"].as_str()), ("probe", "1"));
    let made_up = call(&mut loud, "NoSuchMethod").await.unwrap_err();
    assert_eq!(made_up.code(), Code::ResourceExhausted, "what is asked for makes no difference");
    call(&mut scene.connect_as("spiffe://example.org/applier/west"), "Look").await.unwrap();
    tokio::time::sleep(retry_after(&refused).unwrap()).await;
    call(&mut loud, "Look").await.unwrap();
    let mut patient = loud.clone().patient(TOO_LONG);
    for _ in 0..2 {
        call(&mut patient, "Look").await.expect("made again when its time has come");
    }
    let mut impatient = loud.patient(Duration::from_millis(1));
    let refused = loop {
        if let Err(refused) = call(&mut impatient, "Look").await {
            break refused;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn whoever_the_server_refuses_is_told_unavailable_and_why() {
    let scene = Scene::new();
    let foreign = Node::new(&Authority::new(), CLIENT);
    foreign.trust(&scene.authority);
    let refusal = call(&mut connect(&foreign.tls(), &scene.running.peer), "Look").await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("fatal alert"), "{}", refusal.message());
}

#[tokio::test]
async fn a_server_with_another_id_is_unavailable_by_name_and_cause() {
    let scene = Scene::new();
    let mut peer = scene.running.peer.clone();
    peer.identity = "spiffe://example.org/grant-manager".parse().unwrap();
    let refusal = call(&mut connect(&scene.client.tls(), &peer), "Look").await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    for part in [
        peer.endpoint.as_str(),
        "spiffe://example.org/grant-manager",
        "the server is spiffe://example.org/server",
    ] {
        assert!(refusal.message().contains(part), "{:?} does not say {part:?}", refusal.message());
    }
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unavailable() {
    let scene = Scene::new();
    for (endpoint, cause) in [("127.0.0.1:1", "refused"), ("no endpoint", "invalid")] {
        let mut peer = scene.running.peer.clone();
        endpoint.clone_into(&mut peer.endpoint);
        let error = call(&mut connect(&scene.client.tls(), &peer), "Look").await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.message().contains(endpoint) && error.message().contains(cause), "{}", error.message());
    }
}

#[tokio::test]
async fn a_connection_outlives_a_restart_of_its_server() {
    let mut scene = Scene::new();
    let mut connection = scene.connect();
    call(&mut connection, "Look").await.unwrap();
    let mut config = server_config(&scene.server);
    config.listen = scene.running.peer.endpoint.parse().unwrap();
    scene.running.stop().await;
    assert_eq!(call(&mut connection, "Look").await.unwrap_err().code(), Code::Unavailable);
    scene.running = Running::start(&config, &scene.server_tls, BUDGET, Vec::new());
    call(&mut connection, "Look").await.unwrap();
}

#[tokio::test]
async fn the_trace_of_the_caller_goes_on_in_the_handler() {
    record();
    let scene = Scene::new();
    let mut connection = scene.connect();
    let (ours, theirs) = async {
        let answer = call(&mut connection, "Look").await.unwrap();
        (telemetry::trace_context().unwrap(), header(&answer, "trace").to_owned())
    }
    .instrument(info_span!("caller"))
    .await;
    let trace = |traceparent: &str| traceparent.split('-').nth(1).unwrap().to_owned();
    assert_eq!(trace(&ours), trace(&theirs));
    assert_ne!(ours, theirs, "the handler has a span of its own");
}

#[tokio::test]
async fn a_hanging_stream_is_cut_when_the_budget_is_over() {
    let scene = Scene::with(Duration::from_millis(100), |_| {});
    let answer = call(&mut scene.connect(), "Hang").await.unwrap();
    let endpoint = scene.running.peer.endpoint.clone();
    let began = Instant::now();
    timeout(TOO_LONG, scene.running.stop()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    let status = end_of(answer).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&endpoint), "{}", status.message());
}

#[tokio::test]
async fn a_shutdown_tells_those_who_watch_the_health_and_ends() {
    let scene = Scene::new();
    let mut health = HealthClient::new(scene.connect());
    let request = HealthCheckRequest { service: Probe::NAME.to_owned() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Wire::Serving);
    let stopping = tokio::spawn(scene.running.stop());
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Wire::NotServing);
    assert!(watch.message().await.unwrap().is_none());
    timeout(TOO_LONG, stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_health_follows_every_condition_and_calls_are_answered_in_any_case() {
    let (keys, history) = (watch::Sender::new(false), watch::Sender::new(true));
    let conditions = vec![keys.subscribe(), history.subscribe()];
    let scene = Scene::with_conditions(conditions);
    let mut health = HealthClient::new(scene.connect());
    let request = HealthCheckRequest { service: Probe::NAME.to_owned() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let mut next = async || watch.message().await.unwrap().unwrap().status();
    assert_eq!(next().await, Wire::NotServing);
    call(&mut scene.connect(), "Look").await.unwrap();
    keys.send_replace(true);
    assert_eq!(next().await, Wire::Serving);
    history.send_replace(false);
    assert_eq!(next().await, Wire::NotServing);
    let whole = HealthCheckRequest { service: String::new() };
    assert_eq!(health.check(whole).await.unwrap().into_inner().status(), Wire::NotServing);
    drop(keys);
    history.send_replace(true);
    assert_eq!(next().await, Wire::Serving);
    scene.running.stop().await;
}

#[tokio::test]
async fn reflection_is_served_only_where_it_is_switched_on() {
    let reflection = "grpc.reflection.v1.ServerReflection/*";
    for (switched_on, expected) in [(true, Code::Ok), (false, Code::Unimplemented)] {
        let scene = Scene::with(BUDGET, |config| {
            config.reflection = switched_on;
            config.roles[0].methods.push(reflection.to_owned());
        });
        let mut connection = scene.connect();
        let request = http::Request::post("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::empty());
        let answer = tower::Service::call(&mut connection, request.unwrap()).await.unwrap();
        let code = tonic::Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code());
        assert_eq!(code, expected);
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let scene = Scene::new();
    let mut config = server_config(&scene.server);
    config.listen = scene.running.peer.endpoint.parse().unwrap();
    let error = Server::new(&config, Arc::clone(&scene.server_tls)).unwrap_err();
    assert_eq!(error.to_string(), format!("failed to listen on {}", config.listen));
}

#[tokio::test]
async fn a_sealed_server_is_not_healthy_and_refuses_its_callers_until_its_gate_opens() {
    let seal = Seal { reason: "SEALED", message: "it is sealed".to_owned(), metadata: Vec::new() };
    let gate = Gate::new(Some(seal), "none");
    let scene = Scene::new();
    let (authority, client) = (&scene.authority, scene.client.tls());
    let behind = Running::start_behind(&gate, &server_config(&scene.server), &scene.server_tls, BUDGET);
    let mut connection = connect(&client, &behind.peer);
    let refused = call(&mut connection, "Look").await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "it is sealed"));
    let stranger = Node::new(authority, "spiffe://example.org/applier/west").tls();
    let denied = call(&mut connect(&stranger, &behind.peer), "Look").await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "who may not call is not told how it stands");

    let mut health = HealthClient::new(connection.clone());
    for service in [Probe::NAME, ""] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), Wire::NotServing, "{service}");
    }
    let request = HealthCheckRequest { service: Probe::NAME.to_owned() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Wire::NotServing);
    gate.open();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Wire::Serving);
    call(&mut connection, "Look").await.unwrap();
    drop((watch, health, connection));
    behind.stop().await;
}
