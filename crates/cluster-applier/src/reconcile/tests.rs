//! Against an API server that answers by script, and refuses where the script says so.

use std::{convert::Infallible, sync::Mutex};

use http::{Request, Response, header};
use kube::client::Body;
use pullpass_api::credential::v1::FetchPullSecretResponse;
use pullpass_domain::{docker_config::SecretType, name::Namespace};
use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::{
        client::Cluster,
        object::{Account, LINK, MANAGED_BY, NamespaceFacts, PULLPASS, SecretFacts},
    },
    desired::Desired,
    material::Rendered,
    plan::testing::{account_name, desired_link, identity, link_message, secret_of},
    state::Shared,
};

/// What was asked, as `VERB kind`, and the answers still to come: status, body, seconds to wait.
type Script = Mutex<(Vec<String>, Vec<(&'static str, u16, Value, Option<u64>)>)>;

fn namespace() -> Namespace {
    Namespace::new("a").expect("a name")
}

/// A turn of it after so many failures that the next one counts.
fn job() -> Job {
    Job { namespace: namespace(), trace: String::new(), failures: REFUSALS - 1 }
}

/// Answers by the script where its next line is about this request; otherwise as an API server to which all is fine.
async fn answer(script: Arc<Script>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let mut path = head.uri.path().split('/').skip_while(|part| *part != "a").skip(1);
    let asked = format!("{} {}", head.method, path.next().unwrap_or_default());
    let sent: Value =
        serde_json::from_slice(&body.collect_bytes().await.expect("a body")).unwrap_or_default();
    let fine = || match head.method.as_str() {
        "POST" => merged(sent.clone(), &json!({"metadata": {"uid": "new", "resourceVersion": "20"}})),
        "PATCH" if asked.ends_with("serviceaccounts") => patched(&sent),
        "DELETE" => json!({"kind": "Status", "status": "Success"}),
        _ => json!({"metadata": {"uid": "u", "resourceVersion": "20"}}),
    };
    let mut script = script.lock().expect("unpoisoned");
    script.0.push(asked.clone());
    let line = script.1.iter().position(|(about, ..)| *about == asked);
    let (status, body, wait) = match line.map(|line| script.1.remove(line)) {
        Some((_, status, body, wait)) => (status, body, wait),
        None => (200, fine(), None),
    };
    let response = Response::builder().status(status);
    let response = wait.into_iter().fold(response, |response, s| response.header(header::RETRY_AFTER, s));
    Ok(response.body(Body::from(body.to_string().into_bytes())).expect("a response"))
}

fn merged(mut base: Value, more: &Value) -> Value {
    for (key, value) in more["metadata"].as_object().into_iter().flatten() {
        base["metadata"][key] = value.clone();
    }
    base
}

/// The account after the one patch that these tests send: `web` appended to, or removed from, an otherwise empty list.
fn patched(patch: &Value) -> Value {
    let removed = patch[1]["op"] == "remove";
    let list = if removed { json!([]) } else { json!([{"name": "web"}]) };
    json!({"metadata": {"uid": "account", "resourceVersion": "20"}, "imagePullSecrets": list})
}

/// An applier that knows namespace `a` with account `default`, whose pull list is this.
fn applier(desired: Desired, pull: &[&str], script: &Arc<Script>) -> Applier {
    let script = Arc::clone(script);
    let service = tower::service_fn(move |request| answer(Arc::clone(&script), request));
    let shared = Shared::new([]);
    shared.with(|state| {
        state.index.set_namespace(&namespace(), Some(NamespaceFacts::default()));
        let pull = pull.iter().map(ToString::to_string).collect();
        let account = Account { identity: identity("account"), pull, ..Default::default() };
        state.index.put(&namespace(), account_name("default"), account);
        state.replace_desired(Desired { cluster: Some("clusters/dev".into()), revision: 3, ..desired }, "");
        for order in state.materials.due(Instant::now()) {
            let fetched = FetchPullSecretResponse { data: b"{}".to_vec(), versions: Vec::new() };
            let rendered =
                Rendered::new(&fetched.data.into(), SecretType::DockerConfigJson, Vec::new().into());
            state.fetched(&order, Ok(rendered), Instant::now());
        }
    });
    Applier {
        cluster: Arc::new(Cluster::over(kube::Client::new(service, "default"))),
        shared: Arc::new(shared),
    }
}

fn script(lines: Vec<(&'static str, u16, Value, Option<u64>)>) -> Arc<Script> {
    Arc::new(Mutex::new((Vec::new(), lines)))
}

fn asked(script: &Script) -> Vec<String> {
    script.lock().expect("unpoisoned").0.clone()
}

fn status(reason: &str) -> Value {
    json!({"kind": "Status", "reason": reason, "message": "because"})
}

fn account(version: &str, pull: &[&str]) -> Value {
    let pull: Vec<_> = pull.iter().map(|name| json!({"name": name})).collect();
    json!({"metadata": {"uid": "account", "resourceVersion": version}, "imagePullSecrets": pull})
}

fn codes(outcomes: &Outcomes) -> Vec<String> {
    let reasons = outcomes.values().flat_map(|outcome| &outcome.reasons);
    reasons.map(|reason| reason.code.to_string()).collect()
}

#[tokio::test]
async fn a_new_link_takes_two_writes_and_no_more() {
    let script = script(vec![]);
    let applier = applier(desired_link("web"), &[], &script);
    let (outcomes, end) = reconcile(&applier, &job()).await;
    assert_eq!(end, End::Settled);
    assert_eq!(outcomes.values().map(|outcome| outcome.standing).collect::<Vec<_>>(), [Standing::Synced]);
    assert_eq!(asked(&script), ["POST secrets", "PATCH serviceaccounts"]);
    reconcile(&applier, &job()).await;
    assert_eq!(asked(&script).len(), 2, "nothing is left to do, and nothing is asked");
}

#[tokio::test]
async fn a_conflict_is_looked_at_and_tried_again_at_once() {
    let script = script(vec![
        ("PATCH serviceaccounts", 422, status("Invalid"), None),
        ("GET serviceaccounts", 200, account("9", &["own"]), None),
    ]);
    let applier = applier(desired_link("web"), &[], &script);
    let (_, end) = reconcile(&applier, &job()).await;
    assert_eq!(end, End::Settled);
    let patches = ["POST secrets", "PATCH serviceaccounts", "GET serviceaccounts", "PATCH serviceaccounts"];
    assert_eq!(asked(&script), patches);
}

#[tokio::test]
async fn a_refusal_of_what_has_not_changed_is_no_conflict() {
    let script = script(vec![
        ("PATCH serviceaccounts", 422, status("Invalid"), None),
        ("GET serviceaccounts", 200, account("7", &[]), None),
    ]);
    let applier = applier(desired_link("web"), &[], &script);
    let (outcomes, end) = reconcile(&applier, &job()).await;
    assert_eq!((codes(&outcomes), end), (vec!["REFUSED".to_owned()], End::Retry { not_before: None }));
}

#[tokio::test]
async fn what_is_not_ours_is_found_out_reported_and_nobody_is_linked_to_it() {
    let foreign = json!({"metadata": {"uid": "f", "resourceVersion": "5"}, "type": "Opaque", "data": {}});
    let script = script(vec![
        ("POST secrets", 409, status("AlreadyExists"), None),
        ("GET secrets", 200, foreign, None),
    ]);
    let applier = applier(desired_link("web"), &[], &script);
    let (outcomes, end) = reconcile(&applier, &job()).await;
    assert_eq!((codes(&outcomes), end), (vec!["NOT_OURS".to_owned()], End::Retry { not_before: None }));
    assert_eq!(asked(&script), ["POST secrets", "GET secrets"]);
}

#[tokio::test]
async fn a_secret_that_only_lost_its_label_is_repaired() {
    let damaged = json!({
        "metadata": {"uid": "s", "resourceVersion": "5", "annotations": {LINK: "web"}},
        "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="},
    });
    let repaired = merged(
        damaged.clone(),
        &json!({"metadata": {"labels": {MANAGED_BY: PULLPASS}, "resourceVersion": "6"}}),
    );
    let script = script(vec![
        ("POST secrets", 409, status("AlreadyExists"), None),
        ("GET secrets", 200, damaged, None),
        ("PATCH secrets", 200, repaired, None),
    ]);
    let (_, end) = reconcile(&applier(desired_link("web"), &["web"], &script), &job()).await;
    assert_eq!(end, End::Settled);
    assert_eq!(asked(&script), ["POST secrets", "GET secrets", "PATCH secrets"]);
}

#[tokio::test]
async fn entries_go_before_the_secret_and_the_secret_stays_if_they_do_not() {
    let unlinking = |lines| {
        let script = script(lines);
        let applier = applier(Desired::default(), &["web"], &script);
        let secret: SecretFacts = secret_of("web", "{}");
        applier.shared.with(|state| state.index.put(&namespace(), "web".to_owned(), secret));
        (applier, script)
    };
    let (applier, fine) = unlinking(vec![]);
    assert_eq!(reconcile(&applier, &job()).await, (Outcomes::new(), End::Settled));
    assert_eq!(asked(&fine), ["PATCH serviceaccounts", "DELETE secrets"]);

    let (applier, refused) = unlinking(vec![("PATCH serviceaccounts", 403, status("Forbidden"), None)]);
    let (outcomes, end) = reconcile(&applier, &job()).await;
    assert_eq!((codes(&outcomes), end), (vec!["FORBIDDEN".to_owned()], End::Retry { not_before: None }));
    assert_eq!(outcomes.values().next().map(|outcome| outcome.standing), Some(Standing::Leaving));
    assert_eq!(asked(&refused), ["PATCH serviceaccounts"]);
}

#[tokio::test]
async fn the_api_server_says_when_to_come_again() {
    let script = script(vec![("POST secrets", 429, json!("later"), Some(7))]);
    let (outcomes, end) = reconcile(&applier(desired_link("web"), &["web"], &script), &job()).await;
    assert_eq!(codes(&outcomes), ["THROTTLED"]);
    assert_eq!(end, End::Retry { not_before: Some(Duration::from_secs(7)) });
}

#[tokio::test]
async fn nobody_is_linked_to_a_secret_that_was_refused_and_the_others_go_on() {
    let mut desired = desired_link("web");
    desired.set_link(&link_message("api"));
    let script = script(vec![("POST secrets", 403, status("Forbidden"), None)]);
    let applier = applier(desired, &[], &script);
    let (outcomes, _) = reconcile(&applier, &job()).await;
    let standings: Vec<_> = outcomes.values().map(|outcome| outcome.standing).collect();
    assert_eq!(standings, [Standing::Failed, Standing::Synced], "api was refused, web was not");
    assert_eq!(asked(&script), ["POST secrets", "POST secrets", "PATCH serviceaccounts"]);
}

#[tokio::test]
async fn what_is_refused_for_the_first_times_is_pending() {
    for (failures, standing) in
        [(0, Standing::Pending), (REFUSALS - 2, Standing::Pending), (REFUSALS - 1, Standing::Failed)]
    {
        let script = script(vec![("POST secrets", 403, status("Forbidden"), None)]);
        let job = Job { failures, ..job() };
        let (outcomes, _) = reconcile(&applier(desired_link("web"), &[], &script), &job).await;
        assert_eq!(codes(&outcomes), ["FORBIDDEN"]);
        assert_eq!(
            outcomes.values().map(|outcome| outcome.standing).collect::<Vec<_>>(),
            [standing],
            "{failures}"
        );
    }
}
