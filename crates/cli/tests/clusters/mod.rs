//! What is asked of whole clusters: to sync, to delete what is held, to leave.

use pullpass_api::grant::v1::{ClusterLeave, LeaveClusterRequest, SyncReason, SyncState, SyncStatus};

use super::{
    fake::{Script, World},
    link, synced, told,
};

#[tokio::test]
async fn a_sync_tells_what_is_held_and_confirms_it_when_asked() {
    let world = World::start(Script { held_deletions: 60, ..Default::default() });
    let run = world.run("sync").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["dev", "7", "60", "0"]);
    assert!(
        run.stderr.contains("60 deletions") && run.stderr.contains("--cluster dev --confirm-deletions"),
        "{run:?}"
    );
    let run = world.run("sync --confirm-deletions -o json").await;
    let answers: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&answers[0]["cluster"], &answers[0]["confirmedDeletions"]), (&"dev".into(), &60.into()));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn whoever_waits_for_what_is_held_is_told_what_to_do() {
    let held = SyncReason {
        namespace: String::new(),
        code: "DELETIONS_HELD".into(),
        message: "60 of 60: run `pullpass sync --confirm-deletions`".into(),
    };
    let row = SyncStatus { state: SyncState::Deleting.into(), leaving: 60, reasons: vec![held], ..synced() };
    let statuses = vec![told(row)];
    let world =
        World::start(Script { statuses, links: vec![link()], deleted_is_found: 99, ..Default::default() });
    for line in ["status --wait --timeout 6s", "link delete web --wait --timeout 6s"] {
        let run = world.run(line).await;
        assert_eq!(run.code, Some(1), "{run:?}");
        let told = run.stderr.matches("pullpass sync --confirm-deletions").count();
        assert_eq!(told, 2, "while it waits, and at the end: {}", run.stderr);
    }
}

#[tokio::test]
async fn a_cluster_leaves_in_one_of_two_ways_and_can_be_waited_for() {
    let world = World::start(Script { links: vec![link()], deleted_is_found: 2, ..Default::default() });
    let run = world.run("cluster leave dev --keep-secrets --wait --timeout 20s").await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("leaving, objects stay"), "{run:?}");
    assert!(run.stderr.contains("secretLinks/web names no other cluster and is deleted"), "{run:?}");
    assert_eq!(world.script().deleted_is_found, 0);
    assert_eq!(world.run("cluster leave dev").await.code, Some(0));
    let ways: Vec<_> = world.script().left.iter().map(LeaveClusterRequest::leave).collect();
    assert_eq!(ways, [ClusterLeave::Keep, ClusterLeave::TakeBack]);
}
