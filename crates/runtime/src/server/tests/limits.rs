//! What one client can make the server hold.

use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic_types::StatusExt;

use super::*;

const WEST: &str = "spiffe://example.org/applier/west";

#[tokio::test]
async fn a_silent_client_is_dropped_and_holds_up_nobody() {
    let scene = Scene::with(BUDGET, |config| config.limits.handshake_seconds = 1);
    let mut silent = TcpStream::connect(&scene.running.peer.endpoint).await.unwrap();
    call(&mut scene.connect(), "Look").await.unwrap();
    let read = timeout(TOO_LONG, silent.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "the server said something to a client that said nothing");
}

#[tokio::test]
async fn connections_over_the_maximum_wait_for_room() {
    let scene = Scene::with(BUDGET, |config| config.limits.max_connections = 1);
    let mut first = scene.connect();
    call(&mut first, "Look").await.unwrap();
    let mut second = scene.connect();
    let mut waiting = tokio::spawn(async move { call(&mut second, "Look").await.map(drop) });
    let early = timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "there was room for a second connection");
    drop(first);
    timeout(TOO_LONG, waiting).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_full_lobby_gives_the_place_of_the_slowest_to_the_newest() {
    let scene = Scene::with(BUDGET, |config| {
        (config.limits.max_handshakes, config.limits.handshake_seconds) = (2, 600);
    });
    let connect = async || TcpStream::connect(&scene.running.peer.endpoint).await.unwrap();
    let mut silent = [connect().await, connect().await, connect().await];
    call(&mut scene.connect(), "Look").await.unwrap();
    for (number, ended) in [(0, true), (1, true), (2, false)] {
        let read = timeout(Duration::from_millis(200), silent[number].read(&mut [0; 1])).await;
        assert_eq!(read.is_ok(), ended, "the silent client {number}");
    }
}

#[tokio::test]
async fn a_client_that_stops_after_its_handshake_is_dropped() {
    let scene = Scene::with(BUDGET, |config| {
        (config.limits.max_connections, config.limits.handshake_seconds) = (1, 1);
    });
    let tls = scene.client.tls();
    let refused = crate::tls::Refused::default();
    let config = tls.client_config(&tls.current(), &SERVER.parse().unwrap(), &refused).unwrap();
    let tcp = TcpStream::connect(&scene.running.peer.endpoint).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut silent = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    call(&mut scene.connect(), "Look").await.unwrap();
    let read = timeout(TOO_LONG, silent.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "the server said something to a client that said nothing");
}

#[tokio::test]
async fn a_principal_with_too_many_connections_is_told_so_and_others_are_not_hindered() {
    let scene = Scene::with(BUDGET, |config| config.limits.max_connections_per_principal = 2);
    let mut held = [scene.connect(), scene.connect()];
    for connection in &mut held {
        call(connection, "Look").await.unwrap();
    }
    let refusal = call(&mut scene.connect(), "Look").await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    let told = "spiffe://example.org/applier/east has 2 connections open and may not have more";
    assert!(refusal.message().contains(told), "{}", refusal.message());
    let other = call(&mut scene.connect_as(WEST), "Look").await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied, "it gets as far as it may");
    drop(held);
    let again = async {
        while call(&mut scene.connect(), "Look").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TOO_LONG, again).await.expect("room once the others are closed");
}

#[tokio::test]
async fn a_principal_with_too_many_calls_is_told_when_to_come_back() {
    let scene = Scene::with(BUDGET, |config| config.limits.max_streams_per_principal = 2);
    let (mut one, mut other) = (scene.connect(), scene.connect());
    let (first, _second) = (call(&mut one, "Hang").await.unwrap(), call(&mut other, "Hang").await.unwrap());
    let refusal = call(&mut one, "Look").await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert!(refusal.get_details_retry_info().unwrap().retry_delay.is_some());
    drop(first);
    let again = async {
        while call(&mut one, "Look").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TOO_LONG, again).await.expect("room once the other call has ended");
}

#[tokio::test]
async fn more_calls_than_a_connection_may_carry_wait() {
    let scene = Scene::with(BUDGET, |config| config.limits.max_streams_per_connection = 1);
    let mut connection = scene.connect();
    let first = call(&mut connection, "Hang").await.unwrap();
    let mut waiting = tokio::spawn(async move { call(&mut connection, "Look").await.map(drop) });
    let early = timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "there was room for a second call");
    drop(first);
    timeout(TOO_LONG, waiting).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_ended_but_not_one_with_a_call() {
    let scene = Scene::with(BUDGET, |config| {
        (config.limits.max_connections, config.limits.idle_seconds) = (1, 1);
    });
    let mut busy = scene.connect();
    let hanging = call(&mut busy, "Hang").await.unwrap();
    let mut other = scene.connect();
    let mut waiting = tokio::spawn(async move { call(&mut other, "Look").await.map(drop) });
    assert!(timeout(Duration::from_secs(2), &mut waiting).await.is_err(), "a busy connection was ended");
    drop(hanging);
    timeout(TOO_LONG, waiting).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn no_call_fails_because_its_connection_is_being_ended() {
    let scene = Scene::with(BUDGET, |config| config.limits.idle_seconds = 0);
    let mut connection = scene.connect();
    for number in 0..500 {
        let ended = call(&mut connection, "Look").await;
        assert!(ended.is_ok(), "call {number}: {ended:?}");
    }
}
