//! Secrets: what belongs together, what is left out, what names are given, and how an interrupted run goes on.

use serde_json::json;

use super::scene::{DOCKERCFG, JSON, Scene, account, config, secret, secret_of};
use crate::adopt::{
    propose::{Proposals, Pull, Storing},
    show,
};
use crate::output::Format;

/// The names of what is proposed, each with its links and the namespaces whose Secrets these take over.
fn proposed(proposals: &Proposals) -> Vec<String> {
    let places = |pull: &Pull| {
        let links = pull.links.iter().map(|link| {
            let places: Vec<_> = link.secrets.iter().map(|secret| secret.namespace.as_str()).collect();
            format!("{}[{}]", link.name.id(), places.join(","))
        });
        links.collect::<Vec<_>>().join(" ")
    };
    proposals.pulls.iter().map(|pull| format!("{}: {}", pull.name, places(pull))).collect()
}

/// The commands that would declare the links.
fn commands(proposals: &Proposals) -> Vec<String> {
    let text = show::render(Format::Json, proposals).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let all =
        value["proposals"].as_array().unwrap().iter().flat_map(|one| one["commands"].as_array().unwrap());
    all.map(|command| command.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_same_secret_in_several_namespaces_is_one_credential_and_one_link() {
    let mut scene = Scene::new(&["a", "b", "c"]);
    for namespace in ["b", "a"] {
        scene.linked(namespace, "quay", "first");
    }
    // Written otherwise, and the same.
    let spaced = br#"{ "auths": { "quay.io": { "username": "robot", "password": "first" } } }"#;
    scene.secrets.push(secret_of("c", "quay", JSON, ".dockerconfigjson", spaced));
    scene.accounts.push(account("c", "default", &["other", "quay"], &["token"]));
    let proposals = scene.propose();
    assert_eq!(proposed(&proposals), ["quay: quay[a,b,c]"]);
    assert_eq!(
        commands(&proposals),
        [
            "pullpass link create quay --credential quay --cluster prod --namespace a,b,c --service-account default --for pull"
        ]
    );
    assert_eq!(proposals.left_out, []);
}

#[test]
fn other_content_or_another_type_is_another_credential() {
    let mut scene = Scene::new(&["a", "b", "c"]);
    scene.linked("a", "quay", "first");
    scene.linked("b", "quay", "second");
    let flat = br#"{"quay.io": {"username": "robot", "password": "first"}}"#;
    scene.secrets.push(secret_of("c", "quay", DOCKERCFG, ".dockercfg", flat));
    scene.accounts.push(account("c", "builder", &[], &["quay"]));
    let proposals = scene.propose();
    assert_eq!(proposed(&proposals), ["quay-a: quay-a[a]", "quay-b: quay-b[b]", "quay-c: quay-c[c]"]);
    let last = "pullpass link create quay-c --credential quay-c --cluster prod --namespace c --service-account builder \
                --for mount --secret-name quay --secret-type dockercfg";
    assert_eq!(commands(&proposals)[2], last);
}

#[test]
fn namespaces_with_other_accounts_or_usages_get_links_of_their_own() {
    let mut scene = Scene::new(&["a", "b", "c"]);
    scene.linked("a", "quay", "first");
    scene.linked("b", "quay", "first");
    scene.secrets.push(secret("c", "quay", "first"));
    scene.accounts.push(account("c", "builder", &["quay"], &["quay"]));
    assert_eq!(
        proposed(&scene.propose()),
        ["quay: quay-builder-pull-mount[c] quay-default-pull[a,b]"],
        "one credential all the same"
    );
}

#[test]
fn a_link_wants_every_entry_that_is_there_and_says_what_it_adds() {
    let mut scene = Scene::new(&["a"]);
    scene.linked("a", "quay", "first");
    scene.accounts.push(account("a", "builder", &[], &["quay"]));
    let proposals = scene.propose();
    assert_eq!(
        commands(&proposals),
        [
            "pullpass link create quay --credential quay --cluster prod --namespace a --service-account builder,default \
          --for pull,mount"
        ]
    );
    assert_eq!(
        proposals.pulls[0].notes,
        [
            "a/quay would be linked to builder for pull too: a link treats its accounts alike",
            "a/quay would be linked to default for mount too: a link treats its accounts alike",
        ]
    );
}

#[test]
fn what_others_own_or_the_kubelet_cannot_use_is_left_out_with_the_reason() {
    let cases = [
        (json!({"type": JSON, "data": {}}), "has no value under .dockerconfigjson"),
        (
            json!({"data": {".dockerconfigjson": "bm90IGpzb24="}}),
            "no credential can be made of its content: ",
        ),
        (json!({"data": {".dockerconfigjson": "e30="}}), "no credential can be made of its content: "),
        (json!({"data": {"extra": "eA=="}}), "has other values beside .dockerconfigjson"),
        (json!({"immutable": true}), "is immutable"),
        (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), "is being deleted"),
        (json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}}), "is managed by Helm"),
        (
            json!({"metadata": {"ownerReferences": [{"kind": "ExternalSecret", "name": "quay", "uid": "x"}]}}),
            "belongs to ExternalSecret quay",
        ),
    ];
    for (change, why) in cases {
        let mut scene = Scene::new(&["a"]);
        scene.linked("a", "quay", "first");
        merge(&mut scene.secrets[0], &change);
        let left = scene.left_out();
        assert_eq!(left.len(), 1, "{change}: {left:?}");
        assert!(left[0].1.starts_with(why), "{change}: {left:?}");
        assert_eq!(proposed(&scene.propose()), Vec::<String>::new(), "{change}");
    }
}

