//! Wire ↔ what the service works with. Inwards everything is checked and a mistake names its field.

use std::fmt::Display;

use prost::Message;
use pullpass_api::{
    audit::v1::AuditEvent as WireAuditEvent,
    convert::{Error, first_events, time, timestamp},
    credential::v1::{self as wire, material::Source, watch_credentials_response as watch_wire},
};
use pullpass_database::{AuditEvent, Events, Head};
use pullpass_domain::{
    docker_config::{self, DockerConfig},
    name::{ClusterName, CredentialName},
    secret::{Password, SecretBytes},
};
use uuid::Uuid;

use crate::{
    app::NAME,
    exposures::{Exposure, Fate, Since},
    fetch::Fetched,
    keys::Provider,
    rewrap::{KeyState, Progress, State},
    store::{Credential, Version},
    watch::{Event, What},
};

const DEFAULT_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1000;
/// A page ends before it outgrows what gRPC clients accept by default, 4 MiB; credentials may have many versions.
const LARGEST_PAGE_BYTES: usize = 2 * 1024 * 1024;
const LONGEST_DESCRIPTION: usize = 1024;

pub(crate) fn field<T>(name: &str, parsed: Result<T, impl Display>) -> Result<T, Error> {
    parsed.map_err(|problem| Error::new(name, problem))
}

/// Takes the message over, so that the material in it is wiped whatever comes of it.
pub(crate) fn material(message: Option<wire::Material>) -> Result<DockerConfig, Error> {
    match message.and_then(|material| material.source) {
        None => Err(Error::new("material", "is missing: give a docker config or a login")),
        Some(Source::DockerConfig(bytes)) => {
            let bytes = SecretBytes::new(bytes);
            DockerConfig::parse(bytes.expose()).map_err(|error| refused("docker_config", &error))
        }
        Some(Source::Login(login)) => {
            let password = Password::new(login.password);
            DockerConfig::from_login(&login.server, &login.username, password, &login.email)
                .map_err(|error| refused(login_field(&error), &error))
        }
    }
}

fn refused(field: &str, error: &docker_config::Error) -> Error {
    Error::new(field, format!("{error}; {}", error.remedy())).within("material")
}

fn login_field(error: &docker_config::Error) -> &'static str {
    use docker_config::Error as E;
    match error {
        E::NoServer | E::KeyUserinfo(_) | E::KeyScheme(_) | E::KeyMatchesNothing(_) => "login.server",
        E::NoUsername(_) | E::UsernameColon(_) | E::UsernameControl(_) => "login.username",
        E::NoPassword(_) => "login.password",
        _ => "login",
    }
}

pub(crate) fn description(field: &str, text: String) -> Result<String, Error> {
    if text.chars().count() > LONGEST_DESCRIPTION {
        return Err(Error::new(field, format!("is longer than {LONGEST_DESCRIPTION} characters")));
    }
    Ok(text)
}

/// None if there is none; else in the one form in which it is compared.
pub(crate) fn request_id(text: &str) -> Result<Option<String>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let id = Uuid::parse_str(text).map_err(|_| Error::new("request_id", "is not a UUID"))?;
    Ok(Some(id.to_string()))
}

pub(crate) fn only_description(mask: Option<&prost_types::FieldMask>) -> Result<(), Error> {
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    match paths.iter().find(|path| *path != "description") {
        Some(other) => {
            Err(Error::new("update_mask", format!("{other:?} cannot be changed: name `description`")))
        }
        None if paths.is_empty() => Err(Error::new("update_mask", "is empty: name `description`")),
        None => Ok(()),
    }
}

pub(crate) fn revision(field: &str, revision: i64) -> Result<i64, Error> {
    if revision < 0 { Err(Error::new(field, "must not be negative")) } else { Ok(revision) }
}

pub(crate) fn page_size(size: i32) -> Result<u32, Error> {
    match u32::try_from(size) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(LARGEST_PAGE)),
        Err(_) => Err(Error::new("page_size", "must not be negative")),
    }
}

