//! A database goes back to an older copy: its service notices that at start and is sealed; the right copy serves without
//! further ado, an operator may accept the older one, and no applier deletes anything because of it.

mod replicas;

use std::{fs, path::PathBuf, time::Duration};

use e2e::{
    Scenario,
    audit_log::Request,
    eventually,
    pullpass::{KEEPERS, Service},
    scenario::has_reason,
    wait::seen,
};
use pullpass_api::{
    applier::v1::GetSyncStatusRequest,
    credential::v1::{
        FetchPullSecretRequest, ListAuditEventsRequest, ListCredentialsRequest, WatchCredentialsRequest,
    },
    grant::v1::{IssueTicketRequest, ListClustersRequest, WatchDesiredStateRequest},
    recovery::v1::AcceptRollbackRequest,
};
use sqlx::{Connection as _, SqliteConnection};
use tonic::{Code, Status};

use crate::{audit::export_and_verify, trust::reason};

const PATIENCE: Duration = Duration::from_secs(10);
const ROLLED_BACK: &str = "DATABASE_ROLLED_BACK";

/// Stops both services that have a database, and gives the state of their databases another name or takes it back.
struct Copies<'a>(&'a Scenario);

impl Copies<'_> {
    async fn stop(&self) {
        for service in KEEPERS {
            let ended = self.0.pullpass.terminate(service, PATIENCE).await;
            assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
        }
    }

    /// A service that ended well has all in the one file.
    fn file(&self, service: Service, name: &str) -> PathBuf {
        self.0.pullpass.state().database(service).with_extension(name)
    }

    fn keep(&self, name: &str) {
        for service in KEEPERS {
            fs::copy(self.file(service, "db"), self.file(service, name)).expect("a copy");
        }
    }

    async fn bring_back(&self, name: &str) {
        self.stop().await;
        for service in KEEPERS {
            fs::copy(self.file(service, name), self.file(service, "db")).expect("a copy");
            self.0.pullpass.launch(service).expect("the service starts");
        }
    }
}

/// What each of many calls is answered by, as whoever may make it.
async fn answers(s: &Scenario) -> Vec<(&'static str, Result<(), Status>)> {
    let (admin, applier) = (s.pullpass.admin(), s.pullpass.applier());
    let mut store = s.pullpass.credential_store(&admin);
    let mut grants = s.pullpass.grant_manager(&admin);
    let mut store_of_applier = s.pullpass.credential_store(&applier);
    let mut grants_of_applier = s.pullpass.grant_manager(&applier);
    let fetch = FetchPullSecretRequest::default();
    let link = IssueTicketRequest { secret_link: "secretLinks/early".to_owned() };
    vec![
        ("ListCredentials", store.list_credentials(ListCredentialsRequest::default()).await.map(drop)),
        ("ListAuditEvents", store.list_audit_events(ListAuditEventsRequest::default()).await.map(drop)),
        ("FetchPullSecret", store_of_applier.fetch_pull_secret(fetch).await.map(drop)),
        (
            "WatchCredentials",
            store_of_applier.watch_credentials(WatchCredentialsRequest::default()).await.map(drop),
        ),
        ("ListClusters", grants.list_clusters(ListClustersRequest::default()).await.map(drop)),
        ("IssueTicket", grants_of_applier.issue_ticket(link).await.map(drop)),
        (
            "WatchDesiredState",
            grants_of_applier.watch_desired_state(WatchDesiredStateRequest::default()).await.map(drop),
        ),
    ]
}

async fn are_sealed(s: &Scenario) {
    for service in KEEPERS {
        s.pullpass.wait_until_sealed(service).await.expect("it says that it does not serve");
        let log = s.pullpass.log(service);
        let told: Vec<_> =
            log.lines().filter(|line| line.contains(ROLLED_BACK) && line.contains("ERROR")).collect();
        assert!(!told.is_empty() && told.iter().all(|line| line.contains("accept-rollback")), "{told:?}");
    }
    for (method, answer) in answers(s).await {
        let status = answer.expect_err(method);
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::FailedPrecondition, ROLLED_BACK),
            "{method}"
        );
        assert!(
            status.message().contains("it last wrote") && status.message().contains("--expect"),
            "{status:?}"
        );
    }
    let told = s.pullpass.cli(&["link", "list"]).await;
    assert!(told.code == 1 && told.stderr.contains("pullpass accept-rollback grant-manager"), "{told:#?}");
}

/// A world with a link that the older copies know, and one that only the newest know.
async fn scene() -> (Scenario, [String; 2]) {
    let s = Scenario::own("rollback", |_| {}).await;
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    let namespaces = [s.namespace("a").await, s.namespace("b").await];
    s.link("early", &credential, &namespaces[0], "pull").await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    let copies = Copies(&s);
    copies.stop().await;
    copies.keep("older");
    for service in KEEPERS {
        s.pullpass.launch_and_wait(service).await;
    }
    let late = s.credential("late", "quay.io", "robot", "second").await;
    s.link("late", &late, &namespaces[1], "pull").await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    (s, namespaces)
}

