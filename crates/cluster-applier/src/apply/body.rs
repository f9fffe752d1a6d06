//! What is sent: pure functions from a change to the body of its request.
//!
//! - A Secret or RoleBinding is ours: a merge patch, guarded by uid and resourceVersion, sets what is ours and leaves
//!   labels and annotations that others put on it.
//! - A service account is not ours: a JSON Patch that first tests the resourceVersion, then takes out and appends single
//!   entries. (Tried on 1.20 and current: a failed test costs the API server one evaluation, while a resourceVersion that
//!   is written instead of tested makes it try five times before it says 409. The test's 422 is told from others by
//!   looking whether the object changed.)

use std::collections::BTreeMap;

use pullpass_domain::{
    grant::Role,
    name::{LinkName, Namespace},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    cluster::{
        client::Target,
        object::{GRANT, Identity, LINK, MANAGED_BY, PULLPASS, STANDS_FOR, SubjectFacts},
    },
    plan::{Binding, Content, Edit, Question, Step},
};

/// Serialized straight from the secret's own memory: no intermediate copy of it is left behind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecretBody<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Value,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    secret_type: Option<&'a str>,
    data: BTreeMap<&'a str, Option<&'a str>>,
}

/// A whole new Secret.
pub(super) fn secret(at: Target<'_>, content: &Content) -> Vec<u8> {
    let metadata = json!({
        "name": at.name, "namespace": at.namespace,
        "labels": {MANAGED_BY: PULLPASS}, "annotations": {LINK: content.link.id()},
    });
    secret_body(metadata, Some(content.secret_type.kubernetes_type()), data(content))
}

/// A Secret that holds nothing and keeps the place of one that is made anew. It is named for that very object, so that
/// making it twice makes one.
pub(super) fn stand_in(at: Target<'_>, was: &Identity, link: &LinkName) -> (String, Vec<u8>) {
    let name = format!("stand-in-{}.pullpass.io", was.uid);
    let metadata = json!({
        "name": name, "namespace": at.namespace,
        "labels": {MANAGED_BY: PULLPASS}, "annotations": {LINK: link.id(), STANDS_FOR: at.name},
    });
    let body = secret_body(metadata, None, BTreeMap::new());
    (name, body)
}

/// What brings a Secret to this content, and only to it.
pub(super) fn secret_patch(was: &Identity, content: &Content, surplus: &[String]) -> Vec<u8> {
    let metadata = guarded(was, LINK, content.link.id());
    let mut data = data(content);
    data.extend(surplus.iter().map(|key| (key.as_str(), None)));
    secret_body(metadata, None, data)
}

fn data(content: &Content) -> BTreeMap<&str, Option<&str>> {
    let value = content.rendered.as_ref().map(|rendered| rendered.expose_base64());
    value.map(|value| (content.secret_type.data_key(), Some(value))).into_iter().collect()
}

fn secret_body(metadata: Value, secret_type: Option<&str>, data: BTreeMap<&str, Option<&str>>) -> Vec<u8> {
    let body = SecretBody { api_version: "v1", kind: "Secret", metadata, secret_type, data };
    serde_json::to_vec(&body).unwrap_or_default()
}

fn guarded(was: &Identity, annotation: &str, id: &str) -> Value {
    json!({
        "uid": was.uid, "resourceVersion": was.version,
        "labels": {MANAGED_BY: PULLPASS}, "annotations": {annotation: id},
    })
}

/// Takes our marks off an object and leaves everything else.
pub(super) fn release(was: &Identity, annotation: &str) -> Vec<u8> {
    let body = json!({"metadata": {
        "uid": was.uid, "resourceVersion": was.version,
        "labels": {MANAGED_BY: null}, "annotations": {annotation: null},
    }});
    body.to_string().into_bytes()
}

/// Takes out and appends entries of a service account's lists, if it still is as it was.
pub(super) fn account_patch(was: &Identity, edits: &[Edit]) -> Vec<u8> {
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": was.version});
    let edit = |edit: &Edit| {
        let (list, entry) = (edit.list.field(), json!({"name": edit.secret}));
        match edit.step {
            Step::Append { first: true } => {
                json!({"op": "add", "path": format!("/{list}"), "value": [entry]})
            }
            Step::Append { first: false } => {
                json!({"op": "add", "path": format!("/{list}/-"), "value": entry})
            }
            Step::Remove(position) => json!({"op": "remove", "path": format!("/{list}/{position}")}),
        }
    };
    let patch: Vec<_> = [test].into_iter().chain(edits.iter().map(edit)).collect();
    Value::from(patch).to_string().into_bytes()
}

/// A whole new RoleBinding.
pub(super) fn binding(at: Target<'_>, binding: &Binding) -> Vec<u8> {
    let body = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {
            "name": at.name, "namespace": at.namespace,
            "labels": {MANAGED_BY: PULLPASS}, "annotations": {GRANT: binding.grant.id()},
        },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": binding.role.cluster_role(),
        },
        "subjects": [subject(&binding.subject)],
    });
    body.to_string().into_bytes()
}

/// What brings a RoleBinding to this subject. The role cannot be changed.
pub(super) fn binding_patch(was: &Identity, binding: &Binding) -> Vec<u8> {
    let metadata = guarded(was, GRANT, binding.grant.id());
    json!({"metadata": metadata, "subjects": [subject(&binding.subject)]}).to_string().into_bytes()
}

