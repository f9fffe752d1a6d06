use std::{convert::Infallible, future::poll_fn};

use http::{HeaderMap, HeaderValue, Request, Response};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::service_fn;

use super::*;
use crate::{
    authorize::refusal,
    identity::{Certified, PeerIdentity},
    testing,
};

const SERVICE: &str = "test.Probe";

/// An answer whose one frame are these trailers.
struct Trailers(Option<HeaderMap>);

impl http_body::Body for Trailers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

fn trailers(code: &'static str) -> Response<Body> {
    let map = [("grpc-status".parse().unwrap(), HeaderValue::from_static(code))];
    Response::new(Body::new(Trailers(Some(map.into_iter().collect()))))
}

fn request(path: &str) -> Request<Body> {
    let mut request = Request::post(path).body(Body::empty()).unwrap();
    let spiffe_id = "spiffe://example.org/applier/east".parse().unwrap();
    let peer = PeerIdentity { spiffe_id, certificate_sha256: Some([0; 32]) };
    request.extensions_mut().insert(Certified(Some(peer)));
    request
}

async fn observe(path: &str, answer: fn() -> Response<Body>) -> Response<Body> {
    let mut layer =
        Observe::new(service_fn(move |_| async move { Ok::<_, Infallible>(answer()) }), &[SERVICE]);
    layer.call(request(path)).await.unwrap()
}

async fn read(answer: Response<Body>) {
    let mut body = answer.into_body();
    while poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await.is_some() {}
}

#[tokio::test]
async fn every_call_is_counted_once_by_the_code_that_it_ended_with() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _default = metrics::set_default_local_recorder(&recorder);
    read(observe("/test.Probe/Get", || trailers("0")).await).await;
    read(observe("/test.Probe/Get", || Status::not_found("no").into_http()).await).await;
    drop(observe("/test.Probe/Get", || trailers("0")).await);
    read(observe("/test.Probe/MadeUp1", || Status::unimplemented("").into_http()).await).await;
    read(observe("/test.Probe/MadeUp2", || refusal(Status::resource_exhausted(""), true)).await).await;
    read(observe("/made.Up/Get", || Status::permission_denied("").into_http()).await).await;
    let text = recorder.handle().render();
    for (service, method, code) in [
        (SERVICE, "Get", "Ok"),
        (SERVICE, "Get", "NotFound"),
        (SERVICE, "Get", "Cancelled"),
        (SERVICE, "other", "Unimplemented"),
        (SERVICE, "other", "ResourceExhausted"),
        ("other", "other", "PermissionDenied"),
    ] {
        let line = format!("{{service=\"{service}\",method=\"{method}\",code=\"{code}\"}} 1");
        assert!(text.contains(&format!("grpc_requests_total{line}")), "{line} is not in {text}");
        assert!(
            text.contains(&format!("grpc_request_duration_seconds_count{line}")),
            "{line} is not in {text}"
        );
    }
    assert!(!text.contains("MadeUp") && !text.contains("made.Up"), "{text}");
}

#[tokio::test]
async fn a_flood_does_not_fill_the_log() {
    let log = testing::record();
    read(observe("/test.Probe/Flood", || refusal(Status::resource_exhausted("slowly"), true)).await).await;
    read(observe("/test.Probe/Denied", || refusal(Status::permission_denied("no"), false)).await).await;
    assert_eq!((log.lines_with("Flood").len(), log.lines_with("Denied").len()), (0, 1));
}

#[tokio::test]
async fn a_call_is_one_log_line_with_caller_method_and_code() {
    let log = testing::record();
    read(observe("/test.Probe/Logged", || Status::not_found("no such thing").into_http()).await).await;
    let lines = log.lines_with("Logged");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "\"INFO\"",
        "\"message\":\"call ended\"",
        "\"grpc.code\":\"NotFound\"",
        "\"grpc.message\":\"no such thing\"",
        "\"principal\":\"spiffe://example.org/applier/east\"",
        "\"rpc.service\":\"test.Probe\"",
    ] {
        assert!(lines[0].contains(part), "{part} is not in {lines:?}");
    }
}
