//! What can go wrong, told to whom it concerns: to callers as a gRPC status, in reports as the reason why a namespace does
//! not agree.

use http::StatusCode;
use pullpass_runtime::status;
use tonic::{Code, Status};

use crate::{
    cluster::client::{self, Problem, QUOTA, TERMINATING},
    plan::{Reason, Standing},
};

/// Why a call cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Before everything is known a plan would be wrong.
    #[error("not everything is known yet, still missing: {0}; try again in a moment")]
    NotReady(String),
    /// Only the active applier works on the cluster, and knows how far it is.
    #[error("this applier stands by; ask the active one, {holder:?} in the Lease")]
    Standby { holder: String },
    /// A proposal is not valid.
    #[error("the proposal cannot be planned")]
    Proposal(#[from] pullpass_api::convert::Error),
    /// A proposal without a proper name.
    #[error("{0:?} is not the resource name of a link or grant")]
    ProposalName(String),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotReady(_) => {
                status::retry(Code::Unavailable, "NOT_READY", message, std::time::Duration::from_secs(1))
            }
            Error::Standby { holder } => {
                status::with_reason(Code::FailedPrecondition, "STANDBY", message, [("holder", holder)])
            }
            Error::Proposal(problem) => problem.into(),
            Error::ProposalName(_) => status::invalid("proposed", message),
        }
    }
}

/// What a failed request means for the link or grant that asked for it.
pub(crate) fn reason(error: &client::Error) -> Reason {
    let (standing, code, advice) = match &error.problem {
        Problem::Withheld => (Standing::Pending, "STANDBY", "the active one goes on with it"),
        Problem::NoAnswer(_) => (Standing::Pending, "UNAVAILABLE", "it is tried again"),
        Problem::Refused { code, message, .. } => refused(error.kind, *code, message),
    };
    let message = format!("{error}: {advice}");
    let build = if standing == Standing::Failed { Reason::failed } else { Reason::pending };
    build(code, error.kind, &error.name, message)
}

fn refused(kind: &'static str, code: u16, message: &str) -> (Standing, &'static str, &'static str) {
    match StatusCode::from_u16(code).unwrap_or_default() {
        StatusCode::FORBIDDEN if message.contains(QUOTA) => {
            (Standing::Failed, "QUOTA_EXCEEDED", "raise the namespace's quota; it is tried again")
        }
        StatusCode::FORBIDDEN if message.contains(TERMINATING) => {
            (Standing::Pending, "NAMESPACE_TERMINATING", "the namespace is being deleted and is left alone")
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (Standing::Failed, "FORBIDDEN", "give the applier's ClusterRole this verb; it is tried again")
        }
        StatusCode::NOT_FOUND if kind == "RoleBinding" => {
            (Standing::Pending, "ROLE_NOT_FOUND", "it is tried again when the role exists")
        }
        StatusCode::NOT_FOUND => {
            (Standing::Pending, "NAMESPACE_NOT_FOUND", "it is tried again when the namespace exists")
        }
        StatusCode::CONFLICT => {
            (Standing::Pending, "CONFLICT", "somebody else writes to it at the same time; it is tried again")
        }
        StatusCode::TOO_MANY_REQUESTS => {
            (Standing::Pending, "THROTTLED", "it is tried again when the API server allows")
        }
        code if code.is_server_error() => (Standing::Pending, "UNAVAILABLE", "it is tried again"),
        _ => (Standing::Failed, "REFUSED", "the API server does not accept it; it is tried again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::client::Verb;

    fn error(kind: &'static str, code: u16, message: &str) -> client::Error {
        let problem =
            Problem::Refused { code, reason: "Why".into(), message: message.into(), retry_after: None };
        client::Error { verb: Verb::Create, kind, namespace: "a".into(), name: "web".into(), problem }
    }

    #[test]
    fn every_refusal_has_its_code_and_says_whether_waiting_helps() {
        use Standing::{Failed, Pending};
        for (kind, code, message, standing, expected) in [
            ("Secret", 403, "", Failed, "FORBIDDEN"),
            ("Secret", 401, "", Failed, "FORBIDDEN"),
            ("Secret", 403, "exceeded quota", Failed, "QUOTA_EXCEEDED"),
            ("Secret", 403, "is being terminated", Pending, "NAMESPACE_TERMINATING"),
            ("Secret", 404, "", Pending, "NAMESPACE_NOT_FOUND"),
            ("RoleBinding", 404, "", Pending, "ROLE_NOT_FOUND"),
            ("ServiceAccount", 409, "", Pending, "CONFLICT"),
            ("Secret", 422, "", Failed, "REFUSED"),
            ("Secret", 429, "", Pending, "THROTTLED"),
            ("Secret", 503, "", Pending, "UNAVAILABLE"),
        ] {
            let reason = reason(&error(kind, code, message));
            assert_eq!((reason.standing, &*reason.code), (standing, expected), "{code}");
        }
    }

    #[test]
    fn a_reason_names_verb_kind_and_object() {
        let reason = reason(&error("Secret", 403, ""));
        assert!(reason.message.starts_with("failed to create Secret a/web: 403 Why"), "{}", reason.message);
    }

    #[test]
    fn callers_get_a_code_for_every_error() {
        let not_ready = Status::from(Error::NotReady("secrets".into()));
        assert_eq!(not_ready.code(), Code::Unavailable);
        let standby = Status::from(Error::Standby { holder: "one_7".into() });
        assert!(standby.code() == Code::FailedPrecondition && standby.message().contains("one_7"));
        let bad_name = Status::from(Error::ProposalName("x".into()));
        assert_eq!(bad_name.code(), Code::InvalidArgument);
        let problem = pullpass_api::convert::Error::new("usages", "missing");
        assert_eq!(Status::from(Error::from(problem)).code(), Code::InvalidArgument);
    }
}
