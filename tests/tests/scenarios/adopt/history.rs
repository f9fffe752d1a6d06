//! Every state that an object goes through, as a watch tells of it.

use std::sync::{Arc, Mutex};

use e2e::{Cluster, eventually, wait::seen};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

/// The states of one object so far, none for that it was deleted.
pub(super) struct History<K> {
    states: Arc<Mutex<Vec<Option<K>>>>,
    api: Api<K>,
    name: String,
    task: JoinHandle<()>,
}

impl<K> History<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    /// From the state that the object has now.
    pub(super) async fn of(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        let api: Api<K> = cluster.api(namespace);
        let first = api.get(name).await.expect("it is there");
        let version = first.resource_version().expect("a version");
        let states = Arc::new(Mutex::new(vec![Some(first)]));
        let chosen = WatchParams::default().fields(&format!("metadata.name={name}"));
        let stream = api.watch(&chosen, &version).await.expect("a watch").boxed();
        let told = Arc::clone(&states);
        let follow = stream.try_for_each(move |event| {
            let state = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Some(object)),
                WatchEvent::Deleted(_) => Some(None),
                WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
            };
            told.lock().expect("no panic").extend(state);
            futures::future::ready(Ok(()))
        });
        let task = tokio::spawn(async move { follow.await.expect("the watch goes on") });
        Self { states, api, name: name.to_owned(), task }
    }

    /// All states up to the one that the object has now.
    pub(super) async fn until_now(self) -> Vec<Option<K>> {
        let now = self.api.get(&self.name).await.expect("it is still there").resource_version();
        eventually(format!("the watch tells of {} at {now:?}", self.name), async || {
            let states = self.states.lock().expect("no panic");
            let last = states.last().cloned().flatten().and_then(|state| state.resource_version());
            seen(last == now, last)
        })
        .await;
        self.task.abort();
        self.states.lock().expect("no panic").clone()
    }
}
