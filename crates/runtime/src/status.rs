//! Rich gRPC errors: a message that stands on its own, and details that a program can act on.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The `domain` of every `google.rpc.ErrorInfo` that Pullpass sends.
pub const DOMAIN: &str = "pullpass";

/// `INVALID_ARGUMENT` with a `BadRequest` that names `field` (a path such as `selector.names[2]`) and says what is
/// wrong with it and what would be right.
pub fn invalid(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let message = format!("{field}: {description}");
    let details = ErrorDetails::with_bad_request_violation(field, description);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Any status with an `ErrorInfo`: `reason` in `UPPER_SNAKE_CASE` is part of the API, `message` is a sentence for
/// people, `metadata` the values that a program needs (keys in `lowerCamelCase`).
pub fn with_reason<'a>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: impl IntoIterator<Item = (&'a str, String)>,
) -> Status {
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// A status that passes by itself: an `ErrorInfo` and a `RetryInfo` that says when to try again.
pub fn retry(code: Code, reason: &str, message: impl Into<String>, after: Duration) -> Status {
    retry_with_reason(code, reason, message, [], after)
}

/// The same with the values that a program needs.
pub fn retry_with_reason<'a>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: impl IntoIterator<Item = (&'a str, String)>,
    after: Duration,
) -> Status {
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    details.set_retry_info(Some(after));
    Status::with_error_details(code, message, details)
}

/// When to try again, if the status says so.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_field_is_named_for_people_and_for_programs() {
        let status = invalid("name", "must not be empty");
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "name: must not be empty"));
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "name");
    }

    #[test]
    fn a_reason_carries_its_metadata() {
        let status = with_reason(Code::NotFound, "NO_LINK", "there is no link a", [("link", "a".to_owned())]);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("NO_LINK", DOMAIN));
        assert_eq!(info.metadata["link"], "a");
    }

    #[test]
    fn a_retry_says_when() {
        let status = retry(Code::Unavailable, "BUSY", "try again in 2 s", Duration::from_secs(2));
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
        assert_eq!(status.get_details_error_info().unwrap().reason, "BUSY");
    }
}