/// As far as the cases need it: `data` is replaced if it is empty.
fn merge(value: &mut serde_json::Value, change: &serde_json::Value) {
    match change.as_object() {
        Some(fields) if !fields.is_empty() => {
            for (key, change) in fields {
                merge(&mut value[key], change);
            }
        }
        _ => *value = change.clone(),
    }
}

#[test]
fn a_file_of_the_other_types_form_is_of_no_use_to_the_kubelet_and_so_left_out() {
    let flat = br#"{"quay.io": {"username": "robot", "password": "first"}}"#;
    for (kind, key, content) in
        [(JSON, ".dockerconfigjson", &flat[..]), (DOCKERCFG, ".dockercfg", &config("first"))]
    {
        let mut scene = Scene::new(&["a"]);
        scene.secrets.push(secret_of("a", "quay", kind, key, content));
        scene.accounts.push(account("a", "default", &["quay"], &[]));
        let left = scene.left_out();
        assert_eq!(left.len(), 1, "{kind}");
        assert!(left[0].1.contains("finds no credential in it"), "{left:?}");
    }
}

#[test]
fn a_secret_that_nobody_links_is_told_of() {
    let mut scene = Scene::new(&["a", "b"]);
    scene.linked("a", "quay", "first");
    scene.secrets.push(secret("b", "quay", "first"));
    assert_eq!(
        scene.left_out(),
        [("b/quay".to_owned(), "no service account names it; pods may still do so themselves".to_owned())]
    );
    assert_eq!(proposed(&scene.propose()), ["quay: quay[a]"]);
}

