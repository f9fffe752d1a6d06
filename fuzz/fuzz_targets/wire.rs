//! Request messages of both services, decoded and converted as their handlers do: a mistake names its field, what is accepted
//! means the same when it is sent again, and no message prints its material.
//!
//! The first byte of an input chooses the RPC.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use pullpass_api::{
    convert,
    credential::v1::{CreateCredentialRequest, FetchPullSecretRequest, RegistryLogin, material::Source},
    grant::v1::{ImageGrant, SecretLink},
};
use pullpass_domain::name::{GrantName, LinkName};
use pullpass_fuzz::{CANARY, bounded};
use tonic_types::StatusExt as _;

const STORE: [&str; 8] = [
    "CreateCredential",
    "AddCredentialVersion",
    "GetCredential",
    "ListCredentials",
    "UpdateCredential",
    "WatchCredentials",
    "ListAuditEvents",
    "ListExposures",
];
const GRANTS: [&str; 8] = [
    "CreateSecretLink",
    "CreateImageGrant",
    "CreateCluster",
    "UpdateSecretLink",
    "UpdateImageGrant",
    "ListSecretLinks",
    "ReportSync",
    "GetSyncStatus",
];

fuzz_target!(|input: &[u8]| bounded(input, || {
    let Some((which, message)) = input.split_first() else { return };
    let which = usize::from(*which);
    let converted = match (STORE.get(which), GRANTS.get(which.wrapping_sub(STORE.len()))) {
        (Some(rpc), _) => pullpass_credential_store::fuzzing::convert(rpc, message),
        (_, Some(rpc)) => pullpass_grant_manager::fuzzing::convert(rpc, message),
        (None, None) => return resources(message),
    };
    if let Some(Err(error)) = converted {
        names_a_field(error);
    }
    prints_no_material(message);
}));

/// As in `material.login.server` or `secret_link.namespaces.names[2]`.
fn names_a_field(error: convert::Error) {
    let word = |word: &str| {
        let (name, index) = word.split_once('[').map_or((word, None), |(name, rest)| (name, Some(rest)));
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            && index.is_none_or(|rest| rest.strip_suffix(']').is_some_and(|i| i.parse::<usize>().is_ok()))
    };
    assert!(error.field.split('.').all(word), "{} is no field", error.field);
    assert!(!error.problem.is_empty());
    let (field, status) = (error.field.clone(), tonic::Status::from(error));
    let details = status.get_error_details();
    let named = details.bad_request().map(|bad| bad.field_violations[0].field.as_str());
    assert_eq!((status.code(), named), (tonic::Code::InvalidArgument, Some(field.as_str())));
}

/// Links and grants mean the same after they were told and taken in again.
fn resources(message: &[u8]) {
    let (link, grant) = (LinkName::from_id("l").expect("a name"), GrantName::from_id("g").expect("a name"));
    if let Ok(Ok(taken)) = SecretLink::decode(message).map(|message| convert::link(&link, &message)) {
        let told = convert::link_message(&link, &taken).encode_to_vec();
        let again = SecretLink::decode(&*told).expect("a message");
        assert_eq!(convert::link(&link, &again), Ok(taken));
    }
    if let Ok(Ok(taken)) = ImageGrant::decode(message).map(|message| convert::grant(&message)) {
        let told = convert::grant_message(&grant, &taken).encode_to_vec();
        let again = ImageGrant::decode(&*told).expect("a message");
        assert_eq!(convert::grant(&again), Ok(taken));
    }
}

/// Printed, a message is the same whatever its secrets are.
fn prints_no_material(message: &[u8]) {
    if let Ok(request) = FetchPullSecretRequest::decode(message) {
        let other = FetchPullSecretRequest { ticket: CANARY.to_owned() };
        assert_eq!(format!("{request:?}"), format!("{other:?}"));
    }
    let Ok(request) = CreateCredentialRequest::decode(message) else { return };
    let mut other = request.clone();
    match other.material.as_mut().and_then(|material| material.source.as_mut()) {
        Some(Source::DockerConfig(bytes)) => *bytes = CANARY.into(),
        Some(Source::Login(login)) => *login = RegistryLogin { password: CANARY.to_owned(), ..login.clone() },
        None => return,
    }
    assert_eq!(format!("{request:?}"), format!("{other:?}"));
}
