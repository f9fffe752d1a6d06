use rustls::{HandshakeKind, SupportedProtocolVersion, version::TLS12};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{verify::plain, *};
use crate::testing::{Authority, CLIENT, Issued, Node, SERVER, write};

/// A client that shows whatever certificate it is given.
fn client(
    authority: &Authority,
    shown: Option<&Issued>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let trusted = certificates(Path::new("ca"), authority.pem().as_bytes()).unwrap();
    let roots = Arc::new(authorities(Path::new("ca"), trusted).unwrap());
    let verifier =
        Arc::new(verify::Server::new(&roots, &provider(), SERVER.parse().unwrap(), &Refused::default()));
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match shown {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = certificates(Path::new("crt"), issued.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// What each side makes of the other: the server's verdict and the client's.
async fn handshake(
    server: &Tls,
    client: &Arc<ClientConfig>,
) -> (Result<(), String>, Result<HandshakeKind, String>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let config = server.server_config(Clients::Certified, &Refused::default()).unwrap();
    let accepting = TlsAcceptor::from(Arc::new(config)).accept(far);
    let connecting = TlsConnector::from(Arc::clone(client)).connect("localhost".try_into().unwrap(), near);
    let (mut accepted, mut connected) = tokio::join!(accepting, connecting);
    if let (Ok(server), Ok(client)) = (&mut accepted, &mut connected) {
        // A session ticket would travel ahead of the first byte.
        server.write_all(b"!").await.unwrap();
        server.flush().await.unwrap();
        client.read_u8().await.unwrap();
    }
    let kind = connected.map(|io| io.get_ref().1.handshake_kind().unwrap()).map_err(|e| plain(e).to_string());
    (accepted.map(drop).map_err(|e| plain(e).to_string()), kind)
}

#[tokio::test]
async fn a_server_accepts_only_clients_with_one_valid_id_of_its_trust_domain() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let server = Node::new(&authority, SERVER).tls();
    let now = OffsetDateTime::now_utc();
    let (past, future) = (now - time::Duration::MINUTE, now + time::Duration::MINUTE);
    for (shown, expected) in [
        (Some(authority.issue(&[CLIENT])), None),
        (
            Some(authority.issue_between(&[CLIENT], future, future + time::Duration::DAY)),
            Some("not valid yet"),
        ),
        (None, Some("no certificates")),
        (Some(foreign.issue(&[CLIENT])), Some("BadSignature")),
        (Some(authority.issue_until(&[CLIENT], past)), Some("expired")),
        (
            Some(authority.issue(&["spiffe://example.com/applier/east"])),
            Some("not in the trust domain example.org"),
        ),
        (Some(authority.issue(&[])), Some("0 URI names")),
        (Some(authority.issue(&[CLIENT, SERVER])), Some("2 URI names")),
        (Some(authority.issue(&["https://example.org/applier"])), Some("must begin with spiffe://")),
    ] {
        let verdict = handshake(&server, &Arc::new(client(&authority, shown.as_ref(), &TLS13))).await.0;
        match expected {
            None => verdict.unwrap(),
            Some(reason) => {
                let refusal = verdict.expect_err(reason);
                assert!(refusal.contains(reason), "{refusal:?} does not say {reason:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_accepts_only_the_server_it_expects() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let us = Node::new(&authority, CLIENT).tls();
    let config =
        Arc::new(us.client_config(&us.current(), &SERVER.parse().unwrap(), &Refused::default()).unwrap());
    let past = OffsetDateTime::now_utc() - time::Duration::MINUTE;
    for (shown, expected) in [
        (authority.issue(&[SERVER]), None),
        (
            authority.issue(&["spiffe://example.org/other"]),
            Some("spiffe://example.org/other, not spiffe://example.org/server"),
        ),
        (foreign.issue(&[SERVER]), Some("BadSignature")),
        (authority.issue_until(&[SERVER], past), Some("expired")),
    ] {
        let node = Node::new(&authority, SERVER);
        node.renew(&shown);
        let verdict = handshake(&node.tls(), &config).await.1;
        match expected {
            None => drop(verdict.unwrap()),
            Some(reason) => {
                let refusal = verdict.expect_err(reason);
                assert!(refusal.contains(reason), "{refusal:?} does not say {reason:?}");
            }
        }
    }
}

#[tokio::test]
async fn older_tls_is_refused() {
    let authority = Authority::new();
    let server = Node::new(&authority, SERVER).tls();
    let old = client(&authority, Some(&authority.issue(&[CLIENT])), &TLS12);
    let refusal = handshake(&server, &Arc::new(old)).await.0.unwrap_err();
    assert!(refusal.contains("Tls12NotOfferedOrEnabled"), "{refusal}");
}

#[tokio::test]
async fn no_session_is_resumed() {
    let authority = Authority::new();
    let server = Node::new(&authority, SERVER).tls();
    let willing = Arc::new(client(&authority, Some(&authority.issue(&[CLIENT])), &TLS13));
    for _ in 0..2 {
        assert_eq!(handshake(&server, &willing).await.1.unwrap(), HandshakeKind::Full);
    }
}

#[test]
fn a_certificate_that_is_of_no_use_now_does_not_replace_one_that_is() {
    let authority = Authority::new();
    let node = Node::new(&authority, SERVER);
    let tls = node.tls();
    let before = tls.identity();
    let now = OffsetDateTime::now_utc();
    let (hour, day) = (time::Duration::HOUR, time::Duration::DAY);
    for (from, to, reason) in
        [(now - day, now - hour, "expired"), (now + hour, now + day, "not valid before")]
    {
        node.renew(&authority.issue_between(&[SERVER], from, to));
        let error = tls.reload().unwrap_err().to_string();
        for part in ["tls.crt", reason, SERVER] {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
        assert_eq!(tls.identity(), before);
    }
}

#[test]
fn what_is_wrong_for_a_moment_only_is_not_told_and_the_rest_once() {
    let mut complaint = Complaint::default();
    let rounds = ["a", "", "a", "a", "a", "b", "b", "", "b", "b"];
    let told =
        rounds.map(|now| complaint.news((!now.is_empty()).then(|| now.to_owned())).unwrap_or_default());
    assert_eq!(told, ["", "", "", "a", "", "", "b", "", "", "b"]);
}

#[test]
fn changed_files_are_taken_into_use_once() {
    let authority = Authority::new();
    let node = Node::new(&authority, SERVER);
    let tls = node.tls();
    let before = tls.identity();
    assert!(!tls.reload().unwrap());
    node.renew(&authority.issue(&[SERVER]));
    assert!(tls.reload().unwrap());
    assert!(!tls.reload().unwrap());
    assert_ne!(tls.identity().certificate_sha256, before.certificate_sha256);
}

#[test]
fn files_that_cannot_be_used_change_nothing() {
    let authority = Authority::new();
    let node = Node::new(&authority, SERVER);
    let tls = node.tls();
    let before = tls.identity();
    let (good, other) = (authority.issue(&[SERVER]), authority.issue(&[SERVER]));
    for (certificate, key, file) in [
        ("", good.key.as_str(), "tls.crt"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &good.key, "tls.crt"),
        (&good.certificate, "", "tls.key"),
        (&good.certificate, &other.key, "cannot be used together"),
        (&authority.issue(&[]).certificate, &good.key, "names no usable identity"),
    ] {
        write(&node.files.certificate, certificate);
        write(&node.files.key, key);
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains(file), "{error:?} does not name {file:?}");
        assert_eq!(tls.identity(), before);
    }
    node.renew(&good);
    assert!(tls.reload().unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_watch_notices_a_change_and_survives_a_broken_file() {
    let authority = Authority::new();
    let node = Node::new(&authority, SERVER);
    let (tls, shutdown) = (node.tls(), Shutdown::new(Duration::from_secs(1)));
    let before = tls.identity();
    tls.watch(&shutdown);
    write(&node.files.key, "broken");
    tokio::time::sleep(POLL * 2).await;
    assert_eq!(tls.identity(), before);
    node.renew(&authority.issue(&[SERVER]));
    tokio::time::sleep(POLL * 2).await;
    assert_ne!(tls.identity(), before);
    shutdown.finish().await.unwrap();
}
