//! How long connections live whose certificates were replaced, have ended, or come from an authority that was taken out.

use time::OffsetDateTime;
use tonic_types::StatusExt;

use super::*;

#[tokio::test]
async fn an_old_connection_lives_on_and_a_new_one_has_the_new_certificate() {
    let scene = Scene::new();
    let mut old = scene.connect();
    let before = call(&mut old, "Look").await.unwrap();

    let next = Authority::new();
    scene.server.trust_all(&[&scene.authority, &next]);
    assert!(scene.server_tls.reload().unwrap());
    scene.client.renew(&next.issue(&[CLIENT]));
    let new = call(&mut scene.connect(), "Look").await.unwrap();
    assert_ne!(header(&new, "thumbprint"), header(&before, "thumbprint"));

    let after = call(&mut old, "Look").await.unwrap();
    assert_eq!(header(&after, "thumbprint"), header(&before, "thumbprint"));
}

#[tokio::test]
async fn calls_go_by_the_new_certificate_as_soon_as_the_client_has_read_it() {
    let scene = Scene::new();
    let tls = scene.client.tls();
    let mut connection = connect(&tls, &scene.running.peer);
    let hanging = call(&mut connection, "Hang").await.unwrap();
    let before = call(&mut connection, "Look").await.unwrap();
    scene.client.renew(&scene.authority.issue(&[CLIENT]));
    assert!(tls.reload().unwrap());
    let after = call(&mut connection, "Look").await.unwrap();
    assert_ne!(header(&after, "thumbprint"), header(&before, "thumbprint"));
    let early = timeout(Duration::from_millis(200), end_of(hanging)).await;
    assert!(early.is_err(), "a stream that was open was ended");
}

#[tokio::test]
async fn an_authority_that_is_taken_out_is_refused_and_its_connections_end() {
    let scene = Scene::new();
    let mut old = scene.connect();
    let hanging = call(&mut old, "Hang").await.unwrap();

    let next = Authority::new();
    scene.server.trust(&next);
    assert!(scene.server_tls.reload().unwrap());
    let ended = end_of(hanging).await;
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(ended.get_details_error_info().expect("a reason").reason, "CONNECTION_ENDS", "{ended:?}");
    assert_eq!(call(&mut old, "Look").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(call(&mut scene.connect(), "Look").await.unwrap_err().code(), Code::Unavailable);

    scene.client.renew(&next.issue(&[CLIENT]));
    call(&mut scene.connect(), "Look").await.unwrap();
}

#[tokio::test]
async fn a_server_whose_authority_is_taken_out_is_given_up() {
    let scene = Scene::new();
    let tls = scene.client.tls();
    let mut connection = connect(&tls, &scene.running.peer);
    let hanging = call(&mut connection, "Hang").await.unwrap();
    scene.client.trust(&Authority::new());
    assert!(tls.reload().unwrap());
    let ended = end_of(hanging).await;
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(ended.message().contains("the certificate: spiffe://example.org/server"), "{ended:?}");
    let refusal = call(&mut connection, "Look").await.unwrap_err();
    assert!(refusal.message().contains("the certificate: spiffe://example.org/server"), "{refusal:?}");
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_its_client() {
    let scene = Scene::new();
    let soon = OffsetDateTime::now_utc() + time::Duration::seconds(2);
    scene.client.renew(&scene.authority.issue_until(&[CLIENT], soon));
    let mut connection = scene.connect();
    let hanging = call(&mut connection, "Hang").await.unwrap();
    let ended = end_of(hanging).await;
    assert!(OffsetDateTime::now_utc() > soon.replace_nanosecond(0).unwrap(), "ended before its time");
    assert_eq!(ended.get_details_error_info().expect("a reason").reason, "CONNECTION_ENDS", "{ended:?}");
    let refusal = call(&mut connection, "Look").await.unwrap_err();
    for part in ["tls.crt expired", "spiffe://example.org/applier/east"] {
        assert!(refusal.message().contains(part), "{:?} does not say {part:?}", refusal.message());
    }
}

#[tokio::test]
async fn a_server_with_an_unusable_certificate_is_refused_by_its_name_and_time() {
    let scene = Scene::new();
    let now = OffsetDateTime::now_utc();
    let (hour, day) = (time::Duration::HOUR, time::Duration::DAY);
    for (from, to, reason) in [(now - day, now - hour, "expired"), (now + hour, now + day, "not valid yet")] {
        let server = Node::new(&scene.authority, SERVER);
        server.renew(&scene.authority.issue_between(&[SERVER], from, to));
        let running = Running::start(&server_config(&server), &server.tls(), BUDGET, vec![]);
        let refusal = call(&mut connect(&scene.client.tls(), &running.peer), "Look").await.unwrap_err();
        for part in [reason, "spiffe://example.org/server, serial", &to.date().to_string()] {
            assert!(refusal.message().contains(part), "{:?} does not say {part:?}", refusal.message());
        }
    }
}
