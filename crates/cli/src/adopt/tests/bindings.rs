//! RoleBindings: what grants they are, and which of them cannot be said as grants.

use serde_json::{Value, json};

use super::scene::{Scene, binding};
use crate::adopt::{propose::Proposals, show};
use crate::output::Format;

const PULLER: &str = "system:image-puller";

/// Each proposal's name and the commands that would declare it.
fn proposed(proposals: &Proposals) -> Vec<(String, Vec<String>)> {
    let value: Value = serde_json::from_str(&show::render(Format::Json, proposals).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let each = value["proposals"].as_array().unwrap().iter();
    each.map(|one| (text(&one["name"]), one["commands"].as_array().unwrap().iter().map(text).collect()))
        .collect()
}

fn user(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

fn group(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

#[test]
fn every_kind_of_subject_and_every_role_has_its_grant() {
    for (role, subject, command) in [
        (PULLER, account("a", "default"), "a-default-pulls-b --project b --to-service-account a/default"),
        (
            PULLER,
            user("system:serviceaccount:a:default"),
            "a-default-pulls-b --project b --to-service-account a/default",
        ),
        (
            PULLER,
            json!({"kind": "ServiceAccount", "name": "ci"}),
            "b-ci-pulls-b --project b --to-service-account b/ci",
        ),
        (PULLER, group("system:serviceaccounts:a"), "a-pulls-b --project b --to-project a"),
        (PULLER, group("Core Team"), "group-core-team-pulls-b --project b --to-group 'Core Team'"),
        ("system:image-pusher", user("alice"), "user-alice-pushes-b --project b --to-user alice --role push"),
        (
            "system:image-builder",
            account("a", "ci"),
            "a-ci-builds-b --project b --to-service-account a/ci --role build",
        ),
    ] {
        let mut scene = Scene::new(&["b"]);
        scene.bindings.push(binding("b", role, role, &json!([subject])));
        let name = format!("b-{}", role.trim_start_matches("system:"));
        let command = format!("pullpass grant create {command} --cluster prod");
        assert_eq!(proposed(&scene.propose()), [(name, vec![command])], "{subject}");
    }
}

#[test]
fn a_binding_of_several_subjects_becomes_several_grants_and_names_stay_apart() {
    let mut scene = Scene::new(&["b"]);
    let both = json!([account("x-y", "z"), account("x", "y-z")]);
    scene.bindings.push(binding("b", PULLER, PULLER, &both));
    scene.bindings.push(binding("b", "system:image-puller-0", PULLER, &json!([account("x", "y-z")])));
    let proposals = scene.propose();
    let names: Vec<Vec<_>> = proposals
        .accesses
        .iter()
        .map(|access| access.grants.iter().map(|g| g.name.id().to_owned()).collect())
        .collect();
    assert_eq!(names[0][0], "x-y-z-pulls-b");
    assert!(names[0][1].starts_with("x-y-z-pulls-b-"), "{names:?}");
    assert_eq!(names[1], [names[0][1].clone()], "who is granted the same twice has one grant");
    // Once declared, the names are the same, and nothing is left to declare.
    scene.declare(&proposals, true);
    let again = scene.propose();
    let again: Vec<Vec<_>> = again
        .accesses
        .iter()
        .map(|access| access.grants.iter().map(|g| g.name.id().to_owned()).collect())
        .collect();
    assert_eq!(again, names);
    assert!(proposed(&scene.propose()).iter().all(|(_, commands)| commands.is_empty()));
}

#[test]
fn openshifts_own_bindings_and_ours_and_other_roles_are_not_looked_at() {
    let mut scene = Scene::new(&["b", "openshift"]);
    let ours = |mut binding: Value| {
        binding["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "pullpass"});
        binding
    };
    scene.bindings = vec![
        binding("b", "system:image-pullers", PULLER, &json!([group("system:serviceaccounts:b")])),
        binding("b", "system:image-builders", "system:image-builder", &json!([account("b", "builder")])),
        binding("b", "system:deployers", "system:deployer", &json!([account("b", "deployer")])),
        binding("b", "admin", "admin", &json!([user("alice")])),
        binding("openshift", PULLER, PULLER, &json!([user("alice")])),
        ours(binding("b", "pullpass-x", PULLER, &json!([user("alice")]))),
    ];
    let proposals = scene.propose();
    assert_eq!((proposed(&proposals), proposals.left_out), (vec![], vec![]));
}

#[test]
fn what_cannot_be_said_as_grants_is_left_out_with_the_reason() {
    let mut local = binding("b", "local", PULLER, &json!([user("alice")]));
    local["roleRef"]["kind"] = json!("Role");
    let mut helm = binding("b", "helm", PULLER, &json!([user("alice")]));
    helm["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    let mut none = binding("b", "none", PULLER, &json!([]));
    none["subjects"] = Value::Null;
    for (binding, why) in [
        (local, "is to a Role of the project itself"),
        (helm, "is managed by Helm"),
        (none, "grants nobody anything"),
        (
            binding(
                "b",
                "system:image-pullers",
                PULLER,
                &json!([group("system:serviceaccounts:b"), user("alice")]),
            ),
            "is OpenShift's own with other subjects",
        ),
        (
            binding("b", "odd", PULLER, &json!([user("alice"), {"kind": "Robot", "name": "r2"}])),
            "its subject r2 is of the kind Robot",
        ),
        (
            binding("b", "bad", PULLER, &json!([group("system:serviceaccounts:A_B")])),
            "its subject Group system:serviceaccounts:A_B",
        ),
        (
            binding("b", "bad", PULLER, &json!([user(" alice ")])),
            "its subject User  alice  cannot be granted to",
        ),
    ] {
        let mut scene = Scene::new(&["b"]);
        scene.bindings.push(binding);
        let left = scene.left_out();
        assert_eq!(left.len(), 1, "{why}");
        assert!(left[0].1.starts_with(why), "{left:?}");
        assert_eq!(proposed(&scene.propose()), []);
    }
}
