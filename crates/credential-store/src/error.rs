//! What can go wrong in a call, and what the caller is told.

use std::time::Duration;

use pullpass_domain::{docker_config, name::CredentialName};
use pullpass_runtime::status;
use tonic::{Code, Status};

use crate::{keys, seal, ticket};

const RETRY: Duration = Duration::from_secs(1);
/// A key provider that is not well is asked again at least this often.
const RETRY_KEYS: Duration = Duration::from_secs(10);

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0} exists already")]
    Exists(CredentialName),
    #[error("{0} does not exist")]
    NotFound(CredentialName),
    #[error("{name} has no version {version}")]
    VersionNotFound { name: CredentialName, version: i64 },
    #[error("version {version} of {name} is the current one: rotate first, then destroy it")]
    VersionIsCurrent { name: CredentialName, version: i64 },
    #[error("{0} has changed since its etag was read: read it again")]
    Stale(CredentialName),
    #[error(
        "revision {asked} is ahead of this service's {own}: watch again from 0, and delete nothing meanwhile"
    )]
    RevisionAhead { asked: i64, own: i64 },
    #[error(
        "the history goes on in another epoch, {own}, than what was seen of {asked}: watch again from 0, and delete nothing \
         meanwhile"
    )]
    OtherEpoch { asked: String, own: String },
    #[error(transparent)]
    Ticket(#[from] ticket::Refusal),
    #[error("{0}, which the link names, does not exist: create it, or take it out of the link")]
    LinkedNotFound(CredentialName),
    #[error("the credentials of the link do not fit into one Secret: {0}")]
    DoesNotFit(docker_config::Error),
    #[error("version {version} of {name} cannot be sealed or opened")]
    Seal { name: CredentialName, version: i64, source: seal::Error },
    #[error("version {version} of {name} holds no docker config")]
    Unreadable { name: CredentialName, version: i64, source: docker_config::Error },
    #[error(transparent)]
    Key(#[from] keys::Unavailable),
    #[error("the key-encryption key was removed by a rotation meanwhile: try again")]
    KeyRemoved,
    #[error(transparent)]
    Database(#[from] pullpass_database::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl Error {
    /// The error of a statement that hangs something on a key-encryption key, or removes one.
    pub(crate) fn of_key(error: sqlx::Error) -> Self {
        let lost =
            error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation);
        if lost { Self::KeyRemoved } else { error.into() }
    }

    /// When it is worth another try.
    fn retry_after(&self) -> Duration {
        if matches!(self, Self::Key(_)) { RETRY_KEYS } else { RETRY }
    }

    /// The contract: code and `ErrorInfo.reason`.
    pub(crate) fn contract(&self) -> (Code, &'static str) {
        use pullpass_database::Error as D;
        use ticket::Refusal as R;
        match self {
            Self::Exists(_) => (Code::AlreadyExists, "CREDENTIAL_EXISTS"),
            Self::NotFound(_) => (Code::NotFound, "CREDENTIAL_NOT_FOUND"),
            Self::VersionNotFound { .. } => (Code::NotFound, "VERSION_NOT_FOUND"),
            Self::VersionIsCurrent { .. } => (Code::FailedPrecondition, "VERSION_IS_CURRENT"),
            Self::Stale(_) => (Code::Aborted, "ETAG_STALE"),
            Self::RevisionAhead { .. } => (Code::OutOfRange, "REVISION_AHEAD"),
            Self::OtherEpoch { .. } => (Code::OutOfRange, "EPOCH_CHANGED"),
            Self::Ticket(R::Missing) => (Code::Unauthenticated, "TICKET_MISSING"),
            Self::Ticket(R::Expired) => (Code::Unauthenticated, "TICKET_EXPIRED"),
            Self::Ticket(R::Invalid(_)) => (Code::Unauthenticated, "TICKET_INVALID"),
            Self::Ticket(R::NotYours) => (Code::PermissionDenied, "TICKET_NOT_YOURS"),
            Self::Ticket(R::NoCertificate) => (Code::PermissionDenied, "CERTIFICATE_REQUIRED"),
            Self::Ticket(R::OtherCertificate) => (Code::PermissionDenied, "TICKET_OTHER_CERTIFICATE"),
            // Not NOT_FOUND: the caller asked for a link, and it is the link that needs mending.
            Self::LinkedNotFound(_) => (Code::FailedPrecondition, "CREDENTIAL_NOT_FOUND"),
            Self::DoesNotFit(_) => (Code::FailedPrecondition, "SECRET_TOO_LARGE"),
            Self::Seal { .. } | Self::Unreadable { .. } => (Code::DataLoss, "MATERIAL_UNREADABLE"),
            Self::Key(_) => (Code::Unavailable, "KEY_PROVIDER_UNAVAILABLE"),
            Self::KeyRemoved => (Code::Unavailable, "KEY_REMOVED"),
            Self::Database(D::Busy) => (Code::Unavailable, "DATABASE_BUSY"),
            Self::Database(D::RequestReused { .. }) => (Code::InvalidArgument, "REQUEST_ID_REUSED"),
            Self::Database(D::Unreachable(_)) => (Code::Unavailable, "DATABASE_UNREACHABLE"),
            Self::Database(
                D::Create { .. }
                | D::Password(_)
                | D::NotText(_)
                | D::NoUser(_)
                | D::Open { .. }
                | D::Migrate { .. }
                | D::Sql(_),
            ) => (Code::Internal, "DATABASE_FAILED"),
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Exists(name) | Self::NotFound(name) | Self::Stale(name) | Self::LinkedNotFound(name) => {
                vec![("credential", name.to_string())]
            }
            Self::VersionNotFound { name, version }
            | Self::VersionIsCurrent { name, version }
            | Self::Seal { name, version, .. }
            | Self::Unreadable { name, version, .. } => {
                vec![("credential", name.to_string()), ("version", version.to_string())]
            }
            Self::RevisionAhead { own, .. } => vec![("revision", own.to_string())],
            Self::OtherEpoch { own, .. } => vec![("epoch", own.clone())],
            Self::Ticket(_) | Self::DoesNotFit(_) | Self::Key(_) | Self::KeyRemoved | Self::Database(_) => {
                Vec::new()
            }
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, reason) = error.contract();
        match code {
            Code::Unavailable => status::retry(code, reason, error.to_string(), error.retry_after()),
            Code::Internal | Code::DataLoss => {
                // The caller is not told the cause, so it is logged here.
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(reason, %error, cause, "the call cannot be served");
                status::with_reason(code, reason, error.to_string(), error.metadata())
            }
            _ => status::with_reason(code, reason, error.to_string(), error.metadata()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn every_error_tells_its_code_and_reason_to_people_and_programs() {
        let name = || CredentialName::from_id("quay").unwrap();
        let refused = |refusal| Error::Ticket(refusal);
        let cut = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let cases = [
            (Error::Exists(name()), Code::AlreadyExists, "CREDENTIAL_EXISTS"),
            (Error::NotFound(name()), Code::NotFound, "CREDENTIAL_NOT_FOUND"),
            (Error::VersionNotFound { name: name(), version: 2 }, Code::NotFound, "VERSION_NOT_FOUND"),
            (
                Error::VersionIsCurrent { name: name(), version: 2 },
                Code::FailedPrecondition,
                "VERSION_IS_CURRENT",
            ),
            (Error::Stale(name()), Code::Aborted, "ETAG_STALE"),
            (Error::RevisionAhead { asked: 9, own: 1 }, Code::OutOfRange, "REVISION_AHEAD"),
            (refused(ticket::Refusal::Missing), Code::Unauthenticated, "TICKET_MISSING"),
            (refused(ticket::Refusal::Expired), Code::Unauthenticated, "TICKET_EXPIRED"),
            (refused(ticket::Refusal::Invalid("x")), Code::Unauthenticated, "TICKET_INVALID"),
            (refused(ticket::Refusal::NotYours), Code::PermissionDenied, "TICKET_NOT_YOURS"),
            (refused(ticket::Refusal::OtherCertificate), Code::PermissionDenied, "TICKET_OTHER_CERTIFICATE"),
            (Error::LinkedNotFound(name()), Code::FailedPrecondition, "CREDENTIAL_NOT_FOUND"),
            (
                Error::Key(keys::Unavailable::Sealing("gone".into())),
                Code::Unavailable,
                "KEY_PROVIDER_UNAVAILABLE",
            ),
            (Error::KeyRemoved, Code::Unavailable, "KEY_REMOVED"),
            (Error::Database(pullpass_database::Error::Busy), Code::Unavailable, "DATABASE_BUSY"),
            (Error::from(cut), Code::Unavailable, "DATABASE_UNREACHABLE"),
            (Error::from(sqlx::Error::RowNotFound), Code::Internal, "DATABASE_FAILED"),
        ];
        for (error, code, reason) in cases {
            let status = Status::from(error);
            let info = status.get_details_error_info().unwrap();
            assert_eq!((status.code(), info.reason.as_str()), (code, reason), "{}", status.message());
            assert_eq!(status.get_details_retry_info().is_some(), code == Code::Unavailable);
            assert_eq!(info.domain, status::DOMAIN);
        }
    }

    #[test]
    fn the_credential_at_fault_is_named_in_the_metadata() {
        let status = Status::from(Error::LinkedNotFound(CredentialName::from_id("quay").unwrap()));
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["credential"], "credentials/quay");
    }
}
