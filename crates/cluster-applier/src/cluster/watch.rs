//! The watches that keep the index. A connection that is cut is taken up again where it was; only when the API server
//! has forgotten that place (410) is there another list.

mod sink;

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Namespace as ApiNamespace, ServiceAccount as ApiServiceAccount},
    rbac::v1::{ClusterRole, RoleBinding},
};
use kube::{
    Api, Resource,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event, watcher},
};
use pullpass_domain::grant::Role;
use pullpass_runtime::Shutdown;
use serde::de::DeserializeOwned;

use self::sink::{Namespaces, Objects, OneRole, Sink, TheLease};
use super::{
    client::Cluster,
    object::{Account, BindingFacts, MANAGED_BY, PULLPASS, SecretFacts, SlimSecret},
    pod::{SlimPod, StuckPod},
};
use crate::{config::LeaseConfig, queue::jittered, state::Shared};

/// The names of the caches without which nothing is done, each filled by one watch.
pub(crate) const CACHES: [&str; 7] = [
    "namespaces",
    "serviceaccounts",
    "secrets",
    "rolebindings",
    "image-puller",
    "image-pusher",
    "image-builder",
];

/// The cache of pods: by it we tell more, and do nothing.
const PODS: &str = "pods";

/// A watch ends by itself after this many seconds and is taken up again: so long may a dead connection go unnoticed.
const TURN_SECONDS: u32 = 120;
/// Between attempts at most this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the index by watches until the shutdown.
pub(crate) fn start(cluster: &Cluster, shared: &Arc<Shared>, shutdown: &Shutdown) {
    let [namespaces, accounts, secrets, bindings, roles @ ..] = CACHES;
    let ours = config().labels(&format!("{MANAGED_BY}={PULLPASS}"));
    let client = || cluster.watches.clone();
    let keep = |cache| Keeper { cache, shared: Arc::clone(shared), shutdown: shutdown.clone() };
    keep(namespaces).watch(
        Api::<PartialObjectMeta<ApiNamespace>>::all(client()),
        config(),
        Namespaces::default(),
    );
    keep(accounts).watch(Api::<ApiServiceAccount>::all(client()), config(), Objects::<Account>::default());
    keep(secrets).watch(Api::<SlimSecret>::all(client()), ours.clone(), Objects::<SecretFacts>::default());
    keep(bindings).watch(Api::<RoleBinding>::all(client()), ours, Objects::<BindingFacts>::default());
    // A pod that cannot pull stays pending, if it never ran. The API server's cache is new enough for the first list.
    let pending = config().fields("status.phase=Pending").any_semantic();
    keep(PODS).watch(Api::<SlimPod>::all(client()), pending, Objects::<StuckPod>::default());
    for (role, cache) in Role::ALL.into_iter().zip(roles) {
        let this = config().fields(&format!("metadata.name={}", role.cluster_role()));
        keep(cache).watch(
            Api::<PartialObjectMeta<ClusterRole>>::all(client()),
            this,
            OneRole { role, seen: false },
        );
    }
}

/// Follows the Lease of this name until the shutdown. It is no cache: only the election looks at it.
pub(crate) fn lease(
    cluster: &Cluster,
    lease: &LeaseConfig,
    shared: &Arc<Shared>,
    shutdown: &Shutdown,
) -> tokio::sync::watch::Receiver<Option<Lease>> {
    let (news, told) = tokio::sync::watch::channel(None);
    let keeper = Keeper { cache: "lease", shared: Arc::clone(shared), shutdown: shutdown.clone() };
    let leases = Api::<Lease>::namespaced(cluster.watches.clone(), &lease.namespace);
    let this = config().fields(&format!("metadata.name={}", lease.name));
    keeper.watch(leases, this, TheLease { news, listed: None });
    told
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(TURN_SECONDS)
}

struct Keeper {
    cache: &'static str,
    shared: Arc<Shared>,
    shutdown: Shutdown,
}

impl Keeper {
    fn watch<K, S>(self, api: Api<K>, config: watcher::Config, mut sink: S)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
        S: Sink<K> + Send + 'static,
    {
        let token = self.shutdown.token();
        self.shutdown.clone().spawn(self.cache, async move {
            token.run_until_cancelled(self.keep(api, config, &mut sink)).await;
        });
    }

    async fn keep<K, S>(&self, api: Api<K>, config: watcher::Config, sink: &mut S)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
        S: Sink<K>,
    {
        let mut failures = 0;
        loop {
            let events = watcher(api.clone(), config.clone());
            pin_mut!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        // The beginning of a list is told before it is known whether there will be an answer.
                        failures = if matches!(event, Event::Init) { failures } else { 0 };
                        self.take(event, sink);
                    }
                    Err(error) => {
                        failures += 1;
                        self.complain(&error, failures);
                        // What is forbidden stays so for a while.
                        let patience = if is_forbidden(&error) { Duration::MAX } else { PATIENCE };
                        tokio::time::sleep(jittered(failures).min(patience)).await;
                        if is_forgotten(&error) {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn take<K, S: Sink<K>>(&self, event: Event<K>, sink: &mut S) {
        self.shared.with(|state| match event {
            Event::Init => {
                crate::metrics::listed(self.cache);
                sink.begin();
            }
            Event::InitApply(object) => sink.put(state, object, true),
            Event::InitDone => {
                sink.end(state);
                state.cache_filled(self.cache);
            }
            Event::Apply(object) => sink.put(state, object, false),
            Event::Delete(object) => sink.remove(state, &object),
        });
    }

    /// The first time, and then now and again. Never with the error's debug form, which may quote what was read.
    fn complain(&self, error: &watcher::Error, failures: u32) {
        let problem = match error {
            watcher::Error::InitialListFailed(source) => describe("list", source),
            watcher::Error::WatchStartFailed(source) | watcher::Error::WatchFailed(source) => {
                describe("watch", source)
            }
            watcher::Error::WatchError(status) => format!("watch: {} {}", status.code, status.reason),
            watcher::Error::NoResourceVersion => "the API server names no version".to_owned(),
        };
        let consequence = if is_forbidden(error) && self.cache == PODS {
            "pods that have to be recreated are not told of before deploy/cluster-applier/rbac.yaml is applied"
        } else {
            "watch interrupted, it is taken up again"
        };
        if failures.is_power_of_two() {
            tracing::warn!(cache = self.cache, problem, failures, "{consequence}");
        }
    }
}

fn describe(verb: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{verb}: {} {} {}", status.code, status.reason, status.message),
        kube::Error::SerdeError(_) => format!("{verb}: the answer cannot be understood"),
        other => format!("{verb}: {other}"),
    }
}

/// Whether the place where we were is forgotten, said as the answer to the watch itself: kube knows only the form in
/// which it is an event.
fn is_forgotten(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// Whether the right to list or watch is missing.
fn is_forbidden(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(problem)
    | watcher::Error::WatchStartFailed(problem)
    | watcher::Error::WatchFailed(problem)) = error
    else {
        return false;
    };
    matches!(problem, kube::Error::Api(status) if status.code == 403)
}
