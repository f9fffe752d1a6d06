//! What can go wrong, and how a caller is told.

use std::time::Duration;

use pullpass_api::convert;
use pullpass_domain::name;
use pullpass_runtime::{SpiffeId, status};
use time::OffsetDateTime;
use tonic::{Code, Status};

/// Why a call was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Field(#[from] convert::Error),
    #[error("{0} does not exist")]
    NotFound(String),
    #[error("{0} exists already")]
    AlreadyExists(String),
    #[error("{name} is being taken back from {clusters}: wait until that is done, or use another name")]
    NameBeingTakenBack { name: String, clusters: String },
    #[error("{0} is being taken back and cannot be changed")]
    BeingTakenBack(String),
    #[error("{0} has changed since you read it: read it again and repeat the change")]
    StaleEtag(String),
    #[error("{cluster} is already served by {identity}: each cluster has an applier identity of its own")]
    IdentityTaken { identity: String, cluster: String },
    #[error(
        "{cluster} is still named by, or has not yet taken back, {users}: let it leave with `pullpass cluster leave`, take it \
         out of them first, or use force, which leaves what the cluster holds of them where it is"
    )]
    ClusterInUse { cluster: String, users: String },
    #[error(
        "no cluster is registered for the applier {0}: register it with `pullpass cluster create NAME --applier-identity {0}`"
    )]
    NotRegistered(SpiffeId),
    #[error("revision {given} is ahead of this service's own, {ours}: begin anew with after_revision 0")]
    RevisionAhead { given: i64, ours: i64 },
    #[error(
        "an applier of {cluster} that became active at {later} has reported, after this one, which did at {given}: if this \
         one is the active one all the same, restart it"
    )]
    Superseded { cluster: String, given: OffsetDateTime, later: OffsetDateTime },
    #[error(
        "the history goes on in another epoch, {ours}, than what was seen of {given}: begin anew with after_revision 0, and \
         delete nothing meanwhile"
    )]
    OtherEpoch { given: String, ours: String },
    #[error(
        "{cluster} was registered for this applier anew, at revision {registered}: begin anew with after_revision 0 \
         instead of {given}"
    )]
    RegisteredSince { cluster: String, given: i64, registered: i64 },
    #[error("{link} does not apply to {cluster}: no ticket is issued")]
    LinkNotOfCluster { link: String, cluster: String },
    #[error("{0} is being taken back: no ticket is issued any more")]
    LinkBeingTakenBack(String),
    #[error("a ticket is bound to a client certificate: connect with one, not with a token")]
    NoCertificate,
    #[error("failed to sign a ticket")]
    Sign(#[source] jsonwebtoken::errors::Error),
    #[error("failed to decode {name} from the database")]
    Corrupt { name: String, source: prost::DecodeError },
    #[error(transparent)]
    Database(#[from] pullpass_database::Error),
}

impl Error {
    /// A problem with the text of a name.
    pub(crate) fn name(field: &str, problem: &name::Error) -> Self {
        Self::Field(convert::Error::new(field, problem))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let (code, reason, metadata) = match error {
            Error::Field(field) => return field.into(),
            Error::NotFound(name) => (Code::NotFound, "NOT_FOUND", vec![("name", name)]),
            Error::AlreadyExists(name) => (Code::AlreadyExists, "ALREADY_EXISTS", vec![("name", name)]),
            // The name is taken, whatever for: the caller asked to create.
            Error::NameBeingTakenBack { name, clusters } => {
                (Code::AlreadyExists, "BEING_TAKEN_BACK", vec![("name", name), ("clusters", clusters)])
            }
            Error::BeingTakenBack(name) => {
                (Code::FailedPrecondition, "BEING_TAKEN_BACK", vec![("name", name)])
            }
            Error::StaleEtag(name) => (Code::Aborted, "STALE_ETAG", vec![("name", name)]),
            Error::IdentityTaken { identity, cluster } => {
                let metadata = vec![("applierIdentity", identity), ("cluster", cluster)];
                (Code::AlreadyExists, "APPLIER_IDENTITY_TAKEN", metadata)
            }
            Error::ClusterInUse { cluster, users } => {
                (Code::FailedPrecondition, "CLUSTER_IN_USE", vec![("cluster", cluster), ("users", users)])
            }
            Error::NotRegistered(identity) => {
                let metadata = vec![("applierIdentity", identity.to_string())];
                (Code::PermissionDenied, "CLUSTER_NOT_REGISTERED", metadata)
            }
            Error::RevisionAhead { given, ours } => {
                let metadata = vec![("given", given.to_string()), ("revision", ours.to_string())];
                (Code::OutOfRange, "REVISION_AHEAD", metadata)
            }
            Error::Superseded { cluster, given, later } => {
                let metadata =
                    vec![("cluster", cluster), ("given", given.to_string()), ("later", later.to_string())];
                (Code::FailedPrecondition, "APPLIER_SUPERSEDED", metadata)
            }
            Error::OtherEpoch { given, ours } => {
                (Code::OutOfRange, "EPOCH_CHANGED", vec![("given", given), ("epoch", ours)])
            }
            Error::RegisteredSince { cluster, given, registered } => {
                let (given, registered) = (given.to_string(), registered.to_string());
                let metadata = vec![("cluster", cluster), ("given", given), ("revision", registered)];
                (Code::OutOfRange, "REGISTERED_SINCE", metadata)
            }
            Error::LinkNotOfCluster { link, cluster } => {
                (Code::PermissionDenied, "LINK_NOT_OF_CLUSTER", vec![("link", link), ("cluster", cluster)])
            }
            Error::LinkBeingTakenBack(link) => {
                (Code::PermissionDenied, "LINK_BEING_TAKEN_BACK", vec![("link", link)])
            }
            Error::NoCertificate => (Code::PermissionDenied, "CERTIFICATE_REQUIRED", Vec::new()),
            Error::Sign(source) => return internal(&text, &source),
            Error::Corrupt { name: _, source } => return internal(&text, &source),
            Error::Database(error) => return database(&error),
        };
        status::with_reason(code, reason, text, metadata)
    }
}

fn database(error: &pullpass_database::Error) -> Status {
    use pullpass_database::Error as E;
    let text = error.to_string();
    match error {
        E::Busy => status::retry(Code::Unavailable, "DATABASE_BUSY", text, Duration::from_secs(1)),
        E::Unreachable(_) => {
            status::retry(Code::Unavailable, "DATABASE_UNREACHABLE", text, Duration::from_secs(1))
        }
        // The id is an argument of the call, and another one would do.
        E::RequestReused { .. } => status::invalid("request_id", text),
        E::Create { .. }
        | E::Password(_)
        | E::NotText(_)
        | E::NoUser(_)
        | E::Open { .. }
        | E::Migrate { .. }
        | E::Sql(_) => internal(&text, error),
    }
}

/// The log gets the whole chain, the caller only what was attempted.
fn internal(text: &str, error: &(dyn std::error::Error + 'static)) -> Status {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    tracing::error!(error = chain, "{text}");
    status::with_reason(Code::Internal, "INTERNAL", text, [])
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    fn name() -> String {
        "secretLinks/web".to_owned()
    }

    #[test]
    fn every_error_has_its_code_and_its_reason() {
        let identity: SpiffeId = "spiffe://d/applier/east".parse().unwrap();
        let decode = prost_types::Timestamp::default();
        let corrupt =
            <prost_types::Timestamp as prost::Message>::decode(&b"\xff"[..]).map(|_| decode).unwrap_err();
        let sign = jsonwebtoken::errors::ErrorKind::InvalidKeyFormat.into();
        let cluster = || "clusters/east".to_owned();
        let cut = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let cases = [
            (Error::NotFound(name()), Code::NotFound, "NOT_FOUND"),
            (Error::AlreadyExists(name()), Code::AlreadyExists, "ALREADY_EXISTS"),
            (
                Error::NameBeingTakenBack { name: name(), clusters: cluster() },
                Code::AlreadyExists,
                "BEING_TAKEN_BACK",
            ),
            (Error::BeingTakenBack(name()), Code::FailedPrecondition, "BEING_TAKEN_BACK"),
            (Error::StaleEtag(name()), Code::Aborted, "STALE_ETAG"),
            (
                Error::IdentityTaken { identity: identity.to_string(), cluster: cluster() },
                Code::AlreadyExists,
                "APPLIER_IDENTITY_TAKEN",
            ),
            (
                Error::ClusterInUse { cluster: cluster(), users: name() },
                Code::FailedPrecondition,
                "CLUSTER_IN_USE",
            ),
            (Error::NotRegistered(identity), Code::PermissionDenied, "CLUSTER_NOT_REGISTERED"),
            (Error::RevisionAhead { given: 9, ours: 3 }, Code::OutOfRange, "REVISION_AHEAD"),
            (
                Error::RegisteredSince { cluster: cluster(), given: 1, registered: 3 },
                Code::OutOfRange,
                "REGISTERED_SINCE",
            ),
            (
                Error::LinkNotOfCluster { link: name(), cluster: cluster() },
                Code::PermissionDenied,
                "LINK_NOT_OF_CLUSTER",
            ),
            (Error::LinkBeingTakenBack(name()), Code::PermissionDenied, "LINK_BEING_TAKEN_BACK"),
            (Error::Sign(sign), Code::Internal, "INTERNAL"),
            (Error::Corrupt { name: name(), source: corrupt }, Code::Internal, "INTERNAL"),
            (sqlx::Error::PoolClosed.into(), Code::Internal, "INTERNAL"),
            (cut.into(), Code::Unavailable, "DATABASE_UNREACHABLE"),
            (sqlx::Error::PoolTimedOut.into(), Code::Unavailable, "DATABASE_BUSY"),
        ];
        for (error, code, reason) in cases {
            let shown = error.to_string();
            let status = Status::from(error);
            assert_eq!(status.code(), code, "{shown}");
            assert_eq!(
                status.get_details_error_info().map(|info| info.reason),
                Some(reason.into()),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let status = Status::from(Error::name("name", &name::Error::Empty));
        assert_eq!(status.code(), Code::InvalidArgument);
        let bad = status.get_details_bad_request().unwrap();
        assert_eq!(bad.field_violations[0].field, "name");
    }

    #[test]
    fn what_went_wrong_inside_stays_inside() {
        let status = Status::from(Error::from(sqlx::Error::Protocol("at /var/lib/x".into())));
        assert_eq!(status.message(), "failed to read or write the database");
    }
}
