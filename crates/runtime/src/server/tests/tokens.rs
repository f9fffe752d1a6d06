//! Calls that bring a token instead of a certificate.

use jsonwebtoken::Algorithm;
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;

use super::*;
use crate::{
    bearer::Bearer,
    client::connect_with_token,
    token::{
        IssuerConfig,
        tests::stand_in::{AUDIENCE, Pair},
    },
};

const ISSUER: &str = "https://issuer.example.org";
const DEPLOYER: &str = "spiffe://example.org/jwt/cluster-a/system/serviceaccount/ci/deployer";

/// A server that accepts the tokens of one issuer, and lets the service accounts of namespace `ci` call it.
struct Issued {
    scene: Scene,
    pair: Pair,
    folder: TempDir,
}

impl Issued {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let (pair, folder) = (Pair::new("a", Algorithm::ES256), tempfile::tempdir().unwrap());
        let keys = folder.path().join("keys.json");
        std::fs::write(&keys, json!({"keys": [pair.jwk()]}).to_string()).unwrap();
        let scene = Scene::with(BUDGET, |config| {
            config.issuers = vec![IssuerConfig {
                name: "cluster-a".into(),
                issuer: ISSUER.into(),
                audience: AUDIENCE.into(),
                jwks_uri: None,
                jwks_file: Some(keys),
                authorities: None,
            }];
            let accounts = "spiffe://example.org/jwt/cluster-a/system/serviceaccount/ci/*";
            config.roles[0].principals.push(accounts.parse().unwrap());
            change(config);
        });
        Self { scene, pair, folder }
    }

    /// A token that holds for so many seconds from now.
    fn token(&self, sub: &str, seconds: i64) -> String {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let claims =
            json!({"iss": ISSUER, "aud": AUDIENCE, "sub": sub, "iat": now - 60, "exp": now + seconds});
        self.pair.sign(&claims)
    }

    fn connect(&self, token: &str) -> Connection {
        let file = self.folder.path().join("token");
        std::fs::write(&file, token).unwrap();
        let bearer = Bearer::load(&self.scene.client.files.authorities, &file).unwrap();
        connect_with_token(&Arc::new(bearer), &self.scene.running.peer)
    }
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn a_token_is_as_good_as_a_certificate_but_has_no_thumbprint() {
    let issued = Issued::new();
    let token = issued.token("system:serviceaccount:ci:deployer", 60);
    let answer = call(&mut issued.connect(&token), "Look").await.unwrap();
    assert_eq!((header(&answer, "principal"), header(&answer, "thumbprint")), (DEPLOYER, "None"));
    assert_eq!(header(&answer, "authorization-seen"), "false", "no handler sees a token");
    let other = issued.token("system:serviceaccount:web:deployer", 60);
    let denied = call(&mut issued.connect(&other), "Look").await.unwrap_err();
    assert_eq!((denied.code(), reason(&denied).as_str()), (Code::PermissionDenied, "METHOD_NOT_ALLOWED"));
    let certified = call(&mut issued.scene.connect(), "Look").await.unwrap();
    assert_eq!(header(&certified, "principal"), CLIENT);
}

#[tokio::test]
async fn the_log_has_whom_a_token_names_and_not_the_token() {
    let log = record();
    let issued = Issued::new();
    let subject = "system:serviceaccount:ci:logged";
    let token = issued.token(subject, 60);
    call(&mut issued.connect(&token), "Look").await.unwrap();
    let named = "spiffe://example.org/jwt/cluster-a/system/serviceaccount/ci/logged";
    let written = async {
        while log.lines_with(named).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TOO_LONG, written).await.expect("a line with the principal");
    let signature = token.rsplit('.').next().unwrap();
    assert_eq!(log.lines_with(signature), [""; 0]);
}

#[tokio::test]
async fn those_without_a_certificate_share_the_room_of_their_address() {
    let issued = Issued::with(|config| {
        (config.limits.max_connections_per_principal, config.limits.max_streams_per_principal) = (1, 1);
    });
    let token = |name: &str| issued.token(&format!("system:serviceaccount:ci:{name}"), 60);
    let mut first = issued.connect(&token("deployer"));
    let _hanging = call(&mut first, "Hang").await.unwrap();
    let refused = call(&mut first, "Look").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_CALLS"));
    let refused = call(&mut issued.connect(&token("other")), "Look").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let told = "who has no certificate at 127.0.0.1 has 1 connections open and may not have more";
    assert!(refused.message().contains(told), "{}", refused.message());
    call(&mut issued.scene.connect(), "Look").await.expect("room for a certificate");
}

