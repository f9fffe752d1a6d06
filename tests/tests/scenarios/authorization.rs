//! Who may call what: every method of every service, as every kind of caller, with the configurations that `deploy/` ships.

mod overload;
mod table;
mod tokens;
mod who;

use std::collections::BTreeSet;

use e2e::pullpass::Service;
use http::{Request, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use tonic::{Code, Status, body::Body};
use tower::ServiceExt as _;

use table::{METHODS, Who};
use who::{Callers, Shipped};

const HEALTH: &str = "grpc.health.v1.Health";
/// How it is told that a call gets to no handler.
const DENIED: [&str; 8] = [
    "METHOD_NOT_ALLOWED",
    "NO_IDENTITY",
    "AMBIGUOUS_IDENTITY",
    "TOKEN_INVALID",
    "TOKEN_EXPIRED",
    "TOKEN_ISSUER_UNKNOWN",
    "ISSUER_UNAVAILABLE",
    "RATE_LIMITED",
];

/// What the services serve, from the descriptors that they are generated from.
fn served(service: Service) -> BTreeSet<String> {
    let pool = prost_reflect::DescriptorPool::decode(pullpass_api::FILE_DESCRIPTOR_SET).expect("descriptors");
    let recovery = (service != Service::ClusterApplier).then_some(pullpass_api::service::RECOVERY);
    let own = [service.grpc_name()].into_iter().chain(recovery).flat_map(|name| {
        let described = pool.get_service_by_name(name).expect("the service is described");
        described.methods().map(|method| format!("{name}/{}", method.name())).collect::<Vec<_>>()
    });
    let health =
        prost_reflect::DescriptorPool::decode(tonic_health::pb::FILE_DESCRIPTOR_SET).expect("descriptors");
    let health = health.get_service_by_name(HEALTH).expect("it is described");
    let health = health.methods().map(|method| format!("{HEALTH}/{}", method.name()));
    let others =
        ["grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "pullpass.made.up.v1.Service/Method"];
    own.chain(health).chain(others.map(ToOwned::to_owned)).collect()
}

#[test]
fn every_method_has_a_row_in_the_table_and_every_row_is_a_method() {
    for service in Service::ALL {
        let rows = METHODS.iter().filter(|row| row.service.is_none_or(|own| own == service));
        let rows: BTreeSet<_> = rows.map(|row| row.method.to_owned()).collect();
        assert_eq!(
            rows,
            served(service),
            "tests/tests/scenarios/authorization/table.rs says who may call what"
        );
    }
}

#[tokio::test]
async fn whoever_the_table_does_not_name_is_denied() {
    let shipped = Shipped::start().await;
    let callers = Callers::new(&shipped);
    let (mut allowed, mut denied) = (0, 0);
    for service in Service::ALL {
        for row in METHODS.iter().filter(|row| row.service.is_none_or(|own| own == service)) {
            for who in Who::ALL {
                let answer = callers.call(&shipped, service, *who, row.method).await;
                let may = row.may.contains(who);
                judge(may, *who, answer, &format!("{who:?} calling {} of {service:?}", row.method));
                *(if may { &mut allowed } else { &mut denied }) += 1;
            }
        }
    }
    println!("{allowed} calls were let through to a handler, {denied} denied");
    assert!(allowed > 50 && denied > 500, "{allowed} {denied}");
}

/// An empty message is no good argument to most methods, so whoever is let through is often refused by the handler: with
/// another reason than those below.
fn judge(may: bool, who: Who, answer: Result<(), Status>, what: &str) {
    let status = answer.err().unwrap_or_else(|| Status::ok(""));
    let reason = crate::trust::reason(&status);
    let expected: &[(Code, &str)] = match who {
        Who::OtherTrustDomain | Who::OtherAuthority => &[(Code::Unavailable, "")],
        Who::Nobody => &[(Code::Unauthenticated, "NO_IDENTITY")],
        Who::ExpiredToken => &[(Code::Unauthenticated, "TOKEN_EXPIRED")],
        Who::ForeignToken => &[(Code::Unauthenticated, "TOKEN_ISSUER_UNKNOWN")],
        _ => &[(Code::PermissionDenied, "METHOD_NOT_ALLOWED")],
    };
    let denied = expected.contains(&(status.code(), reason.as_str()));
    assert_eq!(denied, !may, "{what}: {status:?}");
    assert!(!may || !DENIED.contains(&reason.as_str()), "{what}: {status:?}");
}

/// Calls `method` with an empty message, and reads the first thing that is answered.
pub(crate) async fn call_empty<C>(channel: C, method: &str, token: Option<&str>) -> Result<(), Status>
where
    C: tower::Service<Request<Body>, Response = http::Response<Body>>,
    C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let frame = bytes::Bytes::from_static(&[0; 5]);
    let mut request = Request::post(format!("https://peer/{method}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header("te", "trailers")
        .body(Body::new(http_body_util::Full::new(frame)))
        .expect("a request");
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", value);
    }
    let answer = channel.oneshot(request).await.map_err(|error| Status::from_error(error.into()))?;
    let ended = |status: Option<Status>| match status {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    };
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return ended(Some(status));
    }
    match answer.into_body().frame().await {
        Some(Ok(frame)) => ended(frame.trailers_ref().and_then(Status::from_header_map)),
        Some(Err(status)) => Err(status),
        None => Ok(()),
    }
}
