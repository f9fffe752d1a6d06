//! What is in a cluster already is proposed, and becomes ours without a moment in which a pod could not pull.

mod history;
mod way;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{
    Cluster, Scenario,
    canary::{Hit, Scanner},
    cluster::{Ability, Subject},
    eventually,
    wait::seen,
};
use history::History;
use k8s_openapi::api::{
    core::v1::{Secret, ServiceAccount},
    rbac::v1::RoleBinding,
};
use pullpass_domain::{docker_config::SecretType, image::ImageRef, keyring::Keyring};
use serde_json::{Value, json};
use way::Way;

const FIRST: &str = "fake-canary-adopted-1c9e";
const OTHER: &str = "fake-canary-foreign-b27d";
const BROKEN: &str = "fake-canary-broken-60fa";
const TOKEN: &str = "fake-canary-token-f41b";
const ROTATED: &str = "fake-canary-later-8d33";
const PULLER: &str = "system:image-puller";

/// A Secret as `oc create secret docker-registry` makes it.
async fn hand_made(cluster: &Cluster, namespace: &str, name: &str, password: &str) {
    let auth = BASE64_STANDARD.encode(format!("robot:{password}"));
    let entry = json!({"username": "robot", "password": password, "email": "a@b", "auth": auth});
    let content = json!({"auths": {"quay.io": entry}}).to_string();
    let secret = json!({
        "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": content},
    });
    cluster.create::<Secret>(namespace, secret).await;
}

/// As `oc secrets link` does it.
async fn link_by_hand(cluster: &Cluster, namespace: &str, account: &str, secret: &str, lists: &[&str]) {
    let now = cluster.lists(namespace, account).await;
    for list in lists {
        let present = if *list == "secrets" { &now.mount } else { &now.pull };
        let entries: Vec<_> =
            present.iter().map(String::as_str).chain([secret]).map(|n| json!({"name": n})).collect();
        cluster.merge::<ServiceAccount>(namespace, account, json!({*list: entries})).await;
    }
}

async fn bind(cluster: &Cluster, project: &str, name: &str, role: &str, subjects: Value) {
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    });
    cluster.create::<RoleBinding>(project, binding).await;
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

/// What the kubelet would pull an image of quay.io with.
fn login(secret: &Secret) -> Option<(String, Vec<u8>)> {
    let data = secret.data.as_ref()?.get(".dockerconfigjson")?;
    let keyring = Keyring::from_secrets(&[(SecretType::DockerConfigJson, &data.0)]).ok()?;
    let image = ImageRef::parse("quay.io/acme/app").expect("an image");
    let matches = keyring.lookup(&image);
    let first = matches.first()?;
    Some((first.username().to_owned(), first.password().expose().to_vec()))
}

fn pulls(account: &ServiceAccount, secret: &str) -> bool {
    account.image_pull_secrets.iter().flatten().any(|entry| entry.name == secret)
}

