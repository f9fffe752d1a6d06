use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use pullpass_database::Reader;
use tokio::time::timeout;

use super::*;
use crate::testing::Fixture;

fn name(id: &str) -> CredentialName {
    CredentialName::from_id(id).unwrap()
}

fn found(newest: &[Newest], id: &str) -> Option<i64> {
    newest.iter().find(|newest| newest.name == name(id)).map(|newest| newest.version)
}

async fn lookup() -> (Fixture, Arc<Lookup>) {
    let fixture = Fixture::new().await;
    fixture.create("a", "pw").await;
    fixture.create("b", "pw").await;
    fixture.rotate("b", "new").await;
    let lookup = Lookup::new(fixture.grpc.credentials.database.clone());
    (fixture, Arc::new(lookup))
}

#[tokio::test]
async fn all_who_ask_at_the_same_time_get_what_they_asked_for() {
    let (_fixture, lookup) = lookup().await;
    let held = lookup.queue.lock().await;
    let ask = |n: usize| {
        let (lookup, id) = (Arc::clone(&lookup), ["a", "b", "missing"][n % 3]);
        tokio::spawn(async move { (id, lookup.newest(&[name(id)]).await.unwrap()) })
    };
    // More than are answered together.
    let asking: Vec<_> = (0..TOGETHER * 2 + 5).map(ask).collect();
    tokio::task::yield_now().await;
    drop(held);
    let mut answers = Vec::new();
    for asked in asking {
        let (id, newest) = asked.await.unwrap();
        let expected = [("a", Some(1)), ("b", Some(2)), ("missing", None)];
        assert!(expected.contains(&(id, found(&newest, id))), "{id}: {newest:?}");
        answers.push(newest);
    }
    answers.dedup_by(|one, other| Arc::ptr_eq(one, other));
    assert_eq!(answers.len(), 3, "so many statements have answered them");
}

#[tokio::test]
async fn whoever_gives_up_while_it_asks_for_all_leaves_nobody_without_an_answer() {
    let (_fixture, lookup) = lookup().await;
    let (a, b) = ([name("a")], [name("b")]);
    let mut first = Box::pin(lookup.newest(&a));
    let mut second = Box::pin(lookup.newest(&b));
    let held = lookup.queue.lock().await;
    poll_once(first.as_mut()).await;
    poll_once(second.as_mut()).await;
    drop(held);
    let busy = all_readers(&lookup.database).await;
    // It has taken both questions and waits for the database.
    poll_once(first.as_mut()).await;
    drop(first);
    drop(busy);
    assert_eq!(found(&second.await.unwrap(), "b"), Some(2));
}

/// Until somebody lets go of one, nobody can read.
async fn all_readers(database: &Database) -> Vec<Reader> {
    let mut readers = Vec::new();
    while let Ok(reader) = timeout(Duration::from_millis(100), database.reader()).await {
        readers.push(reader.unwrap());
    }
    readers
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) {
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}
