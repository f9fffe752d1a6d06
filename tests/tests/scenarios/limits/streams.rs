//! More calls than there may be, and headers that are too large.

use std::time::{Duration, Instant};

use e2e::{Alone, eventually, wait::seen};
use pullpass_api::credential::v1::{ListCredentialsRequest, WatchCredentialsRequest};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{Bystander, list};

const PER_CONNECTION: usize = 256;
const PER_PRINCIPAL: usize = 1024;

#[tokio::test]
async fn one_principal_cannot_open_streams_without_end() {
    let alone = Alone::start("streams", &[]).await;
    let bystander = Bystander::new(&alone);
    let greedy = alone.caller("/platform/greedy");
    let began = Instant::now();
    let mut held = Vec::new();
    for _ in 0..PER_PRINCIPAL / PER_CONNECTION {
        let client = alone.client(&greedy);
        for _ in 0..PER_CONNECTION {
            let watch = client.clone().watch_credentials(WatchCredentialsRequest::default()).await;
            held.push(watch.expect("room").into_inner());
        }
    }
    println!("{} streams opened in {:?}", held.len(), began.elapsed());
    let refusal = list(&mut alone.client(&greedy)).await.expect_err("too many");
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
    assert!(refusal.message().contains("server.limits.max_streams_per_principal"), "{refusal:?}");
    assert!(refusal.get_details_retry_info().is_some_and(|retry| retry.retry_delay.is_some()), "{refusal:?}");
    bystander.calls("beside a principal with all its streams", 50).await;
    drop(held);
    eventually("there is room again", async || {
        list(&mut alone.client(&greedy)).await.map_err(|status| status.message().to_owned())
    })
    .await;
    bystander.memory_is_bounded("too many streams");
}

#[tokio::test]
async fn a_connection_carries_so_many_calls_and_no_more() {
    let alone = Alone::start("connection-streams", &[]).await;
    let client = alone.client(&alone.caller("/platform/one"));
    let mut held = Vec::new();
    for _ in 0..PER_CONNECTION {
        held.push(client.clone().watch_credentials(WatchCredentialsRequest::default()).await.expect("room"));
    }
    let mut next = client.clone();
    let mut waiting = tokio::spawn(async move { list(&mut next).await });
    assert!(
        tokio::time::timeout(Duration::from_secs(1), &mut waiting).await.is_err(),
        "one more was carried"
    );
    drop(held.pop());
    waiting.await.unwrap().expect("once one has ended");
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused_and_the_connection_goes_on() {
    let alone = Alone::start("headers", &[]).await;
    let mut client = alone.client(&alone.caller("/platform/one"));
    list(&mut client).await.expect("a connection");
    let mut request = tonic::Request::new(ListCredentialsRequest::default());
    request.metadata_mut().insert("x-much", "x".repeat(20 * 1024).parse().unwrap());
    let refusal = client.list_credentials(request).await.expect_err("more than 16 KiB");
    println!("{refusal:?}");
    eventually("the next call is served", async || {
        let next = list(&mut client).await;
        seen(next.is_ok(), next)
    })
    .await;
}
