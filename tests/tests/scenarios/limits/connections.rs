//! More connections than there may be.

use std::time::{Duration, Instant};

use e2e::{Alone, eventually};
use pullpass_api::credential::v1::credential_store_client::CredentialStoreClient;
use pullpass_runtime::Connection;
use tonic::Code;

use super::{Bystander, list};

const PER_PRINCIPAL: usize = 64;

#[tokio::test]
async fn one_principal_cannot_take_all_connections() {
    let alone = Alone::start("greedy", &[]).await;
    let bystander = Bystander::new(&alone);
    let greedy = alone.caller("/platform/greedy");
    let mut held: Vec<CredentialStoreClient<Connection>> = Vec::new();
    let mut refused = 0;
    for number in 0..3 * PER_PRINCIPAL {
        let mut client = alone.client(&greedy);
        match list(&mut client).await {
            Ok(()) => held.push(client),
            Err(status) => {
                refused += 1;
                assert_eq!(status.code(), Code::ResourceExhausted, "connection {number}: {status:?}");
                let told = "/platform/greedy has 64 connections open and may not have more";
                assert!(status.message().contains(told), "{}", status.message());
            }
        }
    }
    assert_eq!((held.len(), refused), (PER_PRINCIPAL, 2 * PER_PRINCIPAL));
    bystander.calls("beside a principal with all its connections", 50).await;
    for client in &mut held {
        list(client).await.expect("those that are open go on");
    }
    drop(held);
    eventually("there is room again", async || {
        list(&mut alone.client(&greedy)).await.map_err(|status| status.message().to_owned())
    })
    .await;
    bystander.memory_is_bounded("too many connections of one principal");
}

#[tokio::test]
async fn when_all_connections_are_taken_the_next_waits_and_is_told() {
    let limits = [
        ("PULLPASS__SERVER__LIMITS__MAX_CONNECTIONS", "4"),
        ("PULLPASS__SERVER__LIMITS__MAX_CONNECTIONS_PER_PRINCIPAL", "2"),
        ("PULLPASS__SERVER__LIMITS__HANDSHAKE_SECONDS", "2"),
    ];
    let alone = Alone::start("full", &limits).await;
    let mut held = Vec::new();
    for path in ["/platform/one", "/platform/one", "/platform/two", "/platform/two"] {
        let mut client = alone.client(&alone.caller(path));
        eventually("a place", async || list(&mut client).await.map_err(|status| status.message().to_owned()))
            .await;
        held.push(client);
    }
    let began = Instant::now();
    let refusal = list(&mut alone.client(&alone.caller("/platform/three"))).await.expect_err("all are taken");
    assert!(refusal.message().contains("server.limits.max_connections"), "{refusal:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "it did not wait: {:?}", began.elapsed());
    let mut waiting = alone.client(&alone.caller("/platform/three"));
    let waiting = tokio::spawn(async move { list(&mut waiting).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(held.pop());
    waiting.await.unwrap().expect("the place that came free");
}