#[tokio::test]
async fn what_is_there_is_proposed_with_reasons_for_the_rest_and_no_secret_is_said() {
    let s = Scenario::shared().await;
    let [a, b, c] = [s.namespace("hand-a").await, s.namespace("hand-b").await, s.namespace("hand-c").await];
    let (quay, lone) = (s.name("hand-quay"), s.name("lone"));
    as_found(&s.cluster, [&a, &b, &c], &quay, &lone).await;

    let before = s.cluster.list::<Secret>(&c).await;
    let way = Way::new(&s, &[&a, &b, &c]);
    let listing = way.adopt(&["-o", "json"]).await.ok();
    let value = listing.json();
    let names: Vec<_> = value["proposals"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, [&json!(quay), &json!(format!("{c}-image-puller"))]);
    let cluster = s.pullpass.state().cluster().id();
    let expected = json!([
        format!(
            "pullpass link create {quay}-builder-pull-mount --credential {quay} --cluster {cluster} --namespace {c} \
                 --service-account builder --for pull,mount --secret-name {quay}"
        ),
        format!(
            "pullpass link create {quay}-default-pull --credential {quay} --cluster {cluster} --namespace {a},{b} \
                 --service-account default --for pull --secret-name {quay}"
        ),
    ]);
    assert_eq!(value["proposals"][0]["commands"], expected);
    assert_eq!(value["proposals"][1]["imageGrants"].as_array().unwrap().len(), 2);
    let left: Vec<_> =
        value["leftOut"].as_array().unwrap().iter().map(|left| left["name"].as_str().unwrap()).collect();
    assert_eq!(left, ["broken", &lone]);
    let table = way.adopt(&[]).await.ok();
    assert!(
        table.stdout.contains("quay.io (robot)") && table.stdout.contains("LEFT OUT"),
        "{}",
        table.stdout
    );
    let unknown = way.take(&["nonsense"]).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains(&quay), "it says what there is: {}", unknown.stderr);
    let nowhere = way.adopt(&["--cluster", "nowhere"]).await;
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert!(nowhere.stderr.contains("clusters/nowhere does not exist"), "{nowhere:?}");
    let missing = way.without().adopt(&[]).await;
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.stderr.contains("neither kubectl nor oc is on PATH: install one"), "{missing:?}");
    assert_eq!(s.cluster.list::<Secret>(&c).await, before, "nothing is changed");

    let scanner = Scanner::new([FIRST, OTHER, BROKEN, TOKEN]);
    let said = [listing, table, unknown].map(|output| output.stdout + &output.stderr).concat();
    assert_eq!(scanner.scan("what was said", said.as_bytes()), Vec::<Hit>::new());
}

