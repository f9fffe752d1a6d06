//! Somebody else who appends to and removes from the lists of a service account, as OpenShift's own controllers do.

use e2e::{Cluster, cluster::Lists};
use k8s_openapi::api::core::v1::{LocalObjectReference, ObjectReference, ServiceAccount};
use kube::{Api, api::PostParams};
use tokio::{sync::oneshot, task::JoinHandle};

const OWN: &str = "theirs-";
const KEPT: usize = 5;

/// A running second writer of `default`.
pub struct SecondWriter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<(Lists, usize)>,
}

impl SecondWriter {
    /// Starts it with what is in the lists.
    pub async fn start(cluster: &Cluster, namespace: &str) -> Self {
        let accounts: Api<ServiceAccount> = cluster.api(namespace);
        let lists = cluster.lists(namespace, "default").await;
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(write(accounts, lists, stopped)) }
    }

    /// Stops it. Returns how the lists are without ours, and how often it wrote.
    pub async fn stop(self) -> (Lists, usize) {
        let _ = self.stop.send(());
        self.task.await.expect("the second writer found everything as it had left it")
    }
}

/// Appends an entry to both lists and, when there are enough, removes the oldest; each time after it has made sure that
/// its own entries, and what was there before it, are as it left them.
async fn write(accounts: Api<ServiceAccount>, mut theirs: Lists, mut stopped: oneshot::Receiver<()>) -> (Lists, usize) {
    let (mut writes, mut conflicts, foreign) = (0_usize, 0_usize, theirs.clone());
    while stopped.try_recv().is_err() {
        let mut account = accounts.get("default").await.expect("the account");
        let is_theirs = |lists: &Lists, name: &str| name.starts_with(OWN) || lists.pull.iter().chain(&lists.mount).any(|n| n == name);
        let pull = account.image_pull_secrets.get_or_insert_default();
        let mount = account.secrets.get_or_insert_default();
        let seen = Lists {
            pull: pull.iter().map(|e| e.name.clone()).filter(|name| is_theirs(&foreign, name)).collect(),
            mount: mount.iter().filter_map(|e| e.name.clone()).filter(|name| is_theirs(&foreign, name)).collect(),
        };
        assert_eq!(seen, theirs, "after {writes} writes and {conflicts} conflicts");

        let name = format!("{OWN}{writes}");
        pull.push(LocalObjectReference { name: name.clone() });
        mount.push(ObjectReference { name: Some(name.clone()), ..Default::default() });
        let old = writes.checked_sub(KEPT).map(|number| format!("{OWN}{number}"));
        pull.retain(|entry| Some(&entry.name) != old.as_ref());
        mount.retain(|entry| old.is_none() || entry.name != old);
        match accounts.replace("default", &PostParams::default(), &account).await {
            Ok(_) => {
                writes += 1;
                for list in [&mut theirs.pull, &mut theirs.mount] {
                    list.push(name.clone());
                    list.retain(|entry| Some(entry) != old.as_ref());
                }
            }
            Err(kube::Error::Api(status)) if status.code == 409 => conflicts += 1,
            Err(other) => panic!("the second writer failed: {other}"),
        }
    }
    (theirs, writes)
}
