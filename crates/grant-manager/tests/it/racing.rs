//! Many writers at once, watchers that are cut off all the time: nothing is lost, doubled or out of order.

use std::{collections::BTreeSet, sync::Arc};

use pullpass_api::grant::v1::watch_desired_state_response::Event;

use crate::scene::{Scene, Watch};

const WRITERS: usize = 6;
const LINKS: usize = 12;

/// Each writer creates links, every other one for the other cluster, and gives the revisions and names of ours.
async fn write(scene: Arc<Scene>, writer: usize) -> BTreeSet<(i64, String)> {
    let mut ours = BTreeSet::new();
    for i in 0..LINKS {
        let cluster = if (writer + i).is_multiple_of(2) { "east" } else { "west" };
        let link = scene.create_link(&format!("w{writer}-{i}"), &[cluster]).await.unwrap();
        if cluster == "east" {
            ours.insert((link.revision, link.name));
        }
    }
    ours
}

/// What one watcher has heard so far.
#[derive(Default)]
struct Heard {
    position: i64,
    snapshot: BTreeSet<String>,
    changes: BTreeSet<(i64, String)>,
}

impl Heard {
    /// Hears on from where it was, until the last revision, or for `patience` messages.
    async fn on(&mut self, watch: &mut Watch, last: i64, patience: usize) {
        for _ in 0..patience {
            if self.position >= last {
                return;
            }
            let message = watch.next().await.unwrap();
            match message.event {
                Some(Event::SecretLink(link)) if message.revision == 0 => {
                    assert!(self.snapshot.insert(link.name), "doubled in the snapshot");
                    continue;
                }
                Some(Event::SecretLink(link)) => {
                    assert_eq!(link.revision, message.revision);
                    assert!(self.changes.insert((message.revision, link.name)), "doubled");
                }
                Some(Event::SnapshotEnd(_)) | None => {}
                Some(other) => panic!("{other:?}"),
            }
            assert!(message.revision > self.position, "{} after {}", message.revision, self.position);
            self.position = message.revision;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_doubled_or_reordered_under_concurrent_writers() {
    let scene = Arc::new(Scene::with_clusters(&["east", "west"]).await);
    let last = 2 + i64::try_from(WRITERS * LINKS).unwrap();
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(scene.clone(), writer))).collect();
    let steady = tokio::spawn({
        let scene = scene.clone();
        async move {
            let mut heard = Heard::default();
            let mut watch = scene.watch("east", 0).await.unwrap();
            heard.on(&mut watch, last, usize::MAX).await;
            heard
        }
    });
    let cut = tokio::spawn({
        let scene = scene.clone();
        async move {
            let mut heard = Heard { position: 2, ..Heard::default() };
            while heard.position < last {
                let mut watch = scene.watch("east", heard.position).await.unwrap();
                heard.on(&mut watch, last, 3).await;
            }
            heard
        }
    });
    let mut written = BTreeSet::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    assert_eq!(cut.await.unwrap().changes, written);
    let steady = steady.await.unwrap();
    assert_eq!(steady.snapshot.len() + steady.changes.len(), written.len());
    let heard: BTreeSet<_> =
        steady.changes.into_iter().map(|(_, name)| name).chain(steady.snapshot).collect();
    assert_eq!(heard, written.into_iter().map(|(_, name)| name).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_link_that_comes_and_goes_ends_as_it_was_left_for_every_watcher() {
    let scene = Arc::new(Scene::with_clusters(&["east", "west"]).await);
    scene.create_link("web", &["east"]).await.unwrap();
    let last = 3 + 20;
    let flipper = tokio::spawn({
        let scene = scene.clone();
        async move {
            for i in 0..20 {
                scene.move_link("web", if i % 2 == 0 { &["west"] } else { &["east"] }).await;
            }
        }
    });
    let mut watchers = Vec::new();
    for _ in 0..8 {
        let scene = scene.clone();
        watchers.push(tokio::spawn(async move {
            let mut watch = scene.watch("east", 0).await.unwrap();
            let (names, mut position) = watch.snapshot().await;
            let mut there = !names.is_empty();
            while position < last {
                let (revision, what) = watch.tell().await;
                assert_eq!(revision, position + 1, "every one of these changes concerns us");
                (position, there) = (revision, what == "secretLinks/web");
            }
            there
        }));
    }
    flipper.await.unwrap();
    for watcher in watchers {
        assert!(watcher.await.unwrap());
    }
}
