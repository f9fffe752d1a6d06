use pullpass_api::credential::v1::{CredentialChange, SnapshotEnd};

use super::*;
use crate::plan::testing;

const NOW: fn() -> Instant = Instant::now;

fn changed(name: &str, uid: &str, version: i64) -> Message {
    let change = CredentialChange { name: format!("credentials/{name}"), uid: uid.into(), version };
    Message { event: Some(Event::Changed(change)), revision: 1, trace_context: "trace".into() }
}

fn deleted(name: &str) -> Message {
    Message { event: Some(Event::Deleted(format!("credentials/{name}"))), ..Default::default() }
}

fn rendered(version: i64) -> Rendered {
    let versions = vec![("credentials/quay".to_owned(), version)].into();
    Rendered::new(&SecretBytes::new(b"{}".to_vec()), SecretType::DockerConfigJson, versions)
}

fn failure() -> Failure {
    let reason = Reason::pending("UNAVAILABLE", "Secret", "web", "away".into());
    Failure { reason, retry_after: Duration::from_secs(1) }
}

fn with_link() -> (Materials, LinkName) {
    let (mut materials, name) = (Materials::default(), LinkName::from_id("web").expect("a name"));
    materials.set_link(&name, Some(&testing::link("web")), "");
    (materials, name)
}

fn fetch(materials: &mut Materials, answer: Result<Rendered, Failure>) -> bool {
    let orders = materials.due(NOW());
    assert_eq!(orders.len(), 1, "one fetch");
    materials.fetched(&orders[0], answer, NOW())
}

#[test]
fn a_link_is_fetched_once_and_again_for_every_version() {
    let (mut materials, name) = with_link();
    assert!(fetch(&mut materials, Ok(rendered(1))));
    assert_eq!(materials.due(NOW()), []);
    materials.credential(&changed("quay", "u", 1));
    assert_eq!(materials.due(NOW()), [], "the watch tells of what was fetched already");
    materials.credential(&changed("other", "u", 5));
    assert_eq!(materials.due(NOW()), [], "another credential");
    materials.credential(&changed("quay", "u", 2));
    let orders = materials.due(NOW());
    assert_eq!(orders.iter().map(|order| order.trace.as_str()).collect::<Vec<_>>(), ["trace"]);
    assert_eq!(materials.due(NOW()), [], "one is under way");
    materials.fetched(&orders[0], Ok(rendered(2)), NOW());
    assert_eq!(materials.of(&name).rendered.map(|r| r.versions[0].1), Some(2));
    assert_eq!(materials.due(NOW()), []);
}

#[test]
fn a_version_that_comes_while_fetching_is_fetched_next() {
    let (mut materials, _) = with_link();
    materials.credential(&changed("quay", "u", 1));
    let orders = materials.due(NOW());
    materials.credential(&changed("quay", "u", 2));
    materials.fetched(&orders[0], Ok(rendered(1)), NOW());
    assert_eq!(materials.due(NOW()).len(), 1);
}

#[test]
fn a_failed_fetch_keeps_the_old_bytes_and_is_tried_again() {
    let (mut materials, name) = with_link();
    materials.credential(&changed("quay", "u", 1));
    fetch(&mut materials, Ok(rendered(1)));
    materials.credential(&changed("quay", "u", 2));
    assert!(fetch(&mut materials, Err(failure())));
    let material = materials.of(&name);
    assert_eq!(material.rendered.map(|r| r.versions[0].1), Some(1));
    assert_eq!(material.problem.map(|p| p.code), Some("UNAVAILABLE".into()));
    assert_eq!(materials.due(NOW()), [], "not before its time");
    let later = NOW() + Duration::from_secs(2);
    let orders = materials.due(later);
    assert!(!materials.fetched(&orders[0], Err(failure()), later), "the same problem is no news");
    materials.retry_all(later);
    assert_eq!(materials.due(later).len(), 1);
}

#[test]
fn a_credential_made_anew_is_fetched_although_its_version_is_the_same() {
    let (mut materials, _) = with_link();
    materials.credential(&changed("quay", "u", 1));
    fetch(&mut materials, Ok(rendered(1)));
    materials.credential(&deleted("quay"));
    fetch(&mut materials, Err(failure()));
    materials.credential(&changed("quay", "v", 1));
    assert_eq!(materials.due(NOW()).len(), 1);
}

#[test]
fn other_credentials_or_another_type_are_other_content() {
    let (mut materials, name) = with_link();
    fetch(&mut materials, Ok(rendered(1)));
    materials.set_link(&name, Some(&testing::link("web")), "");
    assert!(materials.of(&name).rendered.is_some(), "the same link again");
    let orders = {
        materials.credential(&changed("quay", "u", 2));
        materials.due(NOW())
    };
    materials.set_link(&name, Some(&testing::dockercfg_link("web")), "");
    assert!(materials.of(&name).rendered.is_none());
    assert!(
        !materials.fetched(&orders[0], Ok(rendered(2)), NOW()),
        "an answer to what is not asked any more"
    );
    materials.set_link(&name, None, "");
    assert_eq!(materials.due(NOW()), []);
}

#[test]
fn a_complete_snapshot_says_which_credentials_there_are() {
    let (mut materials, _) = with_link();
    fetch(&mut materials, Ok(rendered(1)));
    let mut snapshot = Credentials::default();
    snapshot.apply(&changed("quay", "u", 3));
    snapshot
        .apply(&Message { event: Some(Event::SnapshotEnd(SnapshotEnd::default())), ..Default::default() });
    materials.replace_credentials(snapshot);
    assert_eq!(materials.due(NOW()).len(), 1);
}

#[test]
fn the_encoded_value_is_what_goes_on_the_wire_and_is_not_printed() {
    let rendered = rendered(1);
    assert_eq!(rendered.expose_base64(), "e30=");
    assert!(!format!("{rendered:?}").contains("e30="));
}
