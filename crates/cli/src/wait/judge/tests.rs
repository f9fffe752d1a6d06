use pullpass_api::grant::v1::{SyncReason, SyncedVersion};

use super::*;

type Change = fn(&mut SyncStatus);

fn synced() -> SyncStatus {
    SyncStatus {
        name: "secretLinks/web".into(),
        cluster: "clusters/dev".into(),
        state: SyncState::Synced.into(),
        revision: 5,
        wanted: 2,
        synced: 2,
        versions: vec![SyncedVersion { credential: "credentials/quay".into(), version: 3 }],
        ..Default::default()
    }
}

fn goal() -> Goal {
    let target =
        Target { name: "secretLinks/web".into(), revision: 5, clusters: vec!["clusters/dev".into()] };
    Goal { targets: vec![target], versions: [("credentials/quay".to_owned(), 3)].into() }
}

fn judged(rows: &[SyncStatus]) -> &'static str {
    let status = WatchSyncStatusResponse { statuses: rows.to_vec(), ..Default::default() };
    match goal().judge(&status) {
        Verdict::Done => "done",
        Verdict::Waiting(_) => "waiting",
        Verdict::Failed(_) => "failed",
    }
}

#[test]
fn one_row_decides_by_revision_counts_state_and_versions() {
    let table: [(&str, &str, Change); 14] = [
        ("as it shall be", "done", |_| {}),
        ("a later revision", "done", |row| row.revision = 6),
        ("an earlier revision", "waiting", |row| row.revision = 4),
        ("not seen yet", "waiting", |row| {
            *row = SyncStatus { synced: 0, revision: 0, state: SyncState::Pending.into(), ..row.clone() }
        }),
        ("something pending", "waiting", |row| row.pending = 1),
        ("something to leave", "waiting", |row| row.leaving = 1),
        ("being deleted", "waiting", |row| row.state = SyncState::Deleting.into()),
        ("failed, but more is pending", "waiting", |row| (row.failed, row.pending) = (1, 1)),
        ("failed", "failed", |row| row.failed = 1),
        ("failed as a whole", "failed", |row| row.state = SyncState::Failed.into()),
        ("failed with an old version", "failed", |row| (row.failed, row.versions[0].version) = (1, 2)),
        ("an old version", "waiting", |row| row.versions[0].version = 2),
        ("a version not told", "waiting", |row| row.versions.clear()),
        ("no namespace matches", "done", |row| {
            *row = SyncStatus { wanted: 0, synced: 0, versions: vec![], ..row.clone() }
        }),
    ];
    for (what, verdict, change) in table {
        let mut row = synced();
        change(&mut row);
        assert_eq!(judged(&[row]), verdict, "{what}");
    }
}

#[test]
fn what_is_declared_must_be_reported() {
    assert_eq!(judged(&[]), "waiting");
    let elsewhere = SyncStatus { cluster: "clusters/prod".into(), ..synced() };
    assert_eq!(judged(&[elsewhere]), "waiting");
}

#[test]
fn others_that_are_reported_must_be_done_too() {
    let other = SyncStatus {
        name: "imageGrants/g".into(),
        state: SyncState::Deleting.into(),
        leaving: 1,
        ..synced()
    };
    assert_eq!(judged(&[synced(), other.clone()]), "waiting");
    let failed = SyncStatus { state: SyncState::Failed.into(), leaving: 0, failed: 1, ..other };
    assert_eq!(judged(&[synced(), failed.clone()]), "failed");
    let waiting = SyncStatus { cluster: "clusters/prod".into(), pending: 1, ..synced() };
    assert_eq!(
        judged(&[failed, synced(), waiting]),
        "waiting",
        "nothing has failed for good while something moves"
    );
}

#[test]
fn a_grant_has_no_versions() {
    let grant = SyncStatus { name: "imageGrants/g".into(), versions: vec![], ..synced() };
    assert_eq!(judged(&[synced(), grant]), "done");
}

#[test]
fn a_failure_tells_counts_and_reasons() {
    let reason = SyncReason {
        namespace: "team-a".into(),
        code: "NOT_OURS".into(),
        message: "there is another".into(),
    };
    let row = SyncStatus { synced: 1, failed: 1, reasons: vec![reason], ..synced() };
    let status = WatchSyncStatusResponse { statuses: vec![row], ..Default::default() };
    let expected =
        "secretLinks/web in dev: 1 of 2 namespaces done, 1 failed\n  team-a: there is another (NOT_OURS)";
    assert_eq!(goal().judge(&status), Verdict::Failed(vec![expected.to_owned()]));
    assert_eq!(unfinished(&goal(), &status), [expected]);
}

#[test]
fn the_progress_gives_a_reason_why_it_waits_and_not_what_is_remarkable_about_the_rest() {
    let reason =
        |code: &str| SyncReason { code: code.into(), message: "read this".into(), ..Default::default() };
    let note = SyncStatus { reasons: vec![reason("POD_BEFORE_LINK")], ..synced() };
    let waits = SyncStatus {
        name: "secretLinks/z".into(),
        state: SyncState::Pending.into(),
        pending: 1,
        reasons: vec![reason("NAMESPACE_NOT_FOUND")],
        ..synced()
    };
    let status = WatchSyncStatusResponse { statuses: vec![note, waits], ..Default::default() };
    let Verdict::Waiting(progress) = goal().judge(&status) else { panic!("it waits") };
    assert!(progress.ends_with("; NAMESPACE_NOT_FOUND: read this"), "{progress}");
}
