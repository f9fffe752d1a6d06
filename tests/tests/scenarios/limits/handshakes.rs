//! Clients that connect and say nothing, or very little at a time.

use std::{net::SocketAddr, time::Duration};

use e2e::{Alone, bare_tls, eventually, metrics, wait::seen};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::Bystander;

const SILENT: usize = 600;
const SLOW: usize = 100;

#[tokio::test]
async fn silent_and_slow_clients_keep_nobody_out() {
    let alone = Alone::start("silent", &[]).await;
    let bystander = Bystander::new(&alone);
    bystander.calls("alone", 100).await;

    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(alone.address()).await.unwrap());
    }
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        slow.spawn(dribble(alone.address()));
    }
    bystander.calls("beside 600 silent and 100 slow clients", 100).await;
    let given_way = metrics::value(&alone.metrics().await, "tls_handshakes_total{outcome=\"given_way\"}");
    assert!(given_way.is_some_and(|count| count >= 400.0), "there is room for 256: {given_way:?}");

    for mut tcp in silent {
        let read = tokio::time::timeout(Duration::from_secs(30), tcp.read(&mut [0; 1])).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "a silent client was kept: {read:?}");
    }
    while let Some(ended) = slow.join_next().await {
        ended.unwrap();
    }
    bystander.memory_is_bounded("silent and slow clients");
}

/// Says hello byte by byte until it is hung up on.
async fn dribble(address: SocketAddr) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let hello = bare_tls::hello();
    for byte in hello.iter().cycle() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if tcp.write_all(&[*byte]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_client_that_is_silent_after_its_handshake_is_hung_up_on() {
    let alone = Alone::start("silent-after", &[("PULLPASS__SERVER__LIMITS__HANDSHAKE_SECONDS", "1")]).await;
    let caller = alone.caller("/platform/silent");
    let mut io = bare_tls::connect(&caller, alone.address()).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(30), io.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "a silent client was kept: {read:?}");
    eventually("it is told of", async || {
        let log = alone.log();
        seen(log.contains("connection refused in its handshake"), log)
    })
    .await;
}
