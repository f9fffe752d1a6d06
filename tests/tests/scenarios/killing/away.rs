//! While grant-manager or credential-store is away nothing changes in the cluster, not even by a new applier.

use std::time::Duration;

use e2e::{
    Scenario,
    audit_log::{AuditLog, Request},
    cluster::{Ability, Subject},
    eventually,
    pullpass::Service,
    wait::seen,
};

/// What an applier could do wrong it does at once: it has everything, or never gets it.
const LOOK: Duration = Duration::from_secs(3);
/// An applier begins with a list for each of its watches.
const LISTS: usize = 7;

/// A user who is granted the pull while nobody was away, and one who gets it afterwards.
fn users(service: Service) -> [String; 2] {
    ["before", "after"].map(|when| format!("{}-{when}", service.binary_name()))
}

#[tokio::test]
async fn a_service_that_is_stopped_changes_nothing_in_the_cluster() {
    let s = Scenario::own("killing-away", |_| {}).await;
    s.cluster.create_image_role("system:image-puller").await;
    for service in [Service::GrantManager, Service::CredentialStore] {
        let name = s.credential(service.binary_name(), "quay.io", "robot", "first").await;
        let namespaces = served(&s, service, &name).await;
        let before = s.cluster.versions(&namespaces).await;
        let log = s.plane.audit_log().from_now();

        assert!(s.pullpass.terminate(service, LOOK).await.is_some_and(|status| status.success()));
        disturb(&s, &namespaces, "before").await;
        tokio::time::sleep(LOOK).await;
        nothing_changed(&s, service, &log, &namespaces, &before).await;

        s.pullpass.kill9(Service::ClusterApplier);
        s.pullpass.launch_and_wait(Service::ClusterApplier).await;
        eventually("the new applier knows the cluster", async || {
            let lists = log.requests_of(&s.applier_user()).iter().filter(|r| r.verb == "list").count();
            seen(lists >= LISTS, lists)
        })
        .await;
        disturb(&s, &namespaces, "after").await;
        tokio::time::sleep(LOOK).await;
        nothing_changed(&s, service, &log, &namespaces, &before).await;

        s.pullpass.launch_and_wait(service).await;
        a_change_goes_through(&s, service, &name, &namespaces).await;
        assert!(log.requests_of(&s.applier_user()).iter().any(Request::is_write));
    }
}

/// Three namespaces with a link, the first with a grant, too.
async fn served(s: &Scenario, service: Service, name: &str) -> [String; 3] {
    let mut namespaces = ["a", "b", "c"].map(|letter| format!("{}-{letter}", service.binary_name()));
    for namespace in &mut namespaces {
        *namespace = s.namespace(namespace).await;
        s.cluster.lists_become(namespace, "default", |lists| !lists.mount.is_empty()).await;
    }
    let [a, b, c] = &namespaces;
    let create = [
        "link",
        "create",
        name,
        "--credential",
        name,
        "--namespace",
        a,
        "--namespace",
        b,
        "--namespace",
        c,
        "--service-account",
        "default",
        "--for",
        "pull,mount",
    ];
    s.pullpass.cli(&create).await.ok();
    let [user, _] = users(service);
    s.pullpass.cli(&["grant", "create", &user, "--project", a, "--to-user", &user]).await.ok();
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    namespaces
}

/// Gives the applier a reason to look at the namespaces.
async fn disturb(s: &Scenario, namespaces: &[String], value: &str) {
    for namespace in namespaces {
        s.cluster.label_namespace(namespace, "disturbed", Some(value)).await;
    }
}

async fn nothing_changed(
    s: &Scenario,
    service: Service,
    log: &AuditLog,
    namespaces: &[String],
    before: &[(String, String)],
) {
    let name = service.binary_name();
    let requests = log.requests_of(&s.applier_user());
    let writes: Vec<_> = requests.iter().filter(|request| request.is_write()).collect();
    assert!(writes.is_empty(), "while {name} is away the applier writes: {writes:#?}");
    assert_eq!(s.cluster.versions(namespaces).await, before, "while {name} is away");
}

async fn a_change_goes_through(s: &Scenario, service: Service, name: &str, namespaces: &[String]) {
    let old = s.cluster.pull_secret(&namespaces[2], name).await;
    let rotate =
        ["credential", "rotate", name, "--server", "quay.io", "--username", "robot", "--password-stdin"];
    s.pullpass.cli_with("second", &rotate).await.ok();
    let [before, after] = users(service);
    s.pullpass.cli(&["grant", "create", &after, "--project", &namespaces[1], "--to-user", &after]).await.ok();
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    assert_ne!(s.cluster.pull_secret(&namespaces[2], name).await, old);
    for (user, project) in [(before, &namespaces[0]), (after, &namespaces[1])] {
        assert_eq!(s.cluster.ability(&Subject::User(user), project).await, Ability::PULL);
    }
}
