//! A cluster as a test looks at it: short words for what tests ask and do, over the real API.

mod access;
mod namespace;
mod pod;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{Secret, ServiceAccount},
        rbac::v1::RoleBinding,
    },
};
use kube::{
    Api, Client, Config, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    binaries,
    command::{Output, Run},
    wait::eventually,
};

pub use access::{Ability, IMAGE_ROLES, Subject};

/// A cluster, by the eyes of one user.
#[derive(Debug, Clone)]
pub struct Cluster {
    client: DebugClient,
    kubeconfig: PathBuf,
}

#[derive(Clone)]
struct DebugClient(Client);

impl std::fmt::Debug for DebugClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// The two lists of a service account, by the names in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists {
    /// `imagePullSecrets`.
    pub pull: Vec<String>,
    /// `secrets`.
    pub mount: Vec<String>,
}

impl Cluster {
    /// Connects as the user of a kubeconfig file.
    pub async fn connect(kubeconfig: &Path) -> anyhow::Result<Self> {
        let content = Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("failed to read {}", kubeconfig.display()))?;
        let config = Config::from_custom_kubeconfig(content, &KubeConfigOptions::default()).await?;
        let client = DebugClient(Client::try_from(config)?);
        Ok(Self { client, kubeconfig: kubeconfig.to_owned() })
    }

    /// The client, for what there is no word for here.
    pub fn client(&self) -> Client {
        self.client.0.clone()
    }

    /// The kubeconfig file it was connected with.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Whether the API server says that it is ready.
    pub async fn is_ready(&self) -> anyhow::Result<()> {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        let answer = self.client().request_text(request).await?;
        anyhow::ensure!(answer == "ok", "/readyz says {answer:?}");
        Ok(())
    }

    /// Objects of one kind in one namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// Runs kubectl as this user.
    pub async fn kubectl(&self, arguments: &[&str]) -> Output {
        let kubectl = binaries::kubernetes("kubectl").expect("kubectl");
        let run = Run::new(&kubectl, arguments).env("KUBECONFIG", &self.kubeconfig);
        run.output().await.expect("kubectl runs")
    }

    /// A Secret, if it is there.
    pub async fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        self.api::<Secret>(namespace).get_opt(name).await.expect("a Secret or none")
    }

    /// The bytes of a pull Secret's one key, if it is there.
    pub async fn pull_secret(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        let data = self.secret(namespace, name).await?.data.unwrap_or_default();
        assert_eq!(data.len(), 1, "a pull secret has one key: {:?}", data.keys());
        data.into_values().next().map(|bytes| bytes.0)
    }

    /// A service account, if it is there.
    pub async fn find_service_account(&self, namespace: &str, name: &str) -> Option<ServiceAccount> {
        self.api::<ServiceAccount>(namespace).get_opt(name).await.ok().flatten()
    }

    /// The two lists of a service account.
    pub async fn lists(&self, namespace: &str, name: &str) -> Lists {
        let account = self.find_service_account(namespace, name).await.unwrap_or_default();
        let pull = account.image_pull_secrets.unwrap_or_default();
        Lists {
            pull: pull.into_iter().map(|entry| entry.name).collect(),
            mount: account.secrets.unwrap_or_default().into_iter().filter_map(|entry| entry.name).collect(),
        }
    }

    /// Waits until a service account's lists are as `is` wants them.
    pub async fn lists_become(&self, namespace: &str, name: &str, is: impl Fn(&Lists) -> bool) -> Lists {
        eventually(format!("the lists of {namespace}/{name}"), async || {
            let lists = self.lists(namespace, name).await;
            if is(&lists) { Ok(lists) } else { Err(format!("{lists:?}")) }
        })
        .await
    }

    /// All objects of a kind in a namespace.
    pub async fn list<K>(&self, namespace: &str) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>(namespace).list(&ListParams::default()).await.expect("a list").items
    }

    /// Those of the namespace's RoleBindings that Pullpass manages.
    pub async fn our_bindings(&self, namespace: &str) -> Vec<RoleBinding> {
        let all = self.list::<RoleBinding>(namespace).await;
        all.into_iter().filter(|binding| is_ours(binding.metadata.labels.as_ref())).collect()
    }

    /// Those of the namespace's Secrets that Pullpass manages.
    pub async fn our_secrets(&self, namespace: &str) -> Vec<Secret> {
        let all = self.list::<Secret>(namespace).await;
        all.into_iter().filter(|secret| is_ours(secret.metadata.labels.as_ref())).collect()
    }

    /// Kind, name and version of each object that could be written to.
    pub async fn versions(&self, namespaces: &[String]) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for namespace in namespaces {
            all.extend(self.versions_of::<Secret>(namespace).await);
            all.extend(self.versions_of::<ServiceAccount>(namespace).await);
            all.extend(self.versions_of::<RoleBinding>(namespace).await);
        }
        all
    }

    async fn versions_of<K>(&self, namespace: &str) -> Vec<(String, String)>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let name = |object: &K| format!("{}/{namespace}/{}", K::kind(&()), object.name_any());
        let objects = self.list::<K>(namespace).await;
        objects.iter().map(|object| (name(object), object.resource_version().unwrap_or_default())).collect()
    }

    /// Creates an object from JSON.
    pub async fn create<K>(&self, namespace: &str, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let object = serde_json::from_value(object).expect("an object of its kind");
        self.api::<K>(namespace).create(&PostParams::default(), &object).await.expect("it can be created")
    }

    /// Merges JSON into an object.
    pub async fn merge<K>(&self, namespace: &str, name: &str, change: Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let patched =
            self.api::<K>(namespace).patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.expect("it can be changed");
    }

    /// Deletes an object.
    pub async fn delete<K>(&self, namespace: &str, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>(namespace).delete(name, &DeleteParams::default()).await.expect("it can be deleted");
    }

    /// Makes a service account, with labels.
    pub async fn create_service_account(&self, namespace: &str, name: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let object = json!({"metadata": {"name": name, "labels": labels}});
        self.create::<ServiceAccount>(namespace, object).await;
    }
}

fn is_ours(labels: Option<&BTreeMap<String, String>>) -> bool {
    labels.and_then(|labels| labels.get("app.kubernetes.io/managed-by")).is_some_and(|by| by == "pullpass")
}
