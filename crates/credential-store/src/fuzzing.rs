//! A door for the fuzz targets of `fuzz/`, which are no part of this crate. It exists only under `--cfg fuzzing`.

use std::path::Path;

use prost::Message;
use pullpass_api::{convert::Error, credential::v1 as wire, ticket::Claims};
use pullpass_domain::{name::CredentialName, secret::SecretBytes};
use pullpass_runtime::PeerIdentity;
use time::OffsetDateTime;

use crate::{
    grpc::convert,
    seal::{Kek, Place, Sealed},
    store::Entry,
    ticket::{self, Verifier},
};

/// Tickets as `FetchPullSecret` checks them.
#[derive(Debug)]
pub struct Tickets(Verifier);

impl Tickets {
    /// With the issuer's public key, a PEM file.
    pub fn load(public_key: &Path) -> Option<Self> {
        Verifier::load(public_key).ok().map(Self)
    }

    /// What a ticket says, or why it is refused.
    pub fn read(&self, ticket: &str) -> Result<Claims, String> {
        self.0.read(ticket).map_err(|refusal| format!("{refusal} {refusal:?}"))
    }

    /// The credentials that it allows `peer` now, or why it is refused.
    pub fn check(claims: &Claims, peer: &PeerIdentity, now: OffsetDateTime) -> Result<Vec<String>, String> {
        let allowed = ticket::check(claims, peer, now).map_err(|refusal| format!("{refusal} {refusal:?}"))?;
        Ok(allowed.credentials.iter().map(ToString::to_string).collect())
    }
}

/// A row as the database keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The record format.
    pub format: i64,
    /// The key that material of the first format is bound to.
    pub material_key_id: Option<String>,
    /// Registry and user name of each entry.
    pub entries: Vec<(String, String)>,
    /// Which key-encryption key it hangs on.
    pub key_id: String,
    /// The data key, wrapped.
    pub data_key: Vec<u8>,
    /// The material, encrypted.
    pub ciphertext: Vec<u8>,
}

/// Where a row belongs: uid, id and version of a credential.
pub type Belonging<'a> = (&'a str, &'a CredentialName, i64);

/// Seals and opens rows.
#[derive(Debug)]
pub struct Records(Kek);

impl Records {
    /// Under this key-encryption key.
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        Kek::new(key).ok().map(Self)
    }

    /// A row that holds `material`.
    pub fn seal(
        &self,
        (uid, name, version): Belonging<'_>,
        entries: Vec<(String, String)>,
        material: &SecretBytes,
    ) -> Option<Row> {
        let sealed = self.0.seal(Place { uid, name, version }, &shown(&entries), material).ok()?;
        let Sealed { format, material_key_id, key_id, data_key, ciphertext } = sealed;
        Some(Row { format, material_key_id, entries, key_id, data_key, ciphertext })
    }

    /// What a row holds, or why it does not open.
    pub fn open(&self, (uid, name, version): Belonging<'_>, row: Row) -> Result<SecretBytes, String> {
        let Row { format, material_key_id, entries, key_id, data_key, ciphertext } = row;
        let sealed = Sealed { format, material_key_id, key_id, data_key, ciphertext };
        let opened = self.0.open(Place { uid, name, version }, &shown(&entries), &sealed);
        opened.map_err(|error| format!("{error} {error:?}"))
    }
}

fn shown(entries: &[(String, String)]) -> Vec<Entry> {
    let entry = |(registry, username): &(String, String)| Entry {
        registry: registry.clone(),
        username: username.clone(),
    };
    entries.iter().map(entry).collect()
}

/// Decodes a message and converts it as the handler of the RPC does. None if it is no message, or none of this service.
pub fn convert(rpc: &str, message: &[u8]) -> Option<Result<(), Error>> {
    Some(match rpc {
        "CreateCredential" => wire::CreateCredentialRequest::decode(message).ok().map(create)?,
        "AddCredentialVersion" => wire::AddCredentialVersionRequest::decode(message).ok().map(add_version)?,
        "GetCredential" => {
            wire::GetCredentialRequest::decode(message).ok().map(|it| name("name", &it.name))?
        }
        "ListCredentials" => wire::ListCredentialsRequest::decode(message).ok().map(list)?,
        "UpdateCredential" => wire::UpdateCredentialRequest::decode(message).ok().map(update)?,
        "WatchCredentials" => wire::WatchCredentialsRequest::decode(message)
            .ok()
            .map(|it| convert::revision("after_revision", it.after_revision).map(drop))?,
        "ListExposures" => wire::ListExposuresRequest::decode(message)
            .ok()
            .map(|it| convert::exposures_asked(&it).map(drop))?,
        "ListAuditEvents" => wire::ListAuditEventsRequest::decode(message).ok().map(list_audit_events)?,
        _ => return None,
    })
}

fn name(field: &str, name: &str) -> Result<(), Error> {
    convert::field(field, CredentialName::parse(name)).map(drop)
}

fn create(message: wire::CreateCredentialRequest) -> Result<(), Error> {
    convert::material(message.material)?;
    convert::field("credential_id", CredentialName::from_id(message.credential_id))?;
    convert::description("description", message.description)?;
    convert::request_id(&message.request_id).map(drop)
}

fn add_version(message: wire::AddCredentialVersionRequest) -> Result<(), Error> {
    convert::material(message.material)?;
    name("name", &message.name)?;
    convert::request_id(&message.request_id).map(drop)
}

fn list(message: wire::ListCredentialsRequest) -> Result<(), Error> {
    convert::page_size(message.page_size)?;
    convert::credential_page_token(&message.page_token).map(drop)
}

fn update(message: wire::UpdateCredentialRequest) -> Result<(), Error> {
    let new = message.credential.unwrap_or_default();
    name("credential.name", &new.name)?;
    convert::only_description(message.update_mask.as_ref())?;
    convert::description("credential.description", new.description).map(drop)
}

fn list_audit_events(message: wire::ListAuditEventsRequest) -> Result<(), Error> {
    convert::page_size(message.page_size)?;
    convert::events(&message).map(drop)
}