#[tokio::test]
async fn those_without_a_certificate_leave_half_of_the_room() {
    let issued = Issued::with(|config| config.limits.max_connections = 2);
    let token = issued.token("system:serviceaccount:ci:deployer", 60);
    let mut first = issued.connect(&token);
    call(&mut first, "Look").await.unwrap();
    let refused = call(&mut issued.connect(&token), "Look").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("half of the connections"), "{}", refused.message());
    call(&mut issued.scene.connect(), "Look").await.expect("room for a certificate");
}

#[tokio::test]
async fn a_new_token_in_the_file_is_used_by_the_next_call() {
    let issued = Issued::new();
    let mut connection = issued.connect(&issued.token("system:serviceaccount:ci:deployer", -60));
    let expired = call(&mut connection, "Look").await.unwrap_err();
    assert_eq!((expired.code(), reason(&expired).as_str()), (Code::Unauthenticated, "TOKEN_EXPIRED"));
    drop(issued.connect(&issued.token("system:serviceaccount:ci:deployer", 60)));
    call(&mut connection, "Look").await.unwrap();
}

#[tokio::test]
async fn without_certificate_and_token_even_health_is_closed() {
    let issued = Issued::new();
    let bearer = Bearer::load(&issued.scene.client.files.authorities, &{
        let file = issued.folder.path().join("token");
        std::fs::write(&file, "nonsense").unwrap();
        file
    });
    let mut bare = connect_with_token(&Arc::new(bearer.unwrap()), &issued.scene.running.peer);
    let refused = call(&mut bare, "Look").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "TOKEN_INVALID"));
    let health = HealthClient::new(bare).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!((health.code(), reason(&health).as_str()), (Code::Unauthenticated, "TOKEN_INVALID"));
}

#[tokio::test]
async fn a_call_says_in_one_way_who_makes_it() {
    let issued = Issued::new();
    let token = format!("Bearer {}", issued.token("system:serviceaccount:ci:deployer", 60));
    let request = http::Request::post("/test.Probe/Look")
        .header("content-type", "application/grpc")
        .header("authorization", &token)
        .body(tonic::body::Body::empty());
    let answer = tower::Service::call(&mut issued.scene.connect(), request.unwrap()).await.unwrap();
    let refused = tonic::Status::from_header_map(answer.headers()).unwrap();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "AMBIGUOUS_IDENTITY"));
}

#[tokio::test]
async fn a_bad_certificate_is_no_better_where_none_is_needed() {
    let issued = Issued::new();
    let foreign = Node::new(&Authority::new(), CLIENT);
    foreign.trust(&issued.scene.authority);
    let refused = call(&mut connect(&foreign.tls(), &issued.scene.running.peer), "Look").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("fatal alert"), "{}", refused.message());
}

#[tokio::test]
async fn no_certificate_can_claim_to_be_a_tokens_subject() {
    let issued = Issued::new();
    let client = Node::new(&issued.scene.authority, CLIENT);
    client.renew(&issued.scene.authority.issue(&[DEPLOYER]));
    let refused = Tls::load(&client.files).unwrap_err();
    assert!(format!("{:#}", anyhow::Error::from(refused)).contains("cannot be that of a certificate"));
    let id: crate::SpiffeId = DEPLOYER.parse().unwrap();
    assert_eq!(id.path().split('/').next(), Some(crate::identity::RESERVED));
}

#[tokio::test]
async fn a_server_without_issuers_accepts_no_connection_without_a_certificate() {
    let (with, without) = (Issued::new(), Scene::new());
    let file = with.folder.path().join("token");
    std::fs::write(&file, with.token("system:serviceaccount:ci:deployer", 60)).unwrap();
    let bearer = Arc::new(Bearer::load(&without.client.files.authorities, &file).unwrap());
    let refused = call(&mut connect_with_token(&bearer, &without.running.peer), "Look").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_it_was_opened_with() {
    let issued = Issued::new();
    // Tokens hold 30 s longer than they say.
    let token = issued.token("system:serviceaccount:ci:deployer", -28);
    let answer = call(&mut issued.connect(&token), "Hang").await.unwrap();
    let mut body = answer.into_body();
    let ended = std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx));
    let frame = timeout(TOO_LONG, ended).await.unwrap().unwrap().unwrap();
    let status = tonic::Status::from_header_map(frame.trailers_ref().unwrap()).unwrap();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_EXPIRED"));
}

#[tokio::test]
async fn no_call_with_a_token_fails_because_its_connection_is_being_ended() {
    let issued = Issued::with(|config| config.limits.idle_seconds = 0);
    let mut connection = issued.connect(&issued.token("system:serviceaccount:ci:deployer", 60));
    for number in 0..200 {
        let ended = call(&mut connection, "Look").await;
        assert!(ended.is_ok(), "call {number}: {ended:?}");
    }
}
