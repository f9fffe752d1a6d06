//! Says when something has come true everywhere, by the watches of a bystander: the same for both sides.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::oneshot;

use crate::raw;

/// Nothing that is measured takes longer.
const LIMIT: Duration = Duration::from_mins(20);

/// What is waited for in each of some namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// `default` is there.
    HasAccount,
    /// `default` names the Secret for pulling.
    Named(String),
    /// It does not.
    NotNamed(String),
    /// The Secret was written.
    Written(String),
}

struct Goal {
    condition: Condition,
    remaining: HashSet<String>,
    done: Option<oneshot::Sender<Instant>>,
}

/// The watches, and what is waited for.
#[derive(Clone)]
pub(crate) struct Observer(Arc<Mutex<Vec<Goal>>>);

impl Observer {
    /// Begins to watch.
    pub(crate) fn start(client: Client) -> Self {
        let observer = Self(Arc::default());
        let (accounts, secrets) = (observer.clone(), observer.clone());
        let api = Api::<ServiceAccount>::all(client.clone());
        tokio::spawn(async move {
            let events = watcher(api, watcher::Config::default().fields("metadata.name=default"));
            let mut objects = std::pin::pin!(events.default_backoff().applied_objects());
            while let Some(account) = objects.next().await {
                if let Ok(account) = account {
                    accounts.saw_account(&account);
                }
            }
        });
        let api = Api::<PartialObjectMeta<Secret>>::all(client);
        tokio::spawn(async move {
            // The Secrets of both sides, so that both pay for the watch alike.
            let both = format!("app.kubernetes.io/managed-by in (pullpass, {})", raw::MANAGED_BY);
            let both = watcher::Config::default().labels(&both);
            let mut objects = std::pin::pin!(watcher(api, both).default_backoff().applied_objects());
            while let Some(secret) = objects.next().await {
                if let Ok(secret) = secret {
                    secrets.saw(&secret.namespace().unwrap_or_default(), |condition| {
                        *condition == Condition::Written(secret.name_any())
                    });
                }
            }
        });
        observer
    }

    /// When each of the namespaces has its `default`.
    pub(crate) fn all_have_accounts(
        &self,
        namespaces: &[String],
    ) -> impl Future<Output = anyhow::Result<Instant>> + use<> {
        self.expect(Condition::HasAccount, namespaces)
    }

    /// When the `default` of each names the Secret.
    pub(crate) fn all_name(
        &self,
        secret: &str,
        namespaces: &[String],
    ) -> impl Future<Output = anyhow::Result<Instant>> + use<> {
        self.expect(Condition::Named(secret.to_owned()), namespaces)
    }

    /// When the `default` of none names the Secret any more.
    pub(crate) fn none_names(
        &self,
        secret: &str,
        namespaces: &[String],
    ) -> impl Future<Output = anyhow::Result<Instant>> + use<> {
        self.expect(Condition::NotNamed(secret.to_owned()), namespaces)
    }

    /// When the Secret has been written in each, from now on.
    pub(crate) fn all_written(
        &self,
        secret: &str,
        namespaces: &[String],
    ) -> impl Future<Output = anyhow::Result<Instant>> + use<> {
        self.expect(Condition::Written(secret.to_owned()), namespaces)
    }

    fn expect(
        &self,
        condition: Condition,
        namespaces: &[String],
    ) -> impl Future<Output = anyhow::Result<Instant>> + use<> {
        let (done, told) = oneshot::channel();
        let remaining = namespaces.iter().cloned().collect();
        self.goals().push(Goal { condition: condition.clone(), remaining, done: Some(done) });
        let observer = self.clone();
        async move {
            match tokio::time::timeout(LIMIT, told).await {
                Ok(at) => at.context("the observer is gone"),
                Err(_) => {
                    anyhow::bail!("not so after {LIMIT:?}: {condition:?}; {}", observer.left(&condition))
                }
            }
        }
    }

    fn left(&self, condition: &Condition) -> String {
        let goals = self.goals();
        let goal = goals.iter().find(|goal| goal.condition == *condition);
        goal.map_or_else(String::new, |goal| format!("left: {} namespaces", goal.remaining.len()))
    }

    fn saw_account(&self, account: &ServiceAccount) {
        let named = |secret: &String| {
            account.image_pull_secrets.iter().flatten().any(|reference| reference.name == *secret)
        };
        self.saw(&account.namespace().unwrap_or_default(), |condition| match condition {
            Condition::HasAccount => true,
            Condition::Named(secret) => named(secret),
            Condition::NotNamed(secret) => !named(secret),
            Condition::Written(_) => false,
        });
    }

    fn saw(&self, namespace: &str, met: impl Fn(&Condition) -> bool) {
        let now = Instant::now();
        self.goals().retain_mut(|goal| {
            if goal.remaining.contains(namespace) && met(&goal.condition) {
                goal.remaining.remove(namespace);
            }
            if !goal.remaining.is_empty() {
                return true;
            }
            if let Some(done) = goal.done.take() {
                // Nobody may be waiting any more.
                let _ = done.send(now);
            }
            false
        });
    }

    fn goals(&self) -> std::sync::MutexGuard<'_, Vec<Goal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
