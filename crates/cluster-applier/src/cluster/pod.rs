//! What we keep of pods: of those that cannot pull an image, what says whether a link would help. Everything else, such as
//! their environment, is dropped while it is parsed.

use std::borrow::Cow;

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use pullpass_domain::name::ServiceAccount;
use serde::{Deserialize, Deserializer};

use super::object::{Identity, nullable};

/// What the kubelet calls it when it cannot pull.
const CANNOT_PULL: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// A pod that cannot pull an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StuckPod {
    pub(crate) identity: Identity,
    pub(crate) account: ServiceAccount,
    /// Its own list, which never changes; nameless entries included.
    pub(crate) pull: Vec<String>,
    /// The first image that it cannot pull.
    pub(crate) image: String,
}

impl StuckPod {
    /// None if it can pull, has not tried yet, or is about to go.
    pub(crate) fn of(pod: SlimPod) -> Option<Self> {
        let SlimPod { metadata, spec, status } = pod;
        let mut containers = status.init_container_statuses.into_iter().chain(status.container_statuses);
        let stuck = containers.find(SlimContainer::cannot_pull)?;
        let stays = metadata.deletion_timestamp.is_none();
        stays.then_some(Self {
            identity: Identity::of(&metadata),
            account: ServiceAccount::new(spec.service_account_name).ok()?,
            pull: spec.image_pull_secrets.into_iter().map(|entry| entry.name).collect(),
            image: stuck.image,
        })
    }
}

/// A pod on the wire.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SlimPod {
    #[serde(deserialize_with = "names_only")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: SlimSpec,
    #[serde(default)]
    status: SlimStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimSpec {
    #[serde(default, deserialize_with = "nullable")]
    service_account_name: String,
    #[serde(default, deserialize_with = "nullable")]
    image_pull_secrets: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimStatus {
    #[serde(default, deserialize_with = "nullable")]
    init_container_statuses: Vec<SlimContainer>,
    #[serde(default, deserialize_with = "nullable")]
    container_statuses: Vec<SlimContainer>,
}

#[derive(Debug, Clone, Deserialize)]
struct SlimContainer {
    #[serde(default, deserialize_with = "nullable")]
    image: String,
    #[serde(default, deserialize_with = "nullable")]
    state: SlimState,
}

impl SlimContainer {
    fn cannot_pull(&self) -> bool {
        CANNOT_PULL.contains(&self.state.waiting.reason.as_str())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
struct SlimState {
    #[serde(default, deserialize_with = "nullable")]
    waiting: Waiting,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Waiting {
    #[serde(default, deserialize_with = "nullable")]
    reason: String,
}

/// Not the labels, annotations and managed fields.
fn names_only<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Names {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        deletion_timestamp: Option<Time>,
    }
    Names::deserialize(from).map(|names| ObjectMeta {
        name: names.name,
        namespace: names.namespace,
        uid: names.uid,
        resource_version: names.resource_version,
        deletion_timestamp: names.deletion_timestamp,
        ..Default::default()
    })
}

impl Resource for SlimPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn waits(reason: &str) -> Value {
        json!({"image": format!("quay.io/acme/{reason}"), "state": {"waiting": {"reason": reason}}})
    }

    fn pod(status: &Value) -> Value {
        json!({
            "metadata": {
                "name": "web-1", "namespace": "a", "uid": "u", "resourceVersion": "7",
                "labels": {"app": "web"}, "annotations": {"note": "not-to-be-kept"},
            },
            "spec": {
                "serviceAccountName": "default",
                "imagePullSecrets": [{"name": "own"}, {}],
                "containers": [{"name": "main", "env": [{"name": "PASSWORD", "value": "not-to-be-kept"}]}],
            },
            "status": status,
        })
    }

    fn read(pod: Value) -> SlimPod {
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn a_pod_is_reduced_to_who_pulls_what_with_which_list() {
        let slim =
            read(pod(&json!({"containerStatuses": [waits("ContainerCreating"), waits("ErrImagePull")]})));
        assert!(!format!("{slim:?}").contains("not-to-be-kept"), "{slim:?}");
        let stuck = StuckPod {
            identity: Identity { uid: "u".into(), version: "7".into() },
            account: ServiceAccount::new("default").expect("a name"),
            pull: vec!["own".into(), String::new()],
            image: "quay.io/acme/ErrImagePull".into(),
        };
        assert_eq!(StuckPod::of(slim), Some(stuck));
    }

    #[test]
    fn a_pod_that_is_not_stuck_on_an_image_is_not_kept() {
        for (status, stuck) in [
            (json!({}), false),
            (json!({"phase": "Pending", "initContainerStatuses": null, "containerStatuses": null}), false),
            (json!({"containerStatuses": [{"image": "i", "state": {"running": {}}}]}), false),
            (json!({"containerStatuses": [{"image": "i"}]}), false),
            (json!({"containerStatuses": [waits("ContainerCreating"), waits("CrashLoopBackOff")]}), false),
            (json!({"containerStatuses": [waits("ErrImagePull")]}), true),
            (json!({"containerStatuses": [waits("ImagePullBackOff")]}), true),
            (json!({"initContainerStatuses": [waits("ImagePullBackOff")], "containerStatuses": []}), true),
        ] {
            assert_eq!(StuckPod::of(read(pod(&status))).is_some(), stuck, "{status}");
        }
        let mut going = pod(&json!({"containerStatuses": [waits("ErrImagePull")]}));
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(StuckPod::of(read(going)), None, "it is being deleted");
    }
}
