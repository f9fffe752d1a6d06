//! Pods of one container that always pull their image.

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::Cluster;
use crate::wait::{eventually, seen};

impl Cluster {
    /// Makes a pod of the namespace's `default` service account.
    pub async fn create_pod(&self, namespace: &str, name: &str, node: &str, image: &str) {
        self.try_create_pod(namespace, name, node, image).await.expect("the pod can be created");
    }

    /// The same where it may be refused.
    pub async fn try_create_pod(
        &self,
        namespace: &str,
        name: &str,
        node: &str,
        image: &str,
    ) -> kube::Result<()> {
        let pod = serde_json::from_value(pod(name, node, image)).expect("a pod");
        self.api::<Pod>(namespace).create(&PostParams::default(), &pod).await.map(drop)
    }

    /// The state of its container: `Running`, or the reason why it waits or ended; empty while nothing is known.
    pub async fn pod_state(&self, namespace: &str, name: &str) -> String {
        let pod = self.api::<Pod>(namespace).get_opt(name).await.expect("a pod or none");
        let containers = pod.and_then(|pod| pod.status).and_then(|status| status.container_statuses);
        let first = containers.into_iter().flatten().next().and_then(|container| container.state);
        first.as_ref().map(say).unwrap_or_default()
    }

    /// Waits until it is in one of these states.
    pub async fn pod_becomes(&self, namespace: &str, name: &str, one_of: &[&str]) {
        eventually(format!("pod {namespace}/{name} is {one_of:?}"), async || {
            let state = self.pod_state(namespace, name).await;
            seen(one_of.contains(&state.as_str()), state)
        })
        .await;
    }

    /// Deletes it at once, and waits until it is gone.
    pub async fn delete_pod(&self, namespace: &str, name: &str) {
        let at_once = DeleteParams::default().grace_period(0);
        self.api::<Pod>(namespace).delete(name, &at_once).await.expect("it can be deleted");
        eventually(format!("pod {namespace}/{name} is gone"), async || {
            let there = self.api::<Pod>(namespace).get_opt(name).await.map_err(|e| e.to_string())?;
            seen(there.is_none(), there.and_then(|pod| pod.status))
        })
        .await;
    }
}

fn say(state: &ContainerState) -> String {
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    let ended = state.terminated.as_ref().and_then(|ended| ended.reason.clone());
    let running = state.running.as_ref().map(|_| "Running".to_owned());
    running.or(waiting).or(ended).unwrap_or_default()
}

/// The node has no scheduler, no pod network and no name service.
fn pod(name: &str, node: &str, image: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "hostNetwork": true,
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["127.0.0.1"]},
            "automountServiceAccountToken": false,
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "Always"}],
        },
    })
}
