use serde_json::json;

use super::*;

fn pod(version: &str, reason: &str) -> SlimPod {
    let status = json!({"containerStatuses": [{"image": "i", "state": {"waiting": {"reason": reason}}}]});
    let pod = json!({
        "metadata": {"name": "web-1", "namespace": "a", "uid": "u", "resourceVersion": version},
        "spec": {"serviceAccountName": "default"},
        "status": status,
    });
    serde_json::from_value(pod).expect("a pod")
}

/// The image pulls that are stuck after these events of one watch.
fn kept(events: impl FnOnce(&mut Objects<StuckPod>, &mut State)) -> usize {
    let (mut sink, mut state) = (Objects::default(), State::default());
    events(&mut sink, &mut state);
    state.index.namespaces().map(|(_, state)| state.pods.len()).sum()
}

#[test]
fn a_pod_is_kept_from_when_it_cannot_pull_until_it_can_or_is_gone() {
    let stuck = |sink: &mut Objects<StuckPod>, state: &mut State| {
        sink.put(state, pod("1", "ContainerCreating"), false);
        sink.put(state, pod("2", "ErrImagePull"), false);
    };
    assert_eq!(kept(|sink, state| sink.put(state, pod("1", "ContainerCreating"), false)), 0);
    assert_eq!(kept(stuck), 1);
    let pulled = |sink: &mut Objects<StuckPod>, state: &mut State| {
        stuck(sink, state);
        sink.put(state, pod("3", "ContainerCreating"), false);
    };
    assert_eq!(kept(pulled), 0);
    let gone = |sink: &mut Objects<StuckPod>, state: &mut State| {
        stuck(sink, state);
        sink.remove(state, &pod("3", "ErrImagePull"));
    };
    assert_eq!(kept(gone), 0);
    let listed_anew = |sink: &mut Objects<StuckPod>, state: &mut State| {
        stuck(sink, state);
        sink.begin();
        sink.end(state);
    };
    assert_eq!(kept(listed_anew), 0);
}
