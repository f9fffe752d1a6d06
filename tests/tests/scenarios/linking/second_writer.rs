//! Somebody else who appends to and removes from the lists of a service account, as OpenShift's own controllers do.

use e2e::{Cluster, cluster::Lists};
use k8s_openapi::api::core::v1::{LocalObjectReference, ObjectReference, ServiceAccount};
use kube::{Api, api::PostParams};
use tokio::{sync::oneshot, task::JoinHandle};

const OWN: &str = "theirs-";
/// Entries it keeps. So many that the oldest, which it removes, stand before ours, which move up then: whoever removes an
/// entry by its position as it was a moment ago hits another one.
const KEPT: usize = 150;

/// A running second writer of `default`.
pub(super) struct SecondWriter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<(Lists, usize)>,
}

impl SecondWriter {
    /// Starts it with what is in the lists.
    pub(super) async fn start(cluster: &Cluster, namespace: &str) -> Self {
        let before = cluster.lists(namespace, "default").await;
        let mut writer = Writer {
            accounts: cluster.api(namespace),
            theirs: before.clone(),
            before,
            appended: 0,
            writes: 0,
        };
        writer.fill().await;
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(writer.run(stopped)) }
    }

    /// Stops it. Returns how the lists are without ours, and how often it wrote.
    pub(super) async fn stop(self) -> (Lists, usize) {
        let _ = self.stop.send(());
        self.task.await.expect("the second writer found everything as it had left it")
    }
}

struct Writer {
    accounts: Api<ServiceAccount>,
    /// What was there before it.
    before: Lists,
    /// That, and its own.
    theirs: Lists,
    appended: usize,
    writes: usize,
}

impl Writer {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> (Lists, usize) {
        while stopped.try_recv().is_err() {
            self.write().await;
        }
        (self.theirs, self.writes)
    }

    async fn fill(&mut self) {
        let mut account = self.read().await;
        (0..KEPT).for_each(|_| self.append(&mut account));
        self.accounts
            .replace("default", &PostParams::default(), &account)
            .await
            .expect("nobody else writes yet");
    }

    /// Makes sure that all is as it left it, appends an entry to both lists and removes its oldest.
    async fn write(&mut self) {
        let mut account = self.read().await;
        assert_eq!(self.not_ours(&account), self.theirs, "after {} writes", self.writes);
        let undo = (self.theirs.clone(), self.appended);
        self.append(&mut account);
        self.remove_oldest(&mut account);
        match self.accounts.replace("default", &PostParams::default(), &account).await {
            Ok(_) => self.writes += 1,
            Err(kube::Error::Api(status)) if status.code == 409 => (self.theirs, self.appended) = undo,
            Err(other) => panic!("the second writer failed: {other}"),
        }
    }

    fn append(&mut self, account: &mut ServiceAccount) {
        let name = format!("{OWN}{}", self.appended);
        self.appended += 1;
        let reference = ObjectReference { name: Some(name.clone()), ..Default::default() };
        account.secrets.get_or_insert_default().push(reference);
        account.image_pull_secrets.get_or_insert_default().push(LocalObjectReference { name: name.clone() });
        self.theirs.pull.push(name.clone());
        self.theirs.mount.push(name);
    }

    fn remove_oldest(&mut self, account: &mut ServiceAccount) {
        let name = format!("{OWN}{}", self.appended - 1 - KEPT);
        account.secrets.get_or_insert_default().retain(|entry| entry.name.as_ref() != Some(&name));
        account.image_pull_secrets.get_or_insert_default().retain(|entry| entry.name != name);
        self.theirs.pull.retain(|entry| *entry != name);
        self.theirs.mount.retain(|entry| *entry != name);
    }

    async fn read(&self) -> ServiceAccount {
        self.accounts.get("default").await.expect("the account")
    }

    fn not_ours(&self, account: &ServiceAccount) -> Lists {
        let keep = |name: &String, before: &[String]| name.starts_with(OWN) || before.contains(name);
        let pull = account.image_pull_secrets.iter().flatten().map(|entry| entry.name.clone());
        let mount = account.secrets.iter().flatten().filter_map(|entry| entry.name.clone());
        Lists {
            pull: pull.filter(|name| keep(name, &self.before.pull)).collect(),
            mount: mount.filter(|name| keep(name, &self.before.mount)).collect(),
        }
    }
}
