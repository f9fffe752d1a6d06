//! Namespaces.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::Cluster;
use crate::wait::{eventually, seen};

impl Cluster {
    /// Makes a namespace, and waits for its `default` service account, before 1.24 with the token that it gets listed.
    pub async fn create_namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let object = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}));
        let object: Namespace = object.expect("a namespace");
        self.namespaces().create(&PostParams::default(), &object).await.expect("it can be created");
        let version = self.client().apiserver_version().await.expect("a version");
        let legacy = version.minor.trim_end_matches('+').parse::<u32>().expect("a minor version") < 24;
        eventually(format!("{name}/default is there"), async || {
            let account = self.find_service_account(name, "default").await;
            let tokens = account.as_ref().and_then(|account| account.secrets.as_ref()).map_or(0, Vec::len);
            seen(account.is_some() && (!legacy || tokens > 0), "it is not")
        })
        .await;
    }

    /// Changes a label of a namespace; none takes it away.
    pub async fn label_namespace(&self, name: &str, key: &str, value: Option<&str>) {
        let change = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
        let patched = self.namespaces().patch(name, &PatchParams::default(), &change).await;
        patched.expect("it can be labelled");
    }

    /// Deletes a namespace, and waits until it is gone.
    pub async fn delete_namespace(&self, name: &str) {
        self.namespaces().delete(name, &DeleteParams::default()).await.expect("it can be deleted");
        eventually(format!("namespace {name} is gone"), async || {
            let there = self.namespaces().get_opt(name).await.map_err(|e| e.to_string())?;
            seen(there.is_none(), there.and_then(|namespace| namespace.status))
        })
        .await;
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client())
    }
}
