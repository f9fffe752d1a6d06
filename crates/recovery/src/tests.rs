//! What a service does about its database's past, on real files.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pullpass_api::recovery::v1::{AcceptRollbackRequest, recovery_server::Recovery as Wire};
use pullpass_database::{AuditEntry, AuditEvent};
use pullpass_domain::audit::ACCEPT_ROLLBACK;
use pullpass_runtime::{ManualClock, PeerIdentity};
use tempfile::TempDir;
use time::OffsetDateTime;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::*;

const OPERATOR: &str = "spiffe://d/recovery/alice";

/// One database, and the files of one replica.
struct Scene {
    folder: TempDir,
    replica: &'static str,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: TempDir::new().unwrap(), replica: "one" };
        scene.write_key(7);
        scene
    }

    /// The key of bytes that are all this one.
    fn write_key(&self, byte: u8) {
        let file = self.path("audit.key");
        fs::write(&file, BASE64_STANDARD.encode([byte; 32])).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state_file(&self) -> PathBuf {
        self.path(&format!("{}.json", self.replica))
    }

    async fn open(&self) -> Recovery {
        let audit = AuditConfig { key: self.path("audit.key"), state_file: self.state_file() };
        let database = DatabaseConfig::sqlite(&self.path("test.db")).unwrap();
        let clock = ManualClock::new(OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000)).clock();
        Recovery::open("test", &audit, &database, &Migrator::with_migrations(vec![]), clock).await.unwrap()
    }

    /// As it stands after `changes` further changes and a stop.
    async fn grow(&self, changes: usize) {
        let recovery = self.open().await;
        assert!(recovery.0.gate.is_open(), "{:?}", recovery.discord());
        for _ in 0..changes {
            change(&recovery).await;
        }
        recovery.close().await;
    }

    fn keep(&self, name: &str) {
        fs::copy(self.path("test.db"), self.path(name)).unwrap();
    }

    fn bring_back(&self, name: &str) {
        fs::copy(self.path(name), self.path("test.db")).unwrap();
    }
}

async fn change(recovery: &Recovery) {
    let mut write = recovery.database().write().await.unwrap();
    write.change("thing", "a", false, None).await.unwrap();
    let entry = AuditEntry {
        time: OffsetDateTime::now_utc(),
        principal: "spiffe://d/platform/ci".into(),
        action: "Change".into(),
        resource: "things/a".into(),
        details: BTreeMap::new(),
    };
    write.audit(entry).await.unwrap();
    write.commit().await.unwrap();
}

async fn accept(recovery: &Recovery, expect_revision: i64) -> Result<String, Status> {
    let mut request = Request::new(AcceptRollbackRequest { expect_revision });
    let peer = PeerIdentity { spiffe_id: OPERATOR.parse().unwrap(), certificate_sha256: Some([0; 32]) };
    request.extensions_mut().insert(peer);
    Ok(recovery.accept_rollback(request).await?.into_inner().reason)
}

fn reason(recovery: &Recovery) -> Option<&'static str> {
    recovery.discord().as_ref().map(Discord::reason)
}

fn refusal(refused: Result<String, Status>) -> (Code, String) {
    let status = refused.unwrap_err();
    (status.code(), status.get_details_error_info().unwrap().reason)
}

async fn events(recovery: &Recovery) -> Vec<AuditEvent> {
    recovery.database().audit_events(0, 100).await.unwrap()
}

fn remembered(file: &Path) -> State {
    StateFile::new(file, "test").read().unwrap().unwrap()
}

#[tokio::test]
async fn a_first_start_serves_and_the_file_goes_with_the_database_from_then_on() {
    let scene = Scene::new();
    scene.grow(0).await;
    assert_eq!((remembered(&scene.state_file()).revision, remembered(&scene.state_file()).sequence), (0, 0));
    scene.grow(3).await;
    let state = remembered(&scene.state_file());
    let recovery = scene.open().await;
    assert_eq!(State::from(&recovery.database().read().await.unwrap().head().await.unwrap()), state);
    assert_eq!((state.revision, state.sequence), (3, 3));
}

