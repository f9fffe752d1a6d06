//! Logs on stderr, traces by OTLP, metrics for Prometheus; and the W3C trace context to hand on and take up.

use std::{collections::HashMap, io, net::SocketAddr, time::Duration};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};
use opentelemetry::{
    Context,
    propagation::TextMapPropagator,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, LevelFilter, ParseError, filter_fn},
    fmt,
    layer::SubscriberExt,
    registry::LookupSpan,
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{LogFormat, TelemetryConfig};

/// The header, and the name in the W3C specification, of the trace context.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// Libraries that log what they read and cannot make sense of: with their words a secret could get out. What matters of it
/// is told by whoever calls them.
const QUOTING: [&str; 2] = ["kube_client", "kube_runtime"];

/// How long the last traces may take to be sent.
const FLUSH: Duration = Duration::from_secs(2);

/// Upper bounds of the duration histograms, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log directive is not one.
    #[error("telemetry.log is {directive:?}, which is no log directive such as \"info\"")]
    Directive {
        /// The directive.
        directive: String,
        /// Why.
        source: ParseError,
    },
    /// Traces cannot be sent.
    #[error("failed to set up the export of traces to telemetry.otlp_endpoint {endpoint:?}")]
    Traces {
        /// Where to.
        endpoint: String,
        /// Why.
        source: ExporterBuildError,
    },
    /// Metrics cannot be served.
    #[error("failed to serve metrics on telemetry.metrics_listen {address}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: BuildError,
    },
    /// Telemetry was set up before.
    #[error("failed to set up logging")]
    Logging(#[from] TryInitError),
}

/// Keeps telemetry going. What is still buffered is sent when it is dropped: outside of async code, while the runtime
/// is alive.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Sets up telemetry for the whole process. Once, and inside a tokio runtime.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry, Error> {
    let traces = config.otlp_endpoint.as_deref().map(|endpoint| exporter(service, endpoint)).transpose()?;
    tracing_subscriber::registry()
        .with(log_layer(config)?)
        .with(traces.as_ref().map(|provider| trace_layer(service, provider)))
        .try_init()?;
    if let Some(address) = config.metrics_listen {
        PrometheusBuilder::new()
            .with_http_listener(address)
            .set_buckets(&BUCKETS)
            .and_then(PrometheusBuilder::install)
            .map_err(|source| Error::Metrics { address, source })?;
    }
    Ok(Telemetry { traces })
}

impl Telemetry {
    /// Sends what is still buffered; the same as dropping it.
    pub fn shutdown(self) {}
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let flushed = self.traces.as_ref().map(|traces| traces.shutdown_with_timeout(FLUSH));
        if let Some(Err(error)) = flushed {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

fn exporter(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|source| Error::Traces { endpoint: endpoint.to_owned(), source })?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// Spans and what is logged in them. Not below `info`, whatever is logged: a trace is the same in every deployment,
/// and the exporter's own connection must not trace itself.
pub(crate) fn trace_layer<S>(service: &'static str, provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(service))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(LevelFilter::INFO.and(filter_fn(does_not_quote)))
}

fn does_not_quote(metadata: &Metadata<'_>) -> bool {
    !QUOTING.iter().any(|library| metadata.target().starts_with(library))
}

/// A span without fields says how long something takes: that is for traces.
fn tells_something(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() || !metadata.fields().is_empty()
}

fn log_layer<S>(config: &TelemetryConfig) -> Result<Box<dyn Layer<S> + Send + Sync>, Error>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|source| Error::Directive { directive: config.log.clone(), source })?
        .and(filter_fn(does_not_quote))
        .and(filter_fn(tells_something));
    let layer = fmt::layer().with_writer(io::stderr);
    Ok(match config.log_format {
        LogFormat::Text => layer.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).with_filter(filter).boxed(),
    })
}

/// The W3C `traceparent` of the current span, to be stored with a change or sent along. None where nothing is traced.
pub fn trace_context() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span`, which has not been entered yet, a part of the trace that `traceparent` names. Nonsense is ignored.
pub fn continue_trace(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    if parent.span().span_context().is_valid() {
        // It fails only where nothing is traced.
        let _ = span.set_parent(parent);
    }
}
