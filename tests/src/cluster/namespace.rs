//! Namespaces.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::Cluster;
use crate::wait::{eventually, seen};

/// So many are made at one time.
const AT_ONCE: usize = 32;

impl Cluster {
    /// Makes a namespace, and waits for its `default` service account, before 1.24 with the token that it gets listed.
    pub async fn create_namespace(&self, name: &str, labels: &[(&str, &str)]) {
        self.create_namespaces(&[name.to_owned()], labels).await;
    }

    /// The same for many.
    pub async fn create_namespaces(&self, names: &[String], labels: &[(&str, &str)]) {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let creating = names.iter().map(async |name| {
            let object = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}));
            let object: Namespace = object.expect("a namespace");
            self.namespaces().create(&PostParams::default(), &object).await.expect("it can be created");
        });
        stream::iter(creating).buffer_unordered(AT_ONCE).collect::<()>().await;
        let version = self.client().apiserver_version().await.expect("a version");
        let legacy = version.minor.trim_end_matches('+').parse::<u32>().expect("a minor version") < 24;
        eventually(format!("the service account default is in each of {}", names.len()), async || {
            let accounts = self.default_accounts().await.map_err(|e| e.to_string())?;
            let has_token =
                |account: &ServiceAccount| account.secrets.as_ref().is_some_and(|all| !all.is_empty());
            let is_there =
                |name: &&String| accounts.get(*name).is_some_and(|account| !legacy || has_token(account));
            let there = names.iter().filter(is_there).count();
            seen(there == names.len(), format!("{there} are there"))
        })
        .await;
    }

    async fn default_accounts(&self) -> kube::Result<BTreeMap<String, ServiceAccount>> {
        let named = ListParams::default().fields("metadata.name=default");
        let accounts = Api::<ServiceAccount>::all(self.client()).list(&named).await?.items.into_iter();
        Ok(accounts.filter_map(|account| Some((account.namespace()?, account))).collect())
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
