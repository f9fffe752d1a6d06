//! Objects as `kubectl get -o json` prints them, and a cluster to put them in.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pullpass_domain::{
    docker_config::DockerConfig,
    name::{ClusterName, Namespace},
};
use serde_json::{Value, json};

use crate::adopt::{
    propose::{self, Declared, Proposals, Stored},
    survey::Found,
};

pub(super) const JSON: &str = "kubernetes.io/dockerconfigjson";
pub(super) const DOCKERCFG: &str = "kubernetes.io/dockercfg";

/// A cluster that is surveyed.
#[derive(Default)]
pub(super) struct Scene {
    pub(super) namespaces: Vec<Value>,
    pub(super) secrets: Vec<Value>,
    pub(super) accounts: Vec<Value>,
    pub(super) bindings: Vec<Value>,
    pub(super) declared: Declared,
}

impl Scene {
    pub(super) fn new(namespaces: &[&str]) -> Self {
        let namespaces = namespaces.iter().map(|name| json!({"metadata": {"name": name, "labels": {}}}));
        Self { namespaces: namespaces.collect(), ..Self::default() }
    }

    pub(super) fn found(&self) -> Found {
        fn each<T: serde::de::DeserializeOwned>(values: &[Value]) -> Vec<T> {
            values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
        }
        Found {
            namespaces: each(&self.namespaces),
            secrets: each(&self.secrets),
            accounts: each(&self.accounts),
            bindings: each(&self.bindings),
        }
    }

    pub(super) fn propose(&self) -> Proposals {
        self.propose_in(&[])
    }

    pub(super) fn propose_in(&self, named: &[&str]) -> Proposals {
        let named: Vec<_> = named.iter().map(|name| Namespace::new(*name).unwrap()).collect();
        propose::propose(&cluster(), &named, &self.found(), &self.declared)
    }

    /// What is left out, and why.
    pub(super) fn left_out(&self) -> Vec<(String, String)> {
        let left = self.propose().left_out.into_iter();
        left.map(|left| (format!("{}/{}", left.namespace, left.name), left.why)).collect()
    }

    /// A Secret for `robot` at quay.io, and a `default` service account that pulls with it.
    pub(super) fn linked(&mut self, namespace: &str, name: &str, password: &str) {
        self.secrets.push(secret(namespace, name, password));
        self.accounts.push(account(namespace, "default", &[name], &[]));
    }

    /// As if everything of a proposal had been stored and declared and nothing more.
    pub(super) fn declare(&mut self, proposals: &Proposals, links: bool) {
        for pull in &proposals.pulls {
            let stored = Stored {
                description: pull.description.clone(),
                entries: pull.config.summaries().map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
                etag: "etag".to_owned(),
            };
            self.declared.credentials.insert(pull.credential.clone(), stored);
            let links = pull.links.iter().filter(|_| links);
            self.declared.links.extend(links.map(|planned| (planned.name.clone(), planned.link.clone())));
        }
        let grants = proposals.accesses.iter().flat_map(|access| &access.grants);
        self.declared.grants.extend(grants.map(|planned| (planned.name.clone(), planned.grant.clone())));
    }

    /// As the applier leaves a Secret that it has taken over.
    pub(super) fn make_ours(&mut self, namespace: &str, link: &str) {
        let secrets = self.secrets.iter_mut().filter(|secret| secret["metadata"]["namespace"] == namespace);
        for secret in secrets {
            secret["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "pullpass"});
            secret["metadata"]["annotations"] = json!({"pullpass.io/link": link});
        }
    }
}

pub(super) fn cluster() -> ClusterName {
    ClusterName::from_id("prod").unwrap()
}

pub(super) fn meta(namespace: &str, name: &str) -> Value {
    json!({
        "name": name, "namespace": namespace, "uid": format!("uid-{namespace}-{name}"), "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    })
}

pub(super) fn config(password: &str) -> Vec<u8> {
    let auth = BASE64_STANDARD.encode(format!("robot:{password}"));
    json!({"auths": {"quay.io": {"auth": auth}}}).to_string().into_bytes()
}

pub(super) fn secret(namespace: &str, name: &str, password: &str) -> Value {
    secret_of(namespace, name, JSON, ".dockerconfigjson", &config(password))
}

pub(super) fn secret_of(namespace: &str, name: &str, kind: &str, key: &str, content: &[u8]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": meta(namespace, name), "type": kind,
        "data": {key: BASE64_STANDARD.encode(content)},
    })
}

pub(super) fn account(namespace: &str, name: &str, pull: &[&str], mount: &[&str]) -> Value {
    let entries = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(namespace, name),
        "imagePullSecrets": entries(pull), "secrets": entries(mount),
    })
}

pub(super) fn binding(project: &str, name: &str, role: &str, subjects: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta(project, name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    })
}

#[test]
fn what_is_written_down_of_a_secret_is_not_shown() {
    let mut scene = Scene::new(&["a"]);
    scene.linked("a", "quay", "fake-hunter2");
    scene.secrets[0]["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": "fake-hunter2"});
    let said = format!("{:?} {:?}", scene.found(), scene.propose());
    assert!(!said.contains("hunter2") && !said.contains(&BASE64_STANDARD.encode("fake-hunter2")), "{said}");
    assert!(said.contains("quay.io"), "the registry is");
    assert!(DockerConfig::parse(&config("x")).is_ok(), "the fixture is what it should be");
}
