//! `deploy/`: the bases render and are accepted by a real API server, and the applier's ClusterRole allows exactly what the
//! applier does. (All other scenarios run it under that ClusterRole, never as administrator.)

use e2e::{Scenario, command::Output};

/// What the applier's service account may not do, as `kubectl auth can-i` is asked.
const DENIED: [&[&str]; 20] = [
    &["get", "pods", "-A"],
    &["get", "configmaps", "-A"],
    &["create", "pods", "-A"],
    &["patch", "pods", "-A"],
    &["delete", "pods", "-A"],
    &["delete", "namespaces"],
    &["patch", "namespaces"],
    &["create", "namespaces"],
    &["create", "serviceaccounts", "-A"],
    &["update", "serviceaccounts", "-A"],
    &["delete", "serviceaccounts", "-A"],
    &["create", "serviceaccounts/token", "-A"],
    &["impersonate", "users"],
    &["create", "clusterrolebindings"],
    &["bind", "clusterroles/cluster-admin"],
    &["escalate", "clusterroles"],
    &["get", "leases/other", "-n", "pullpass"],
    &["update", "leases", "-n", "pullpass"],
    &["delete", "leases/pullpass-cluster-applier", "-n", "pullpass"],
    &["create", "leases", "-n", "kube-system"],
];

const ALLOWED: [&[&str]; 12] = [
    &["watch", "namespaces"],
    &["watch", "pods", "-A"],
    &["patch", "serviceaccounts", "-A"],
    &["create", "secrets", "-A"],
    &["delete", "secrets", "-A"],
    &["create", "rolebindings", "-A"],
    &["create", "subjectaccessreviews"],
    &["bind", "clusterroles/system:image-puller"],
    &["bind", "clusterroles/system:image-builder"],
    &["create", "leases", "-n", "pullpass"],
    &["watch", "leases/pullpass-cluster-applier", "-n", "pullpass"],
    &["update", "leases/pullpass-cluster-applier", "-n", "pullpass"],
];

#[tokio::test]
async fn every_base_renders_and_the_api_server_takes_it() {
    let scenario = Scenario::shared().await;
    let on_postgres = ["postgres/credential-store", "postgres/grant-manager"];
    for service in ["credential-store", "grant-manager", "cluster-applier"].into_iter().chain(on_postgres) {
        let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/").to_owned() + service;
        let applied =
            scenario.cluster.kubectl(&["apply", "--dry-run=server", "-o", "name", "-k", &base]).await.ok();
        for kind in ["configmap/", "service/", "serviceaccount/"] {
            assert!(applied.stdout.contains(kind), "{service} has no {kind}: {}", applied.stdout);
        }
    }
}

#[tokio::test]
async fn the_appliers_role_is_as_narrow_as_can_be() {
    let scenario = Scenario::shared().await;
    for question in DENIED {
        assert_eq!(can_i(&scenario, question).await.stdout.trim(), "no", "the applier may {question:?}");
    }
    for question in ALLOWED {
        assert_eq!(can_i(&scenario, question).await.stdout.trim(), "yes", "the applier may not {question:?}");
    }
}

#[tokio::test]
async fn the_applier_can_bind_no_role_but_the_image_roles() {
    let scenario = Scenario::shared().await;
    let namespace = scenario.namespace("bound").await;
    let applier = scenario.cluster_as_applier().await;
    let bind = async |role: &str| {
        let (name, role) = (format!("--clusterrole={role}"), role.replace(':', "-"));
        applier
            .kubectl(&["create", "rolebinding", &role, &name, "--user=eve", "--namespace", &namespace])
            .await
    };
    let refused = bind("cluster-admin").await;
    assert!(
        refused.code != 0 && refused.stderr.contains("Forbidden") | refused.stderr.contains("forbidden"),
        "{refused:?}"
    );
    bind("system:image-puller").await.ok();
}

async fn can_i(scenario: &Scenario, question: &[&str]) -> Output {
    let user = scenario.applier_user();
    let groups = ["--as-group=system:serviceaccounts", "--as-group=system:authenticated"];
    let asked = [&["auth", "can-i"], question, &["--as", &user], &groups[..]].concat();
    scenario.cluster.kubectl(&asked).await
}
