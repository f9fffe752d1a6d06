//! A stand-in for an OpenTelemetry collector: takes spans by OTLP over gRPC and keeps them, and the bytes in which they came.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::canary::hex;

/// One span, as far as tests look at it.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of the process that sent it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Trace id in hexadecimal.
    pub trace: String,
    /// All of its attributes as `key=value`.
    pub attributes: Vec<String>,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Span>,
    received: Vec<u8>,
}

type Spans = Arc<Mutex<Kept>>;

/// The running collector; it ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    task: JoinHandle<()>,
}

impl Collector {
    /// Listens on a free port of loopback.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to bind the collector")?;
        let address = listener.local_addr()?;
        let spans = Spans::default();
        let service = TraceServiceServer::new(Keep(Arc::clone(&spans)));
        let serve =
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { serve.await.expect("the collector serves") });
        Ok(Self { address, spans, task })
    }

    /// What to configure as `otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans that came so far.
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.spans).spans.clone()
    }

    /// All that came so far, as it was sent.
    pub fn received(&self) -> Vec<u8> {
        lock(&self.spans).received.clone()
    }

    /// The spans of the trace that has a span of this service and name.
    pub fn trace_of(&self, service: &str, name: &str) -> Vec<Span> {
        let spans = self.spans();
        let of = |span: &&Span| span.service == service && span.name.contains(name);
        let Some(trace) = spans.iter().rev().find(of).map(|span| span.trace.clone()) else {
            return Vec::new();
        };
        spans.into_iter().filter(|span| span.trace == trace).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keep(Spans);

#[tonic::async_trait]
impl TraceService for Keep {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        lock(&self.0).received.extend(request.encode_to_vec());
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = value(&attributes, "service.name");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                lock(&self.0).spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    attributes: span.attributes.iter().map(text).collect(),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn lock(spans: &Spans) -> MutexGuard<'_, Kept> {
    spans.lock().unwrap_or_else(PoisonError::into_inner)
}

fn value(attributes: &[KeyValue], key: &str) -> String {
    let prefix = format!("{key}=");
    let all = attributes.iter().map(text).collect::<Vec<_>>();
    all.iter().find_map(|pair| pair.strip_prefix(&prefix)).unwrap_or_default().to_owned()
}

fn text(pair: &KeyValue) -> String {
    let value = match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    format!("{}={value}", pair.key)
}
