//! What a watcher sees.

use std::time::Duration;

use futures::StreamExt;
use tonic::Code;
use wire::watch_credentials_response::Event;

use super::*;

type Stream = <Grpc as CredentialStore>::WatchCredentialsStream;

async fn watch(fixture: &Fixture, after_revision: i64) -> Result<Stream, Status> {
    watch_of(fixture, after_revision, "").await
}

/// As one who has seen this epoch.
async fn watch_of(fixture: &Fixture, after_revision: i64, epoch: &str) -> Result<Stream, Status> {
    let message = wire::WatchCredentialsRequest { after_revision, epoch: epoch.into() };
    Ok(fixture.grpc.watch_credentials(platform(message)).await?.into_inner())
}

/// The next message in short: its revision, and what it tells.
async fn next(stream: &mut Stream) -> (i64, String) {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
    let message = message.expect("a message in time").expect("the stream goes on").unwrap();
    let told = match message.event.unwrap() {
        Event::Changed(change) => format!("{}@{}", change.name, change.version),
        Event::Deleted(name) => format!("-{name}"),
        Event::SnapshotEnd(_) => "end".to_owned(),
    };
    (message.revision, told)
}

fn told(revision: i64, what: &str) -> (i64, String) {
    (revision, what.to_owned())
}

async fn is_quiet(stream: &mut Stream) -> bool {
    tokio::time::timeout(Duration::from_millis(50), stream.next()).await.is_err()
}

#[tokio::test]
async fn a_watcher_sees_a_snapshot_and_then_every_change_in_commit_order() {
    let fixture = Fixture::new().await;
    fixture.create("b", "pw").await;
    fixture.create("a", "pw").await;
    fixture.rotate("b", "pw").await;
    let mut stream = watch(&fixture, 0).await.unwrap();
    assert_eq!(next(&mut stream).await, told(0, "credentials/a@1"));
    assert_eq!(next(&mut stream).await, told(0, "credentials/b@2"));
    fixture.rotate("a", "pw").await;
    assert_eq!(next(&mut stream).await, told(3, "end"));
    assert_eq!(next(&mut stream).await, told(4, "credentials/a@2"));
    fixture.create("c", "pw").await;
    assert_eq!(next(&mut stream).await, told(5, "credentials/c@1"));
    delete(&fixture, "b", "").await.unwrap();
    assert_eq!(next(&mut stream).await, told(6, "-credentials/b"));
    assert!(is_quiet(&mut stream).await);
}

#[tokio::test]
async fn an_empty_snapshot_has_an_end_too() {
    let fixture = Fixture::new().await;
    let mut stream = watch(&fixture, 0).await.unwrap();
    assert_eq!(next(&mut stream).await, told(0, "end"));
    fixture.create("a", "pw").await;
    assert_eq!(next(&mut stream).await, told(1, "credentials/a@1"));
}

#[tokio::test]
async fn a_watch_resumes_after_the_revision_last_seen_also_after_a_restart() {
    let fixture = Fixture::new().await;
    fixture.create("a", "pw").await;
    fixture.create("b", "pw").await;
    fixture.rotate("a", "pw").await;
    let fixture = fixture.restarted().await;
    let mut stream = watch(&fixture, 1).await.unwrap();
    assert_eq!(next(&mut stream).await, told(2, "credentials/b@1"));
    assert_eq!(next(&mut stream).await, told(3, "credentials/a@2"));
    let mut current = watch(&fixture, 3).await.unwrap();
    assert!(is_quiet(&mut current).await);
    assert_refused(watch(&fixture, 4).await.map(drop), Code::OutOfRange, "REVISION_AHEAD");
    assert_refused(watch(&fixture, -1).await.map(drop), Code::InvalidArgument, "after_revision");
}

#[tokio::test]
async fn a_change_of_what_has_been_deleted_since_is_told_by_its_deletion() {
    let fixture = Fixture::new().await;
    fixture.create("a", "pw").await;
    fixture.create("b", "pw").await;
    fixture.rotate("b", "pw").await;
    delete(&fixture, "b", "").await.unwrap();
    fixture.create("b", "pw").await;
    delete(&fixture, "b", "").await.unwrap();
    let mut stream = watch(&fixture, 1).await.unwrap();
    assert_eq!(next(&mut stream).await, told(4, "-credentials/b"));
    assert_eq!(next(&mut stream).await, told(6, "-credentials/b"));
    assert!(is_quiet(&mut stream).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_between_snapshot_and_changes_while_others_write() {
    const EACH: i64 = 30;
    let fixture = std::sync::Arc::new(Fixture::new().await);
    fixture.create("a", "pw").await;
    let writer = {
        let fixture = fixture.clone();
        tokio::spawn(async move {
            for _ in 0..EACH {
                fixture.rotate("a", "pw").await;
            }
        })
    };
    let mut watchers = tokio::task::JoinSet::new();
    for delay in 0..8 {
        let fixture = fixture.clone();
        watchers.spawn(async move {
            tokio::time::sleep(Duration::from_millis(delay * 5)).await;
            let mut stream = watch(&fixture, 0).await.unwrap();
            assert!(next(&mut stream).await.1.starts_with("credentials/a@"));
            let (mut seen, _) = next(&mut stream).await;
            while seen < EACH + 1 {
                let (revision, what) = next(&mut stream).await;
                assert_eq!(revision, seen + 1);
                let version: i64 = what.strip_prefix("credentials/a@").unwrap().parse().unwrap();
                assert!(version >= revision, "a version is never told before it is committed, nor forgotten");
                seen = revision;
            }
        });
    }
    writer.await.unwrap();
    while let Some(watcher) = watchers.join_next().await {
        watcher.unwrap();
    }
}

#[tokio::test]
async fn a_watch_ends_with_the_shutdown() {
    let fixture = Fixture::new().await;
    let mut stream = watch(&fixture, 0).await.unwrap();
    assert_eq!(next(&mut stream).await, told(0, "end"));
    fixture.shutdown.begin();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn what_another_history_told_cannot_be_resumed_from_however_far_this_one_is() {
    let fixture = Fixture::new().await;
    fixture.create("a", "pw").await;
    let mut stream = watch(&fixture, 0).await.unwrap();
    next(&mut stream).await;
    let Some(Ok(message)) = stream.next().await else { panic!("no end") };
    let Some(Event::SnapshotEnd(end)) = message.event else { panic!("no end: {message:?}") };
    assert!(!end.epoch.is_empty() && watch_of(&fixture, 1, &end.epoch).await.is_ok());
    let other = watch_of(&fixture, 1, "another-epoch").await.map(drop);
    assert_refused(other, Code::OutOfRange, "EPOCH_CHANGED");
    assert!(watch_of(&fixture, 0, "another-epoch").await.is_ok(), "a snapshot is of any");
}
