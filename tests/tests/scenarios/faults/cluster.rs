//! The cluster of the rounds: what others put there, and what is there now, ours and theirs apart.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::Scenario;
use k8s_openapi::{
    api::{
        core::v1::{Secret, ServiceAccount},
        rbac::v1::RoleBinding,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use super::model::{ACCOUNTS, LABELLED, LINKS, NAMESPACES, Ours, TAKEN, binding_name};

/// Entries by others: twice the same, and one that names nothing.
const THEIRS: [&str; 3] = ["zebra", "apple", "zebra"];

/// All that is there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// By namespace.
    pub(super) ours: BTreeMap<String, Ours>,
    /// Our entries in their order.
    pub(super) order: BTreeMap<(String, String, &'static str), Vec<String>>,
    /// What is not ours, whole, by kind and name; of service accounts without our entries.
    pub(super) foreign: BTreeMap<String, Value>,
}

/// Makes the namespaces with what others have there.
pub(super) async fn prepare(s: &Scenario) {
    for role in ["system:image-puller", "system:image-pusher"] {
        s.cluster.create_image_role(role).await;
    }
    s.cluster.create_namespaces(&NAMESPACES.map(str::to_owned), &[]).await;
    // Before 1.24 each service account gets a token, which a controller adds to its list.
    let tokens = s.cluster.lists(NAMESPACES[0], "default").await.mount.len();
    for namespace in NAMESPACES {
        s.cluster.create_service_account(namespace, LABELLED, &[("pulls", "yes")]).await;
        s.cluster.create_service_account(namespace, "other", &[]).await;
        let apple = json!({"metadata": {"name": "apple"}, "stringData": {"mine": "not yours"}});
        s.cluster.create::<Secret>(namespace, apple).await;
        create_binding(s, namespace, "theirs").await;
        for account in ACCOUNTS {
            let mount =
                s.cluster.lists_become(namespace, account, |lists| lists.mount.len() == tokens).await.mount;
            let entries = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
            let mounted =
                [entries(&THEIRS), mount.iter().map(|name| json!({"name": name})).collect()].concat();
            let change = json!({"imagePullSecrets": entries(&THEIRS), "secrets": mounted});
            s.cluster.merge::<ServiceAccount>(namespace, account, change).await;
        }
    }
    let (namespace, link, grant) = TAKEN;
    let taken = json!({"metadata": {"name": link}, "stringData": {"mine": "not yours"}});
    s.cluster.create::<Secret>(namespace, taken).await;
    create_binding(s, namespace, &binding_name(grant)).await;
}

async fn create_binding(s: &Scenario, namespace: &str, name: &str) {
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [],
    });
    s.cluster.create::<RoleBinding>(namespace, binding).await;
}

/// Looks at everything.
pub(super) async fn look(s: &Scenario) -> Found {
    let mut found = Found {
        ours: NAMESPACES.map(|name| (name.to_owned(), Ours::default())).into(),
        order: BTreeMap::new(),
        foreign: BTreeMap::new(),
    };
    let everything = ListParams::default();
    let client = || s.cluster.client();
    for secret in Api::<Secret>::all(client()).list(&everything).await.expect("the Secrets") {
        found.take_secret(&secret);
    }
    for binding in Api::<RoleBinding>::all(client()).list(&everything).await.expect("the bindings") {
        found.take_binding(&binding);
    }
    let ours: BTreeSet<_> = LINKS.map(str::to_owned).into();
    for account in Api::<ServiceAccount>::all(client()).list(&everything).await.expect("the accounts") {
        found.take_account(account, &ours);
    }
    found
}

impl Found {
    fn take_secret(&mut self, secret: &Secret) {
        let place = place(&secret.metadata);
        let Some(link) = mark(&secret.metadata, "pullpass.io/link") else {
            self.foreign.insert(format!("Secret {place}"), json!(secret));
            return;
        };
        let kind = secret.type_.clone().unwrap_or_default();
        let of = (kind.clone(), link, password_in(&kind, secret).unwrap_or_default());
        let ours = self.ours.entry(secret.namespace().unwrap_or_default()).or_default();
        ours.secrets.insert(secret.name_any(), of);
    }

    fn take_binding(&mut self, binding: &RoleBinding) {
        let Some(grant) = mark(&binding.metadata, "pullpass.io/grant") else {
            self.foreign.insert(format!("RoleBinding {}", place(&binding.metadata)), json!(binding));
            return;
        };
        let subjects = binding.subjects.iter().flatten().map(|subject| subject.name.clone());
        let of = (binding.role_ref.name.clone(), subjects.collect::<Vec<_>>().join(","), grant);
        let ours = self.ours.entry(binding.namespace().unwrap_or_default()).or_default();
        ours.bindings.insert(binding.name_any(), of);
    }

    /// Our entries are those that name one of our links and come after everybody else's.
    fn take_account(&mut self, mut account: ServiceAccount, links: &BTreeSet<String>) {
        let (namespace, name) = (account.namespace().unwrap_or_default(), account.name_any());
        let pull = account.image_pull_secrets.take().unwrap_or_default().into_iter();
        let pull: Vec<_> = pull.map(|entry| entry.name).collect();
        let mount = account.secrets.take().unwrap_or_default().into_iter();
        let mount: Vec<_> = mount.map(|entry| entry.name.unwrap_or_default()).collect();
        let mut theirs = Vec::new();
        for (list, names) in [("pull", pull), ("mount", mount)] {
            let end = names.iter().rposition(|name| !links.contains(name)).map_or(0, |last| last + 1);
            theirs.push(names[..end].to_vec());
            let ours = names[end..].to_vec();
            let mut sorted = ours.clone();
            sorted.sort_unstable();
            if !sorted.is_empty() {
                let here = self.ours.entry(namespace.clone()).or_default();
                here.entries.insert((name.clone(), list), sorted);
            }
            self.order.insert((namespace.clone(), name.clone(), list), ours);
        }
        account.metadata.resource_version = None;
        account.metadata.managed_fields = None;
        self.foreign.insert(format!("ServiceAccount {namespace}/{name}"), json!([account, theirs]));
    }
}

fn place(meta: &ObjectMeta) -> String {
    format!("{}/{}", meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// What an object of ours is there for.
fn mark(meta: &ObjectMeta, annotation: &str) -> Option<String> {
    let label = meta.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
    label.filter(|by| *by == "pullpass")?;
    Some(meta.annotations.as_ref().and_then(|all| all.get(annotation)).cloned().unwrap_or_default())
}

fn password_in(kind: &str, secret: &Secret) -> Option<String> {
    let data = secret.data.as_ref().filter(|data| data.len() == 1)?;
    let key = kind.strip_prefix("kubernetes.io/")?;
    let content: Value = serde_json::from_slice(&data.get(&format!(".{key}"))?.0).ok()?;
    let entries = if key == "dockercfg" { &content } else { &content["auths"] };
    let auth = BASE64_STANDARD.decode(entries["quay.io"]["auth"].as_str()?).ok()?;
    String::from_utf8(auth).ok()?.strip_prefix("robot:").map(str::to_owned)
}