/// A cluster that was run by hand: the Secret `quay` everywhere, the Secret `lone` without a link, and more.
async fn as_found(cluster: &Cluster, [a, b, c]: [&str; 3], quay: &str, lone: &str) {
    for namespace in [a, b] {
        hand_made(cluster, namespace, quay, FIRST).await;
        link_by_hand(cluster, namespace, "default", quay, &["imagePullSecrets"]).await;
    }
    cluster.create_service_account(c, "builder", &[]).await;
    hand_made(cluster, c, quay, FIRST).await;
    link_by_hand(cluster, c, "builder", quay, &["imagePullSecrets", "secrets"]).await;
    hand_made(cluster, c, lone, OTHER).await;
    let broken = json!({"auths": {"quay.io": {"auth": BROKEN}}}).to_string();
    let broken = json!({
        "metadata": {"name": "broken"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": broken},
    });
    cluster.create::<Secret>(c, broken).await;
    openshifts_own(cluster, c).await;
    bind(cluster, c, PULLER, PULLER, json!([account(a, "default"), account(b, "default")])).await;
    let everybody = format!("system:serviceaccounts:{c}");
    let everybody = json!([{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": everybody}]);
    bind(cluster, c, "system:image-pullers", PULLER, everybody).await;
}

/// A pull secret as each generation of OpenShift keeps one.
async fn openshifts_own(cluster: &Cluster, namespace: &str) {
    let content =
        json!({"registry:5000": {"auth": BASE64_STANDARD.encode(format!("serviceaccount:{TOKEN}"))}});
    let annotations = [
        json!({"openshift.io/internal-registry-auth-token.service-account": "default"}),
        json!({"openshift.io/token-secret.name": "default-token-x", "openshift.io/token-secret.value": TOKEN}),
    ];
    for (n, annotations) in annotations.into_iter().enumerate() {
        let name = format!("default-dockercfg-{n}");
        let secret = json!({
            "metadata": {"name": name, "annotations": annotations}, "type": "kubernetes.io/dockercfg",
            "stringData": {".dockercfg": content.to_string()},
        });
        cluster.create::<Secret>(namespace, secret).await;
        link_by_hand(cluster, namespace, "default", &name, &["imagePullSecrets", "secrets"]).await;
    }
}

#[tokio::test]
async fn a_secret_becomes_ours_where_it_stands_and_a_pod_can_pull_at_every_moment() {
    let s = Scenario::shared().await;
    let (a, b) = (s.namespace("taken-a").await, s.namespace("taken-b").await);
    let quay = s.name("taken-quay");
    for namespace in [&a, &b] {
        hand_made(&s.cluster, namespace, &quay, FIRST).await;
        link_by_hand(&s.cluster, namespace, "default", "others", &["imagePullSecrets"]).await;
        link_by_hand(&s.cluster, namespace, "default", &quay, &["imagePullSecrets"]).await;
    }
    let way = Way::new(&s, &[&a, &b]);
    let before = s.cluster.lists(&b, "default").await;
    let secret = History::<Secret>::of(&s.cluster, &b, &quay).await;
    let default = History::<ServiceAccount>::of(&s.cluster, &b, "default").await;

    // Cut off when it has stored the credential and marked the one, then when it has declared the link.
    let cut_off = way.but(&format!("*patch*namespace={b}*"), "exit 1").take(&[&quay]).await;
    assert_eq!(cut_off.code, 1, "{cut_off:?}");
    assert!(cut_off.stderr.contains(&format!("Secret {b}/{quay} cannot be marked")), "{cut_off:?}");
    let again = way.but("*--selector*", "exit 1").take(&[&quay]).await;
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("which an earlier run created"), "{again:?}");
    let finished = way.take(&[&quay]).await.ok();

    could_pull_all_the_time(&secret.until_now().await);
    let default = default.until_now().await;
    assert!(
        default.iter().all(|state| state.as_ref().is_some_and(|account| pulls(account, &quay))),
        "{default:#?}"
    );
    assert_eq!(s.cluster.lists(&b, "default").await, before);
    for namespace in [&a, &b] {
        assert_eq!(s.cluster.our_secrets(namespace).await.len(), 1);
    }
    let listing = way.adopt(&["-o", "json"]).await.ok();
    assert_eq!(listing.json(), json!({"proposals": [], "leftOut": []}), "what is ours is not proposed again");
    way.take(&[&quay]).await.ok();

    rotation_and_deletion_reach(&s, &quay, [&a, &b]).await;
    assert_eq!(s.cluster.lists(&b, "default").await.pull, ["others"], "what others added stays");
    let scanner = Scanner::new([FIRST]);
    let said = [cut_off, again, finished].map(|output| output.stdout + &output.stderr).concat();
    let mut hits = scanner.scan("what was said", said.as_bytes());
    hits.extend(scanner.scan_folder(s.pullpass.state().dir(), |_| false).0);
    assert_eq!(hits, Vec::<Hit>::new());
}

/// The same object, and in each of its states the same login.
fn could_pull_all_the_time(states: &[Option<Secret>]) {
    let expected = Some(("robot".to_owned(), FIRST.as_bytes().to_vec()));
    for state in states {
        let state = state.as_ref().unwrap_or_else(|| panic!("it was deleted: {} states", states.len()));
        assert_eq!(state.metadata.uid, states[0].as_ref().unwrap().metadata.uid, "it is the same object");
        assert_eq!(login(state), expected, "the kubelet's choice at {:?}", state.metadata.resource_version);
    }
    assert!(states.len() > 2, "it was marked and taken over: {} states", states.len());
}

async fn rotation_and_deletion_reach(s: &Scenario, quay: &str, namespaces: [&str; 2]) {
    s.pullpass.cli_with(ROTATED, &["credential", "rotate", quay, "--password-stdin"]).await.ok();
    for namespace in namespaces {
        eventually(format!("the rotation reaches {namespace}"), async || {
            let login = s.cluster.secret(namespace, quay).await.as_ref().and_then(login);
            seen(login.is_some_and(|(_, password)| password == ROTATED.as_bytes()), "it has not")
        })
        .await;
    }
    s.pullpass.cli(&["link", "delete", quay, "--wait"]).await.ok();
    for namespace in namespaces {
        assert_eq!(s.cluster.secret(namespace, quay).await, None, "it was ours");
        assert!(!s.cluster.lists(namespace, "default").await.pull.contains(&quay.to_owned()));
    }
}

#[tokio::test]
async fn a_secret_that_changes_at_the_last_moment_is_not_taken_over_with_its_old_content() {
    let s = Scenario::shared().await;
    let a = s.namespace("changing").await;
    let quay = s.name("changing-quay");
    hand_made(&s.cluster, &a, &quay, FIRST).await;
    link_by_hand(&s.cluster, &a, "default", &quay, &["imagePullSecrets"]).await;
    let auth = BASE64_STANDARD.encode(format!("robot:{OTHER}"));
    let content = json!({"auths": {"quay.io": {"auth": auth}}}).to_string();
    let change = json!({"stringData": {".dockerconfigjson": content}});
    let meanwhile = format!("kubectl patch secret {quay} -n {a} --type=merge -p '{change}'");
    let way = Way::new(&s, &[&a]);
    let refused = way.but("*'patch secret'*", &meanwhile).take(&[&quay]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("run the same command again"), "{refused:?}");
    way.take(&[&quay]).await.ok();
    let secret = s.cluster.our_secrets(&a).await.remove(0);
    assert_eq!(login(&secret), Some(("robot".to_owned(), OTHER.as_bytes().to_vec())));
}

#[tokio::test]
async fn a_binding_gives_way_to_grants_and_access_is_there_at_every_moment() {
    let s = Scenario::shared().await;
    let (a, project) = (s.namespace("granted-a").await, s.namespace("granted").await);
    let subjects = json!([account(&a, "default"), account(&project, "ci"), {
        "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "erin",
    }]);
    bind(&s.cluster, &project, "system:image-pusher-0", "system:image-pusher", subjects).await;
    let service_account =
        |namespace: &str, name: &str| Subject::ServiceAccount(namespace.into(), name.into());
    let everybody =
        [service_account(&a, "default"), service_account(&project, "ci"), Subject::User("erin".to_owned())];
    let way = Way::new(&s, &[&project]);
    let name = format!("{project}-image-pusher-0");

    let finished = tokio::sync::watch::channel(false);
    let poll = async {
        let mut polls = 0;
        while !*finished.1.borrow() {
            for subject in &everybody {
                assert_eq!(
                    s.cluster.ability(subject, &project).await,
                    Ability::PUSH,
                    "{subject:?} after {polls} polls"
                );
            }
            polls += 1;
        }
        polls
    };
    let take = async {
        let meanwhile =
            format!("kubectl annotate rolebinding system:image-pusher-0 -n {project} changed=now");
        let refused = way.but("*'delete --raw'*", &meanwhile).take(&[&name]).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("run the same command again"), "{refused:?}");
        assert_eq!(s.cluster.list::<RoleBinding>(&project).await.len(), 4, "the old one stays as long");
        way.take(&[&name]).await.ok();
        finished.0.send_replace(true);
    };
    let (polls, ()) = tokio::join!(poll, take);
    assert!(polls > 3, "{polls} polls");
    let left = s.cluster.list::<RoleBinding>(&project).await;
    assert_eq!(left.len(), s.cluster.our_bindings(&project).await.len(), "only ours are left");
    for subject in &everybody {
        assert_eq!(s.cluster.ability(subject, &project).await, Ability::PUSH, "{subject:?}");
    }
    let grants = [format!("{a}-default"), format!("{project}-ci"), "user-erin".to_owned()];
    for grant in grants {
        s.pullpass.cli(&["grant", "delete", &format!("{grant}-pushes-{project}"), "--wait"]).await.ok();
    }
    assert_eq!(s.cluster.list::<RoleBinding>(&project).await, []);
}
