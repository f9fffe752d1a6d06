//! One credential-store and one grant-manager for two clusters: each gets exactly its own, and an applier nothing of the
//! other's.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{
    Applier, Cluster, ControlPlane, Differences, Scenario, WorkFolder, applier_access,
    cluster::{Ability, Subject},
    eventually,
    wait::seen,
};
use k8s_openapi::api::{core::v1::Secret, rbac::v1::RoleBinding};
use kube::ResourceExt as _;
use pullpass_api::{
    credential::v1::FetchPullSecretRequest,
    grant::v1::{
        GetSecretLinkRequest, IssueTicketRequest, UpdateSecretLinkRequest, WatchDesiredStateRequest,
        watch_desired_state_response::Event,
    },
};
use pullpass_runtime::config::TlsConfig;
use tonic::{Code, Status};

use crate::trust::reason;

/// A namespace, and a project of images, in both clusters.
const APP: &str = "app";
const EAST: &[&str] = &["--cluster", "east"];
const WEST: &[&str] = &["--cluster", "west"];
const BOTH: &[&str] = &["--cluster", "east", "--cluster", "west"];
/// The links and grants, by the clusters that they name.
const DECLARED: [(&str, &[&str]); 3] = [("only-east", EAST), ("only-west", WEST), ("both", BOTH)];

/// The second cluster and its applier.
struct West {
    cluster: Cluster,
    tls: TlsConfig,
    _applier: Applier,
    _plane: ControlPlane,
    _folder: WorkFolder,
}

impl West {
    async fn start(s: &Scenario) -> Self {
        let folder = WorkFolder::new("clusters-west").expect("a folder");
        let kubernetes = folder.folder("kubernetes").expect("a folder");
        let plane = ControlPlane::start(&kubernetes).await.expect("the control plane starts");
        let kubeconfig = applier_access::grant(&plane).await.expect("the applier's access");
        let tls = s.pullpass.state().issue("/applier/west").expect("a certificate");
        let identity = format!("spiffe://{}/applier/west", pullpass::dev::TRUST_DOMAIN);
        s.pullpass.cli(&["cluster", "create", "west", "--applier-identity", &identity]).await.ok();
        let differences = Differences {
            name: "west".to_owned(),
            kubeconfig,
            tls: tls.clone(),
            lease_seconds: None,
            in_flight: None,
        };
        let applier = Applier::start(&s.pullpass, &differences).expect("the applier starts");
        let cluster = plane.cluster().await.expect("the cluster is there");
        Self { cluster, tls, _applier: applier, _plane: plane, _folder: folder }
    }
}

#[tokio::test]
async fn each_of_two_clusters_gets_exactly_its_own() {
    let s = Scenario::own("clusters", |options| "east".clone_into(&mut options.cluster)).await;
    let west = West::start(&s).await;
    for cluster in [&s.cluster, &west.cluster] {
        cluster.create_namespace(APP, &[]).await;
        cluster.create_image_role("system:image-puller").await;
    }
    let credential = s.credential("quay", "quay.io", "robot", "first").await;
    declare(&s, &credential).await;
    holds(&s.cluster, ["both", "only-east"], "first").await;
    holds(&west.cluster, ["both", "only-west"], "first").await;

    let rotate = ["credential", "rotate", &credential, "--server", "quay.io", "--username", "robot"];
    s.pullpass.cli_with("second", &[&rotate[..], &["--password-stdin"]].concat()).await.ok();
    s.pullpass.cli(&["status", "--wait", "--timeout", "60s"]).await.ok();
    holds(&s.cluster, ["both", "only-east"], "second").await;
    holds(&west.cluster, ["both", "only-west"], "second").await;

    let east = s.pullpass.applier();
    is_told_only_of(&s, &east, ["both", "only-east"]).await;
    is_told_only_of(&s, &west.tls, ["both", "only-west"]).await;
    gets_nothing_of_the_other(&s, &east, "only-east", (&west.tls, "only-west")).await;
    gets_nothing_of_the_other(&s, &west.tls, "only-west", (&east, "only-east")).await;

    let before = s.cluster.our_secrets(APP).await;
    take_out_of_west(&s).await;
    eventually("west has given it back", async || {
        let names = names(&west.cluster.our_secrets(APP).await);
        seen(names == ["only-west"], names)
    })
    .await;
    assert_eq!(west.cluster.lists(APP, "default").await.pull, ["only-west"]);
    assert_eq!(s.cluster.our_secrets(APP).await, before, "the other cluster is left as it is");
    assert_eq!(s.cluster.lists(APP, "default").await.pull.len(), 2);
}

