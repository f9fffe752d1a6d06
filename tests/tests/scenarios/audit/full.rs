//! Storage that takes no more: no event, no secret, and the service goes on when there is room again.

use std::{fs, process::Command};

use e2e::{Pullpass, WorkFolder, pullpass::Service};
use pullpass::dev::Options;
use pullpass_api::{
    credential::v1::{FetchPullSecretRequest, GetCredentialRequest},
    grant::v1::{
        CreateSecretLinkRequest, IssueTicketRequest, NamespaceSelection, SecretLink, ServiceAccountSelection,
        Usage,
    },
};
use tonic::{Code, Status};

use super::export_and_verify;
use crate::trust::reason;

const STORE: Service = Service::CredentialStore;
/// Each fetch writes several pages.
const MOST: usize = 500;
const ROOM: u64 = 128 * 1024;

/// One fetch as the applier does it.
async fn fetch(pullpass: &Pullpass) -> Result<Vec<u8>, Status> {
    let applier = pullpass.applier();
    let request = IssueTicketRequest { secret_link: "secretLinks/quay".to_owned() };
    let ticket =
        pullpass.grant_manager(&applier).issue_ticket(request).await.expect("a ticket").into_inner().ticket;
    let request = FetchPullSecretRequest { ticket };
    Ok(pullpass.credential_store(&applier).fetch_pull_secret(request).await?.into_inner().data)
}

async fn declare(pullpass: &Pullpass) {
    let create =
        ["credential", "create", "quay", "--server", "quay.io", "--username", "robot", "--password-stdin"];
    pullpass.cli_with("first", &create).await.ok();
    let link = SecretLink {
        credentials: vec!["credentials/quay".to_owned()],
        clusters: vec![pullpass.state().cluster().to_string()],
        namespaces: Some(NamespaceSelection { all: true, ..Default::default() }),
        service_accounts: Some(ServiceAccountSelection { all: true, ..Default::default() }),
        usages: vec![Usage::Pull.into()],
        ..Default::default()
    };
    let request = CreateSecretLinkRequest {
        secret_link_id: "quay".to_owned(),
        secret_link: Some(link),
        ..Default::default()
    };
    pullpass.grant_manager(&pullpass.admin()).create_secret_link(request).await.expect("the link");
}

/// No file of the service may become larger than so many bytes; none: as large as it likes.
fn limit(pullpass: &Pullpass, bytes: Option<u64>) {
    let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let process = pullpass.process_id(STORE).to_string();
    let status =
        Command::new("prlimit").args(["--pid", &process, &format!("--fsize={limit}:unlimited")]).status();
    assert!(status.is_ok_and(|status| status.success()), "prlimit, of util-linux, is needed");
}

/// Fetched and told of, as the trail has it.
async fn told(pullpass: &Pullpass) -> usize {
    let events = pullpass.cli(&["audit", "list", "--limit", "0", "-o", "json"]).await.ok().json();
    let events = events.as_array().expect("events").clone();
    events.iter().filter(|e| e["action"] == "FetchPullSecret" && e["details"]["versions"].is_string()).count()
}

#[tokio::test]
async fn where_the_storage_takes_no_event_no_secret_leaves_and_with_room_all_goes_on() {
    let folder = WorkFolder::new("storage").expect("a folder");
    let pullpass =
        Pullpass::start_keepers(&Options::new(folder.path().join("pullpass"))).await.expect("the services");
    let ended = pullpass.terminate(STORE, std::time::Duration::from_secs(10)).await;
    assert!(ended.is_some_and(|status| status.success()));
    // A write beyond the limit shall fail, and not end the process.
    pullpass.launch_by(STORE, "env", &["--ignore-signal=XFSZ"]).expect("the service starts");
    pullpass.wait_until_healthy(STORE).await.expect("the service serves");
    declare(&pullpass).await;
    assert!(!fetch(&pullpass).await.expect("the control").is_empty());

    let log = format!("{}-wal", pullpass.state().database(STORE).display());
    let sizes = [log.into(), pullpass.state().database(STORE), pullpass.state().log_file(STORE)];
    let largest =
        sizes.iter().map(|file| fs::metadata(file).map_or(0, |m| m.len())).max().unwrap_or_default();
    limit(&pullpass, Some(largest + ROOM));
    let (mut fetched, mut refused) = (1, None);
    for _ in 0..MOST {
        match fetch(&pullpass).await {
            Ok(_) => fetched += 1,
            Err(status) => {
                refused = Some(status);
                break;
            }
        }
    }
    let refused = refused.expect("a limit that is reached");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Internal, "DATABASE_FAILED"),
        "{refused:?}"
    );
    for _ in 0..3 {
        assert_eq!(fetch(&pullpass).await.map_err(|status| status.code()), Err(Code::Internal));
    }
    let rotate =
        ["credential", "rotate", "quay", "--server", "quay.io", "--username", "robot", "--password-stdin"];
    assert_eq!(pullpass.cli_with("second", &rotate).await.code, 1, "no change without its event, either");

    // It stays up: what needs no event is answered.
    pullpass.wait_until_healthy(STORE).await.expect("it stays healthy");
    let read = GetCredentialRequest { name: "credentials/quay".to_owned() };
    let read =
        pullpass.credential_store(&pullpass.admin()).get_credential(read).await.expect("reads are served");
    assert_eq!(read.into_inner().credential.map(|credential| credential.version), Some(1));
    assert_eq!(told(&pullpass).await, fetched, "one event for each secret that left");

    limit(&pullpass, None);
    assert!(!fetch(&pullpass).await.expect("with room it goes on").is_empty());
    assert_eq!(told(&pullpass).await, fetched + 1);
    export_and_verify(&pullpass, "storage.jsonl", &[]).await.1.ok();
    println!("{fetched} fetches, then refused");
}