#[test]
fn what_openshift_manages_is_not_looked_at_in_either_generation() {
    let mut scene = Scene::new(&["a"]);
    let flat = br#"{"image-registry.openshift-image-registry.svc:5000": {"auth": "PHRva2VuPjpKV1Q="}}"#;
    let mut bound = secret_of("a", "default-dockercfg-x7k2p", DOCKERCFG, ".dockercfg", flat);
    bound["metadata"]["annotations"] =
        json!({"openshift.io/internal-registry-auth-token.service-account": "default"});
    bound["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "uid": "u"}]);
    let mut legacy = secret_of("a", "builder-dockercfg-abcde", DOCKERCFG, ".dockercfg", flat);
    legacy["metadata"]["annotations"] = json!({
        "kubernetes.io/service-account.name": "builder", "kubernetes.io/service-account.uid": "u",
        "openshift.io/token-secret.name": "builder-token-fghij", "openshift.io/token-secret.value": "fake-token",
    });
    legacy["metadata"]["ownerReferences"] =
        json!([{"kind": "Secret", "name": "builder-token-fghij", "uid": "u"}]);
    scene.secrets.extend([bound, legacy]);
    scene.accounts.push(account("a", "default", &["default-dockercfg-x7k2p"], &["default-dockercfg-x7k2p"]));
    scene.accounts.push(account("a", "builder", &["builder-dockercfg-abcde"], &["builder-dockercfg-abcde"]));
    let proposals = scene.propose();
    assert_eq!((proposed(&proposals), proposals.left_out), (vec![], vec![]));
}

#[test]
fn platform_namespaces_count_only_when_named_and_dying_ones_never() {
    let mut scene = Scene::new(&["kube-system", "openshift-config", "dying"]);
    scene.namespaces[2]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for namespace in ["kube-system", "openshift-config", "dying"] {
        scene.linked(namespace, "quay", "first");
    }
    let nothing = scene.propose();
    assert_eq!((proposed(&nothing), nothing.left_out), (vec![], vec![]));
    assert_eq!(proposed(&scene.propose_in(&["openshift-config", "dying"])), ["quay: quay[openshift-config]"]);
}

#[test]
fn names_that_are_taken_are_not_given_again() {
    let mut scene = Scene::new(&["a", "b", "c"]);
    scene.linked("a", "quay", "first");
    let first = scene.propose();
    scene.declare(&first, true);
    scene.make_ours("a", "quay");
    scene.linked("b", "quay", "first");
    assert_eq!(
        proposed(&scene.propose()),
        ["quay-b: quay-b[b]"],
        "one that came later, with the same content"
    );
    // Two that make the same id.
    let mut scene = Scene::new(&["a"]);
    scene.secrets.extend([secret("a", "my.quay", "first"), secret("a", "my-quay", "first")]);
    scene.accounts.push(account("a", "default", &["my.quay", "my-quay"], &[]));
    assert_eq!(proposed(&scene.propose()), ["my-quay: my-quay[a]", "my-quay-a: my-quay-a[a]"]);
}

#[test]
fn an_interrupted_run_goes_on_under_the_same_names() {
    let mut scene = Scene::new(&["a", "b", "c"]);
    for namespace in ["a", "b"] {
        scene.linked(namespace, "quay", "first");
    }
    scene.secrets.push(secret("c", "quay", "first"));
    scene.accounts.push(account("c", "builder", &[], &["quay"]));
    let first = scene.propose();
    let storing =
        |proposals: &Proposals| proposals.pulls.iter().map(|pull| pull.storing.clone()).collect::<Vec<_>>();
    assert_eq!(storing(&first), [Storing::New]);

    scene.declare(&first, false);
    let stored = scene.propose();
    assert_eq!(
        (proposed(&stored), storing(&stored)),
        (proposed(&first), vec![Storing::Again("etag".into())])
    );
    assert_eq!(commands(&stored), commands(&first));

    scene.declare(&first, true);
    let declared = scene.propose();
    assert_eq!(
        (proposed(&declared), storing(&declared)),
        (proposed(&first), vec![Storing::Again("etag".into())])
    );
    assert_eq!(commands(&declared), Vec::<String>::new(), "nothing is left to be declared");

    scene.make_ours("a", "quay-default-pull");
    let some_taken = scene.propose();
    assert_eq!(proposed(&some_taken), ["quay: quay-builder-mount[c] quay-default-pull[b]"]);
    assert_eq!(storing(&some_taken), [Storing::Held], "what is in use is not stored again");
    assert_eq!(commands(&some_taken), Vec::<String>::new());

    for (namespace, link) in [("b", "quay-default-pull"), ("c", "quay-builder-mount")] {
        scene.make_ours(namespace, link);
    }
    let done = scene.propose();
    assert_eq!((proposed(&done), done.left_out), (vec![], vec![]));
}

#[test]
fn a_secret_that_changed_between_two_runs_is_not_overwritten_by_what_was_stored() {
    let mut scene = Scene::new(&["a", "b"]);
    for namespace in ["a", "b"] {
        scene.linked(namespace, "quay", "first");
    }
    let first = scene.propose();
    scene.declare(&first, true);
    scene.make_ours("a", "quay");
    scene.secrets[1] = secret("b", "quay", "second");
    assert_eq!(proposed(&scene.propose()), Vec::<String>::new());
    let left = scene.left_out();
    assert!(left[0].1.starts_with("link quay is declared for it already"), "{left:?}");
}

#[test]
fn a_credential_that_others_have_come_to_use_is_not_stored_again() {
    let mut scene = Scene::new(&["a"]);
    scene.linked("a", "quay", "first");
    let first = scene.propose();
    scene.declare(&first, false);
    let other = pullpass_domain::name::LinkName::from_id("other").unwrap();
    let mut elsewhere = Scene::new(&["z"]);
    elsewhere.linked("z", "quay", "first");
    scene.declared.links.insert(other, elsewhere.propose().pulls[0].links[0].link.clone());
    assert_eq!(proposed(&scene.propose()), ["quay-a: quay-a[a]"]);
}