/// A link and a grant for each, everywhere synced.
async fn declare(s: &Scenario, credential: &str) {
    for (name, clusters) in DECLARED {
        let link = ["link", "create", name, "--credential", credential, "--namespace", APP];
        let how = ["--service-account", "default", "--for", "pull"];
        s.pullpass.cli(&[&link[..], &how, clusters].concat()).await.ok();
        let grant = ["grant", "create", name, "--project", APP, "--to-user", name];
        s.pullpass.cli(&[&grant[..], clusters].concat()).await.ok();
    }
    s.pullpass.cli(&["status", "--wait", "--timeout", "60s"]).await.ok();
}

/// These Secrets with this password, their entries, these bindings, and nothing else.
async fn holds(cluster: &Cluster, declared: [&str; 2], password: &str) {
    assert_eq!(names(&cluster.our_secrets(APP).await), declared);
    let auth = BASE64_STANDARD.encode(format!("robot:{password}"));
    for name in declared {
        let content = cluster.pull_secret(APP, name).await.expect("the Secret");
        assert!(String::from_utf8_lossy(&content).contains(&auth), "{name} has another password");
    }
    let mut entries = cluster.lists(APP, "default").await.pull;
    entries.sort_unstable();
    assert_eq!(entries, declared);
    let bindings: Vec<RoleBinding> = cluster.our_bindings(APP).await;
    let users: BTreeSet<_> =
        bindings.into_iter().flat_map(|b| b.subjects.unwrap_or_default()).map(|s| s.name).collect();
    assert_eq!(users, declared.map(str::to_owned).into());
    for (name, _) in DECLARED {
        let ability = cluster.ability(&Subject::User(name.to_owned()), APP).await;
        assert_eq!(ability == Ability::PULL, declared.contains(&name), "{name}: {ability:?}");
    }
}

fn names(secrets: &[Secret]) -> Vec<String> {
    secrets.iter().map(Secret::name_any).collect()
}

/// The snapshot that the holder of this certificate gets names these links and grants, and no others.
async fn is_told_only_of(s: &Scenario, applier: &TlsConfig, declared: [&str; 2]) {
    let mut grants = s.pullpass.grant_manager(applier);
    let stream = grants.watch_desired_state(WatchDesiredStateRequest::default()).await;
    let mut stream = stream.expect("a stream").into_inner();
    let mut told = BTreeSet::new();
    loop {
        match stream.message().await.expect("a message").expect("not the end").event {
            Some(Event::SecretLink(link)) => told.insert(link.name),
            Some(Event::ImageGrant(grant)) => told.insert(grant.name),
            Some(Event::SnapshotEnd(_)) => break,
            other => panic!("{other:?}"),
        };
    }
    let expected = declared.iter().flat_map(|id| [format!("secretLinks/{id}"), format!("imageGrants/{id}")]);
    assert_eq!(told, expected.collect());
}

/// No ticket for the other's link, and nothing for the other's ticket.
async fn gets_nothing_of_the_other(
    s: &Scenario,
    applier: &TlsConfig,
    own: &str,
    (other, others): (&TlsConfig, &str),
) {
    let refused = ticket(s, applier, others).await.expect_err("a link of another cluster");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "LINK_NOT_OF_CLUSTER"));
    let stolen = ticket(s, other, others).await.expect("its own");
    let refused = fetch(s, applier, &stolen).await.expect_err("a ticket of another applier");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "TICKET_NOT_YOURS"));
    let own = ticket(s, applier, own).await.expect("its own");
    assert!(!fetch(s, applier, &own).await.expect("its own").is_empty(), "the control of the two above");
}

async fn ticket(s: &Scenario, applier: &TlsConfig, link: &str) -> Result<String, Status> {
    let request = IssueTicketRequest { secret_link: format!("secretLinks/{link}") };
    Ok(s.pullpass.grant_manager(applier).issue_ticket(request).await?.into_inner().ticket)
}

async fn fetch(s: &Scenario, applier: &TlsConfig, ticket: &str) -> Result<Vec<u8>, Status> {
    let request = FetchPullSecretRequest { ticket: ticket.to_owned() };
    Ok(s.pullpass.credential_store(applier).fetch_pull_secret(request).await?.into_inner().data)
}

/// The link that names both clusters names only the first from now on.
async fn take_out_of_west(s: &Scenario) {
    let mut grants = s.pullpass.grant_manager(&s.pullpass.admin());
    let request = GetSecretLinkRequest { name: "secretLinks/both".to_owned() };
    let link = grants.get_secret_link(request).await.expect("the link").into_inner().secret_link;
    let mut link = link.expect("a link");
    link.clusters.retain(|cluster| cluster == "clusters/east");
    let mut request = UpdateSecretLinkRequest { secret_link: Some(link), ..Default::default() };
    request.update_mask.get_or_insert_default().paths.push("clusters".to_owned());
    grants.update_secret_link(request).await.expect("it can be changed");
}