fn subject(subject: &SubjectFacts) -> Value {
    let mut value = json!({"apiGroup": subject.api_group, "kind": subject.kind, "name": subject.name});
    if !subject.namespace.is_empty() {
        value["namespace"] = json!(subject.namespace);
    }
    value
}

/// The answer to a question about permissions.
#[derive(Deserialize)]
pub(super) struct Reviewed {
    pub(super) status: ReviewStatus,
}

#[derive(Deserialize)]
pub(super) struct ReviewStatus {
    #[serde(default)]
    pub(super) allowed: bool,
}

/// The questions that must all be answered with yes for the subject to be permitted what the role allows already: those
/// that the registry asks, as the registry would be the one to refuse.
pub(super) fn reviews(project: &Namespace, question: &Question) -> impl Iterator<Item = Vec<u8>> {
    let (user, groups) = identity_of(&question.subject);
    let project = project.clone();
    needs(question.role).iter().map(move |(verb, subresource)| {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": user, "groups": groups,
                "resourceAttributes": {
                    "namespace": project, "verb": verb, "group": "image.openshift.io",
                    "resource": "imagestreams", "subresource": subresource,
                },
            },
        });
        body.to_string().into_bytes()
    })
}

fn needs(role: Role) -> &'static [(&'static str, &'static str)] {
    match role {
        Role::Pull => &[("get", "layers")],
        Role::Push => &[("get", "layers"), ("update", "layers")],
        Role::Build => &[("get", "layers"), ("update", "layers"), ("create", "")],
    }
}

/// The user and the groups by which the API server knows a subject.
fn identity_of(who: &SubjectFacts) -> (String, Vec<String>) {
    let of_accounts = |namespace: &str| {
        vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".into(),
        ]
    };
    match who.kind.as_str() {
        "ServiceAccount" => {
            let user = format!("system:serviceaccount:{}:{}", who.namespace, who.name);
            (user, of_accounts(&who.namespace))
        }
        "Group" => match who.name.strip_prefix("system:serviceaccounts:") {
            Some(namespace) => (String::new(), of_accounts(namespace)),
            None => (String::new(), vec![who.name.clone(), "system:authenticated".into()]),
        },
        _ => (who.name.clone(), vec!["system:authenticated".into()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::Name,
        plan::{List, testing},
    };

    fn read(body: &[u8]) -> Value {
        serde_json::from_slice(body).expect("JSON")
    }

    fn was() -> Identity {
        Identity { uid: "u".into(), version: "7".into() }
    }

    #[test]
    fn a_new_secret_carries_both_marks_and_the_right_key() {
        let namespace = Namespace::new("a").expect("a namespace");
        let body = read(&secret(Target { namespace: &namespace, name: "web" }, &testing::content("web")));
        assert_eq!(
            body,
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                "metadata": {
                    "name": "web", "namespace": "a",
                    "labels": {MANAGED_BY: PULLPASS}, "annotations": {LINK: "web"},
                },
                "data": {".dockerconfigjson": "e30="},
            })
        );
    }

    #[test]
    fn a_secrets_patch_is_guarded_and_takes_out_what_is_too_much() {
        let body = read(&secret_patch(&was(), &testing::content("web"), &["extra".into()]));
        assert_eq!(body["metadata"]["uid"], "u");
        assert_eq!(body["metadata"]["resourceVersion"], "7");
        assert_eq!(body["data"], json!({".dockerconfigjson": "e30=", "extra": null}));
        assert_eq!(body.get("type"), None);
    }

    #[test]
    fn a_release_is_guarded_and_says_nothing_of_the_content() {
        let metadata = json!({
            "uid": "u", "resourceVersion": "7", "labels": {MANAGED_BY: null}, "annotations": {GRANT: null},
        });
        assert_eq!(read(&release(&was(), GRANT)), json!({"metadata": metadata}));
    }

    #[test]
    fn an_accounts_patch_tests_the_version_before_it_touches_single_entries() {
        let edit = |list, step| Edit {
            list,
            secret: "web".into(),
            step,
            cause: Name::Link(LinkName::from_id("web").expect("a name")),
        };
        let edits = [
            edit(List::Pull, Step::Remove(2)),
            edit(List::Pull, Step::Append { first: false }),
            edit(List::Mount, Step::Append { first: true }),
        ];
        assert_eq!(
            read(&account_patch(&was(), &edits)),
            json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "remove", "path": "/imagePullSecrets/2"},
                {"op": "add", "path": "/imagePullSecrets/-", "value": {"name": "web"}},
                {"op": "add", "path": "/secrets", "value": [{"name": "web"}]},
            ])
        );
    }

    #[test]
    fn a_review_asks_for_all_that_the_role_allows_as_the_subject_is_known() {
        let project = Namespace::new("a").expect("a namespace");
        let account = SubjectFacts {
            kind: "ServiceAccount".into(),
            namespace: "a".into(),
            name: "builder".into(),
            ..Default::default()
        };
        let question = |role| Question { subject: account.clone(), role };
        let asked: Vec<_> = reviews(&project, &question(Role::Build)).map(|body| read(&body)).collect();
        let verbs: Vec<_> =
            asked.iter().map(|body| body["spec"]["resourceAttributes"]["verb"].clone()).collect();
        assert_eq!(verbs, ["get", "update", "create"]);
        assert_eq!(asked[0]["spec"]["user"], "system:serviceaccount:a:builder");
        assert_eq!(asked[0]["spec"]["groups"][1], "system:serviceaccounts:a");
        assert_eq!(reviews(&project, &question(Role::Pull)).count(), 1);
    }
}