#[tokio::test]
async fn an_older_copy_is_noticed_also_when_it_has_come_as_far_again() {
    let scene = Scene::new();
    scene.grow(2).await;
    scene.keep("older");
    let state = fs::read(scene.state_file()).unwrap();
    scene.grow(3).await;
    scene.keep("newest");

    scene.bring_back("older");
    let recovery = scene.open().await;
    assert_eq!(reason(&recovery), Some("DATABASE_ROLLED_BACK"));
    let seal = recovery.discord().clone().unwrap().seal("test", &scene.state_file());
    for part in ["revision 5, audit event 5", "revision 2, audit event 2", "accept-rollback test --expect 2"]
    {
        assert!(seal.message.contains(part), "{}", seal.message);
    }
    recovery.close().await;
    assert_eq!(remembered(&scene.state_file()).revision, 5, "a sealed service forgets nothing");

    // Somebody writes to it without us, until it is as far again.
    let newest = fs::read(scene.state_file()).unwrap();
    fs::write(scene.state_file(), state).unwrap();
    scene.grow(4).await;
    fs::write(scene.state_file(), &newest).unwrap();
    assert_eq!(reason(&scene.open().await), Some("DATABASE_ROLLED_BACK"), "another event 5");

    scene.bring_back("newest");
    scene.grow(1).await;
    assert_eq!(remembered(&scene.state_file()).revision, 6, "the right one serves without further ado");
}

#[tokio::test]
async fn a_database_with_a_past_that_nobody_remembers_is_not_believed_but_an_empty_or_an_upgraded_one_is() {
    let scene = Scene::new();
    scene.grow(0).await;
    fs::remove_file(scene.state_file()).unwrap();
    scene.grow(2).await;
    fs::remove_file(scene.state_file()).unwrap();
    let recovery = scene.open().await;
    assert_eq!(reason(&recovery), Some("STATE_FILE_MISSING"));
    assert!(!scene.state_file().exists());

    // The release before had no history, and no state file.
    let mut write = recovery.database().write().await.unwrap();
    sqlx::query("DELETE FROM history").execute(write.connection()).await.unwrap();
    write.commit().await.unwrap();
    recovery.close().await;
    scene.grow(1).await;
    assert_eq!(remembered(&scene.state_file()).revision, 3);
}

#[tokio::test]
async fn another_key_or_an_altered_last_event_is_noticed() {
    let scene = Scene::new();
    scene.grow(2).await;
    scene.write_key(8);
    assert_eq!(reason(&scene.open().await), Some("AUDIT_CHAIN_BROKEN"));
    scene.write_key(7);
    let recovery = scene.open().await;
    assert_eq!(reason(&recovery), None);
    let mut write = recovery.database().write().await.unwrap();
    let alter = sqlx::query("UPDATE audit_events SET principal = 'nobody' WHERE sequence = 2");
    alter.execute(write.connection()).await.unwrap();
    write.commit().await.unwrap();
    recovery.database().close().await;
    assert_eq!(reason(&scene.open().await), Some("AUDIT_CHAIN_BROKEN"));
}

#[tokio::test]
async fn an_operator_accepts_what_was_looked_at_and_that_is_told_in_the_trail() {
    let scene = Scene::new();
    scene.grow(2).await;
    scene.keep("older");
    scene.grow(3).await;
    let before = remembered(&scene.state_file());
    scene.bring_back("older");
    let recovery = scene.open().await;
    assert_eq!(refusal(accept(&recovery, 5).await), (Code::Aborted, "REVISION_UNEXPECTED".into()));
    assert!(!recovery.0.gate.is_open() && events(&recovery).await.len() == 2);

    assert_eq!(accept(&recovery, 2).await.unwrap(), "DATABASE_ROLLED_BACK");
    assert!(recovery.0.gate.is_open());
    assert_eq!(refusal(accept(&recovery, 2).await), (Code::FailedPrecondition, "NOT_SEALED".into()));
    let told = events(&recovery).await.pop().unwrap();
    assert_ne!(told.epoch, before.epoch);
    assert_eq!((told.entry.principal.as_str(), told.entry.action.as_str()), (OPERATOR, ACCEPT_ROLLBACK));
    for (key, value) in [
        ("reason", "DATABASE_ROLLED_BACK"),
        ("expected_epoch", &before.epoch),
        ("expected_mac", &before.mac),
        ("expected_revision", "5"),
        ("found_revision", "2"),
        ("lost_revisions", "3-5"),
        ("lost_events", "3-5"),
    ] {
        assert_eq!(told.entry.details[key], value, "{key}");
    }
    recovery.close().await;
    scene.grow(1).await;

    scene.bring_back("older");
    assert_eq!(
        reason(&scene.open().await),
        Some("DATABASE_ROLLED_BACK"),
        "the epoch before does not come back"
    );
}