#[tokio::test]
async fn an_older_database_seals_its_service_until_it_is_replaced_or_accepted_and_nothing_is_deleted() {
    let (s, namespaces) = scene().await;
    let copies = Copies(&s);
    let before = s.cluster.versions(&namespaces).await;
    let log = s.plane.audit_log().from_now();
    copies.stop().await;
    copies.keep("newest");
    for service in KEEPERS {
        s.pullpass.launch(service).expect("the service starts");
        s.pullpass.wait_until_healthy(service).await.expect("the control: nothing happened");
    }

    copies.bring_back("older").await;
    are_sealed(&s).await;

    // The right database is back: everything serves without further ado.
    copies.bring_back("newest").await;
    for service in KEEPERS {
        s.pullpass.wait_until_healthy(service).await.expect("the right database serves");
    }
    s.pullpass.wait_until_followed().await.expect("the applier is back");
    s.pullpass.cli(&["status", "--wait"]).await.ok();

    // There is no other copy, and an operator accepts that, while the applier is not looking.
    copies.bring_back("older").await;
    are_sealed(&s).await;
    s.pullpass.signal(Service::ClusterApplier, "STOP");
    accept(&s).await;
    come_as_far_again(&s).await;
    s.pullpass.signal(Service::ClusterApplier, "CONT");
    late_is_held(&s).await;
    let now = s.cluster.versions(&namespaces).await;
    assert_eq!(now, before, "nothing is deleted, and nothing else happens to it");
    let writes = log.requests_of(&s.applier_user()).into_iter().filter(Request::is_write);
    let deletions: Vec<_> = writes.filter(|write| write.verb == "delete").collect();
    assert!(deletions.is_empty(), "{deletions:#?}");

    // Declared anew, it goes on; and the trails are whole, over the acceptance.
    let credential = s.credential("late", "quay.io", "robot", "third").await;
    s.link("late", &credential, &namespaces[1], "pull").await;
    s.becomes_synced("secretLinks/late").await;
    let (_, output) = export_and_verify(&s.pullpass, "accepted.jsonl", &[]).await;
    let chains = output.ok().json();
    let epochs = |chain: &serde_json::Value| chain["epochs"].as_array().map(Vec::len);
    assert_eq!(chains.as_array().expect("chains").iter().map(epochs).collect::<Vec<_>>(), [Some(2), Some(2)]);

    forged(&s, &copies).await;
}

/// As somebody who may, of what was looked at, and of nothing else.
async fn accept(s: &Scenario) {
    for service in KEEPERS {
        let name = service.binary_name();
        let portal = s.pullpass.state().issue("/platform/portal").expect("a certificate");
        let request = AcceptRollbackRequest { expect_revision: 1 };
        let denied = s.pullpass.recovery(&portal, service).accept_rollback(request).await;
        assert_eq!(denied.expect_err("not everybody's").code(), Code::PermissionDenied);
        let wrong = s.pullpass.cli(&["accept-rollback", name, "--expect", "999"]).await;
        assert!(wrong.code == 1 && wrong.stderr.contains("REVISION_UNEXPECTED"), "{wrong:#?}");
        s.pullpass.wait_until_sealed(service).await.expect("nothing was accepted");

        let sealed = wrong.stderr.split_whitespace().skip_while(|word| *word != "revision").nth(1);
        let found = sealed.expect("the revision found").trim_end_matches(',').to_owned();
        let accepted =
            s.pullpass.cli(&["accept-rollback", name, "--expect", &found, "-o", "json"]).await.ok().json();
        assert_eq!(accepted["reason"], ROLLED_BACK);
        assert_ne!(accepted["before"]["epoch"], accepted["now"]["epoch"]);
        s.pullpass.wait_until_healthy(service).await.expect("it serves without a restart");
        let again = s.pullpass.cli(&["accept-rollback", name, "--expect", &found]).await;
        assert!(again.code == 1 && again.stderr.contains("NOT_SEALED"), "{again:#?}");
    }
    let events = s.pullpass.cli(&["audit", "list", "-o", "json"]).await.ok().json();
    let events =
        events.as_array().expect("events").iter().filter(|event| event["action"] == "AcceptRollback");
    let who: Vec<_> =
        events.map(|event| event["principal"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(who, ["spiffe://pullpass.local/platform/admin"; 2]);
}

/// Until grant-manager is at a later revision than ever before.
async fn come_as_far_again(s: &Scenario) {
    for n in 0..4 {
        let create = ["grant", "create", &format!("more-{n}"), "--project", "nowhere", "--to-user", "alice"];
        s.pullpass.cli(&create).await.ok();
    }
}

async fn late_is_held(s: &Scenario) {
    let applier = s.pullpass.cluster_applier(&s.pullpass.admin());
    eventually("the deletions of the lost link are held", async || {
        let status = applier.clone().get_sync_status(GetSyncStatusRequest::default()).await;
        let statuses = status.map_err(|status| status.message().to_owned())?.into_inner().statuses;
        let held = statuses.iter().filter(|status| has_reason(status, "DELETIONS_HELD"));
        let held: Vec<_> = held.map(|status| status.name.as_str()).collect();
        seen(held == ["secretLinks/late"], &held)
    })
    .await;
}

/// Somebody who can write to the database edits an old event: the service cannot know, but the verification does.
async fn forged(s: &Scenario, copies: &Copies<'_>) {
    copies.stop().await;
    let file = copies.file(Service::GrantManager, "db");
    let mut database =
        SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.expect("it opens");
    let edit =
        "UPDATE audit_events SET principal = 'spiffe://pullpass.local/platform/nobody' WHERE sequence = 2";
    sqlx::query(edit).execute(&mut database).await.expect("it is edited");
    database.close().await.expect("it closes");
    for service in KEEPERS {
        s.pullpass.launch_and_wait(service).await;
    }
    let (_, output) = export_and_verify(&s.pullpass, "forged.jsonl", &[]).await;
    assert!(output.code == 1 && output.stdout.is_empty(), "{output:#?}");
    assert!(output.stderr.contains("event 2 of grant-manager was altered"), "{output:#?}");
}
