//! Images of another project in the integrated registry.

use e2e::{
    Scenario,
    cluster::{Ability, Subject},
    scenario::has_reason,
};
use k8s_openapi::api::rbac::v1::RoleBinding;
use serde_json::json;

fn account(namespace: &str, name: &str) -> Subject {
    Subject::ServiceAccount(namespace.to_owned(), name.to_owned())
}

/// Creates a grant, shows that `who` can then do what it allows and `others` cannot, and that nothing is left of it.
async fn grant_and_take_back(
    s: &Scenario,
    project: &str,
    options: &[&str],
    who: &[Subject],
    allows: Ability,
    others: &[Subject],
) {
    let name = s.name("grant");
    let all = || who.iter().chain(others);
    for subject in all() {
        assert_eq!(s.cluster.ability(subject, project).await, Ability::NONE, "{subject:?} before");
    }
    s.pullpass
        .cli(&[&["grant", "create", &name, "--project", project, "--wait"], options].concat())
        .await
        .ok();
    for subject in who {
        assert_eq!(s.cluster.ability(subject, project).await, allows, "{subject:?} with the grant");
    }
    for subject in others {
        assert_eq!(s.cluster.ability(subject, project).await, Ability::NONE, "{subject:?} with the grant");
    }
    assert_eq!(s.cluster.our_bindings(project).await.len(), 1);

    s.pullpass.cli(&["grant", "delete", &name, "--wait"]).await.ok();
    for subject in all() {
        assert_eq!(s.cluster.ability(subject, project).await, Ability::NONE, "{subject:?} after");
    }
    assert_eq!(s.cluster.our_bindings(project).await, []);
}

#[tokio::test]
async fn same_project_internal_registry_nothing_to_do() {
    let s = Scenario::shared().await;
    let project = s.namespace("project-a").await;
    // What OpenShift gives every project.
    let own = json!({
        "metadata": {"name": "system:image-pullers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:image-puller"},
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("system:serviceaccounts:{project}"),
        }],
    });
    s.cluster.create::<RoleBinding>(&project, own).await;
    let (grant, to) = (s.name("own"), format!("{project}/default"));
    s.pullpass
        .cli(&["grant", "create", &grant, "--project", &project, "--to-service-account", &to, "--wait"])
        .await
        .ok();
    let status = s.becomes_synced(&format!("imageGrants/{grant}")).await;
    assert!(has_reason(&status, "ALREADY_PERMITTED"), "{status:#?}");
    assert_eq!(s.cluster.our_bindings(&project).await, [], "nothing is written");
    s.pullpass.cli(&["grant", "delete", &grant, "--wait"]).await.ok();
    assert_eq!(
        s.cluster.ability(&account(&project, "default"), &project).await,
        Ability::PULL,
        "not ours to take"
    );
}

#[tokio::test]
async fn oc_policy_add_role_to_user_system_image_puller_to_a_service_account() {
    let s = Scenario::shared().await;
    let (a, b) = (s.namespace("project-a").await, s.namespace("project-b").await);
    let to = format!("{a}/default");
    let (who, others) = ([account(&a, "default")], [account(&a, "builder"), account("default", "default")]);
    grant_and_take_back(&s, &b, &["--to-service-account", &to], &who, Ability::PULL, &others).await;
}

#[tokio::test]
async fn oc_policy_add_role_to_group_system_image_puller_to_all_of_a_project() {
    let s = Scenario::shared().await;
    let (a, b) = (s.namespace("project-a").await, s.namespace("project-b").await);
    let who = [account(&a, "default"), account(&a, "made-later")];
    grant_and_take_back(&s, &b, &["--to-project", &a], &who, Ability::PULL, &[account("default", "default")])
        .await;
}

#[tokio::test]
async fn a_group_and_a_user_can_be_granted_push() {
    let s = Scenario::shared().await;
    let project = s.namespace("project").await;
    let (alice, bob) = (Subject::User("alice".into()), Subject::User("bob".into()));
    let developer = Subject::Member("developers".into());
    let push = ["--role", "push"];
    let (to_group, to_user) =
        ([&push[..], &["--to-group", "developers"]].concat(), [&push[..], &["--to-user", "alice"]].concat());
    grant_and_take_back(
        &s,
        &project,
        &to_group,
        std::slice::from_ref(&developer),
        Ability::PUSH,
        &[alice.clone(), bob.clone()],
    )
    .await;
    grant_and_take_back(&s, &project, &to_user, &[alice], Ability::PUSH, &[bob, developer]).await;
}