#[tokio::test]
async fn another_replica_goes_with_an_accepted_epoch_and_with_no_other() {
    let scene = Scene::new();
    scene.grow(2).await;
    scene.keep("older");
    scene.grow(3).await;
    fs::copy(scene.state_file(), scene.path("two.json")).unwrap();
    scene.bring_back("older");
    let recovery = scene.open().await;
    accept(&recovery, 2).await.unwrap();
    recovery.close().await;
    let two = Scene { replica: "two", ..scene };
    two.grow(1).await;

    // The same, by somebody who can write to the database and has no key.
    two.keep("newest");
    two.bring_back("older");
    let recovery = two.open().await;
    let known = remembered(&two.state_file()).epoch;
    let mut write = recovery.database().write().await.unwrap();
    write.begin_epoch("forged").await.unwrap();
    let insert = "INSERT INTO audit_events (sequence, time, principal, action, resource, details, revision, epoch, mac) \
                  SELECT 3, time, principal, 'AcceptRollback', '', $1, 0, 'forged', mac FROM audit_events WHERE sequence = 2";
    let insert = sqlx::query(insert).bind(format!("{{\"found_epoch\":{known:?}}}"));
    insert.execute(write.connection()).await.unwrap();
    write.commit().await.unwrap();
    recovery.database().close().await;
    assert_eq!(reason(&two.open().await), Some("DATABASE_ROLLED_BACK"));
}

#[tokio::test]
async fn a_sealed_replica_goes_along_with_an_acceptance_unless_it_remembers_nothing() {
    let one = Scene::new();
    one.grow(2).await;
    one.keep("older");
    one.grow(3).await;
    fs::copy(one.state_file(), one.path("two.json")).unwrap();
    one.bring_back("older");
    let one_sealed = one.open().await;
    let two = Scene { replica: "two", ..one };
    let two_sealed = two.open().await;
    let three = Scene { replica: "three", ..two };
    let three_sealed = three.open().await;
    assert_eq!(reason(&two_sealed), Some("DATABASE_ROLLED_BACK"));
    assert_eq!(reason(&three_sealed), Some("STATE_FILE_MISSING"));
    two_sealed.follow_acceptance().await.unwrap();
    assert!(!two_sealed.0.gate.is_open(), "nobody has accepted anything");

    accept(&one_sealed, 2).await.unwrap();
    change(&one_sealed).await;
    assert_eq!(refusal(accept(&two_sealed, 3).await), (Code::FailedPrecondition, "NOT_SEALED".into()));
    assert!(two_sealed.0.gate.is_open());
    assert_eq!(remembered(&three.path("two.json")).revision, 3);
    let accepted =
        events(&one_sealed).await.into_iter().filter(|event| event.entry.action == ACCEPT_ROLLBACK);
    assert_eq!(accepted.count(), 1);
    three_sealed.follow_acceptance().await.unwrap();
    assert!(!three_sealed.0.gate.is_open(), "it cannot know what was accepted");
}

#[tokio::test]
async fn a_service_whose_database_goes_back_under_it_ends() {
    let scene = Scene::new();
    scene.grow(2).await;
    let recovery = scene.open().await;
    let shutdown = Shutdown::new(Duration::from_secs(5));
    recovery.keep(&shutdown);
    change(&recovery).await;
    let seen = async || {
        while remembered(&scene.state_file()).revision < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen()).await.expect("the file follows the database");
    let mut write = recovery.database().write().await.unwrap();
    for table in ["DELETE FROM changes WHERE revision = 3", "DELETE FROM audit_events WHERE sequence = 3"] {
        sqlx::query(table).execute(write.connection()).await.unwrap();
    }
    write.commit().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), shutdown.token().cancelled()).await;
    ended.expect("the service ends");
    let error = anyhow::Error::from(shutdown.finish().await.unwrap_err());
    assert!(format!("{error:#}").contains("went back"), "{error:#}");
    recovery.close().await;
    assert_eq!(remembered(&scene.state_file()).revision, 3, "what it knew stays known");
}
