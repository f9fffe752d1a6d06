//! What the kubelet would choke on is refused at the door; what comes in is used by the kubelet as it was meant.

mod keyring;
mod refused;

use e2e::Scenario;
use pullpass_api::credential::v1::{
    CreateCredentialRequest, ListAuditEventsRequest, Material, material::Source,
};
use refused::REFUSED;
use tonic::Code;
use tonic_types::StatusExt as _;

/// Everything that is known about what was stored: names and audit events.
async fn stored(s: &Scenario) -> (serde_json::Value, usize) {
    let credentials = s.pullpass.cli(&["credential", "list", "-o", "json"]).await.ok().json();
    let mut store = s.pullpass.credential_store(&s.pullpass.admin());
    let request = ListAuditEventsRequest { page_size: 1000, ..Default::default() };
    let events = store.list_audit_events(request).await.expect("the audit trail").into_inner().events;
    (
        credentials,
        events.iter().filter(|event| event.action == "CreateCredential" && event.revision > 0).count(),
    )
}

#[tokio::test]
async fn every_refusal_names_the_entry_and_stores_nothing_by_the_command_and_by_grpc() {
    let s = Scenario::own("door", |_| {}).await;
    let kept = s.credential("kept", "quay.io", "robot", "first").await;
    let before = stored(&s).await;
    let mut store = s.pullpass.credential_store(&s.pullpass.admin());
    for (content, says) in
        REFUSED.iter().map(|(content, says)| (content.as_bytes().to_vec(), *says)).chain(refused::large())
    {
        let shown = String::from_utf8_lossy(&content[..content.len().min(90)]).into_owned();
        for command in [["credential", "import", "refused"], ["credential", "rotate", &kept]] {
            let output =
                s.pullpass.cli_with(&*content, &[&command[..], &["--from-file", "-"]].concat()).await;
            assert_eq!(output.code, 1, "{command:?} with {shown}: {output:#?}");
            assert_eq!(output.stdout, "", "{shown}");
            for part in says {
                assert!(
                    output.stderr.contains(part),
                    "{command:?} with {shown} does not say {part:?}: {}",
                    output.stderr
                );
            }
        }
        let request = CreateCredentialRequest {
            credential_id: "refused".to_owned(),
            material: Some(Material { source: Some(Source::DockerConfig(content)) }),
            ..Default::default()
        };
        let status = store.create_credential(request).await.expect_err(&shown);
        assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {status:?}");
        let violations = status
            .get_error_details()
            .bad_request()
            .map(|bad| bad.field_violations.clone())
            .unwrap_or_default();
        assert!(violations.iter().any(|v| v.field.starts_with("material")), "{shown}: {violations:?}");
    }
    assert_eq!(stored(&s).await, before, "something was stored");
}

#[tokio::test]
async fn a_username_with_a_colon_is_refused_at_the_door() {
    let s = Scenario::shared().await;
    let name = s.name("colon");
    let create =
        ["credential", "create", &name, "--server", "quay.io", "--username", "a:b", "--password-stdin"];
    let output = s.pullpass.cli_with("first", &create).await;
    assert_eq!(output.code, 1, "{output:#?}");
    assert!(output.stderr.contains("quay.io") && output.stderr.contains("colon"), "{output:#?}");
    let get = s.pullpass.cli(&["credential", "get", &name]).await;
    assert!(get.code == 1 && get.stderr.contains("NOT_FOUND"), "{get:#?}");
}