/// The name that the page before ended with; empty before the first.
pub(crate) fn credential_page_token(token: &str) -> Result<String, Error> {
    match token {
        "" => Ok(String::new()),
        id => CredentialName::from_id(id).map(|name| name.to_string()).map_err(|_| foreign_token()),
    }
}

/// Which events are asked for.
pub(crate) fn events(message: &wire::ListAuditEventsRequest) -> Result<Events, Error> {
    let first = first_events(&message.order_by, message.after_sequence)?;
    let sequence = match message.page_token.as_str() {
        "" => first.sequence,
        token => token.parse().map_err(|_| foreign_token())?,
    };
    Ok(if first.newest_first { Events::Before(sequence) } else { Events::After(sequence) })
}

fn foreign_token() -> Error {
    Error::new("page_token", "is not a next_page_token of this call")
}

/// `credentials` are one more than asked for, if there are more.
pub(crate) fn credential_page(credentials: Vec<Credential>, size: u32) -> wire::ListCredentialsResponse {
    let (wanted, found) = (size as usize, credentials.len());
    let mut page = wire::ListCredentialsResponse::default();
    let (mut last, mut bytes) = (String::new(), 0);
    for stored in credentials.into_iter().take(wanted) {
        let id = stored.record.name.id().to_owned();
        let message = credential(stored);
        bytes += message.encoded_len();
        if bytes > LARGEST_PAGE_BYTES && !page.credentials.is_empty() {
            break;
        }
        page.credentials.push(message);
        last = id;
    }
    if page.credentials.len() < found {
        page.next_page_token = last;
    }
    page
}

/// `events` are one more than asked for, if there are more.
pub(crate) fn audit_page(
    mut events: Vec<AuditEvent>,
    size: u32,
    head: &Head,
) -> wire::ListAuditEventsResponse {
    let more = events.len() > size as usize;
    events.truncate(size as usize);
    let last = events.last().map(|event| event.sequence.to_string());
    wire::ListAuditEventsResponse {
        events: events.into_iter().map(audit_event).collect(),
        next_page_token: last.filter(|_| more).unwrap_or_default(),
        head: Some(pullpass_recovery::wire_head(head)),
    }
}

fn audit_event(event: AuditEvent) -> WireAuditEvent {
    WireAuditEvent {
        sequence: event.sequence,
        time: Some(timestamp(event.entry.time)),
        service: NAME.to_owned(),
        principal: event.entry.principal,
        action: event.entry.action,
        resource: event.entry.resource,
        details: event.entry.details.into_iter().collect(),
        revision: event.revision,
        epoch: event.epoch,
        mac: event.mac,
    }
}

pub(crate) fn credential(credential: Credential) -> wire::Credential {
    let Credential { record, versions } = credential;
    wire::Credential {
        etag: record.etag(),
        name: record.name.to_string(),
        uid: record.uid,
        description: record.description,
        version: record.version,
        versions: versions.into_iter().map(version).collect(),
        create_time: Some(timestamp(record.create_time)),
        update_time: Some(timestamp(record.update_time)),
        revision: record.revision,
    }
}

fn version(version: Version) -> wire::CredentialVersion {
    let entries = version.entries.into_iter();
    wire::CredentialVersion {
        version: version.number,
        entries: entries
            .map(|e| wire::RegistryEntry { registry: e.registry, username: e.username })
            .collect(),
        create_time: Some(timestamp(version.create_time)),
        creator: version.creator,
        destroy_time: version.destroy_time.map(timestamp),
    }
}

pub(crate) fn fetched(fetched: Fetched) -> wire::FetchPullSecretResponse {
    let versions = fetched.versions.into_iter();
    wire::FetchPullSecretResponse {
        // From here on it is tonic's, which does not wipe what it has sent.
        data: fetched.data.expose().to_vec(),
        versions: versions
            .map(|(name, version)| wire::CredentialVersionRef { credential: name.to_string(), version })
            .collect(),
    }
}

pub(crate) fn event(event: Event) -> wire::WatchCredentialsResponse {
    let what = match event.what {
        What::Changed(head) => watch_wire::Event::Changed(wire::CredentialChange {
            name: head.name,
            uid: head.uid,
            version: head.version,
        }),
        What::Deleted(name) => watch_wire::Event::Deleted(name),
        What::SnapshotEnd { epoch } => watch_wire::Event::SnapshotEnd(wire::SnapshotEnd { epoch }),
    };
    wire::WatchCredentialsResponse {
        event: Some(what),
        revision: event.revision,
        trace_context: event.trace_context.unwrap_or_default(),
    }
}

pub(super) fn key_state(state: State) -> wire::GetKeyStatusResponse {
    let sealing = state.health.sealing;
    let key = |key: KeyState| wire::KeyEncryptionKey {
        current: key.known.id == sealing,
        provider: provider(key.known.provider).into(),
        id: key.known.id,
        provider_key_id: key.known.provider_key_id,
        create_time: Some(timestamp(key.known.create_time)),
        loaded: key.held,
        versions: key.versions,
    };
    wire::GetKeyStatusResponse {
        provider: provider(state.health.provider).into(),
        problem: state.health.problem,
        well_time: state.health.well.map(timestamp),
        keys: state.keys.into_iter().map(key).collect(),
    }
}

fn provider(provider: Provider) -> wire::KeyProvider {
    match provider {
        Provider::File => wire::KeyProvider::File,
        Provider::Kms => wire::KeyProvider::Kms,
    }
}

pub(super) fn progress(progress: Progress) -> wire::RewrapDataKeysResponse {
    wire::RewrapDataKeysResponse {
        rewrapped: progress.rewrapped.into(),
        key_encryption_key: progress.key_id,
        done: progress.done,
        removed_provider_key_ids: progress.removed.into_iter().map(|known| known.provider_key_id).collect(),
    }
}

/// What is asked for, and the credential and version that the page before ended with.
pub(crate) fn exposures_asked(message: &wire::ListExposuresRequest) -> Result<(Since, Place), Error> {
    let cluster = field("cluster", ClusterName::parse(&message.cluster))?.to_string();
    let since =
        message.since.as_ref().map(|since| time(since).ok_or_else(|| Error::new("since", "is no time")));
    let place = match message.page_token.as_str() {
        "" => (String::new(), 0),
        token => exposures_place(token).ok_or_else(foreign_token)?,
    };
    Ok((Since { cluster, time: since.transpose()? }, place))
}

/// Resource name of a credential, and a version.
pub(crate) type Place = (String, i64);

fn exposures_place(token: &str) -> Option<Place> {
    let (name, version) = token.split_once('@')?;
    Some((name.to_owned(), version.parse().ok()?))
}

pub(super) fn exposure_page(all: Vec<Exposure>, after: &Place, size: u32) -> wire::ListExposuresResponse {
    let mut rest =
        all.into_iter().filter(|e| (e.credential.as_str(), e.version) > (after.0.as_str(), after.1));
    let exposures: Vec<_> = rest.by_ref().take(size as usize).map(exposure).collect();
    let last = exposures.last().map(|last| format!("{}@{}", last.credential, last.version));
    let next_page_token = last.filter(|_| rest.next().is_some()).unwrap_or_default();
    wire::ListExposuresResponse { exposures, next_page_token }
}

fn exposure(exposure: Exposure) -> wire::Exposure {
    let state = match exposure.fate {
        Fate::Current => wire::ExposureState::Current,
        Fate::Superseded => wire::ExposureState::Superseded,
        Fate::Destroyed => wire::ExposureState::Destroyed,
        Fate::Deleted => wire::ExposureState::Deleted,
    };
    wire::Exposure {
        credential: exposure.credential,
        version: exposure.version,
        state: state.into(),
        first_time: Some(timestamp(exposure.first)),
        last_time: Some(timestamp(exposure.last)),
        fetches: exposure.fetches,
    }
}
