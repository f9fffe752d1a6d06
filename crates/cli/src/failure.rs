//! What went wrong, for people, on stderr; and the exit code.

use std::process::ExitCode;

use pullpass_runtime::config::PeerConfig;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{config, output};

/// Wrong usage that only shows after the command line was read. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A call that a service refused or that did not reach it.
#[derive(Debug, thiserror::Error)]
#[error("failed to {attempted}: {}", code_name(.status.code()))]
pub(crate) struct CallError {
    /// What was tried, as in `create credential quay`.
    pub(crate) attempted: String,
    /// Which service.
    pub(crate) service: String,
    /// Where, and who has to be there.
    pub(crate) peer: PeerConfig,
    /// The answer.
    pub(crate) status: Box<Status>,
}

impl CallError {
    /// The gRPC code of the answer.
    pub(crate) fn code(&self) -> Code {
        self.status.code()
    }

    /// Whether the call did not get as far as the service: then it was the connection that answered, which begins with
    /// whom it is to.
    fn is_of_the_connection(&self) -> bool {
        self.status.message().starts_with(&format!("{} at {} ", self.peer.identity, self.peer.endpoint))
    }
}

/// 2 for wrong usage, 1 for everything else.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let usage = error.chain().any(|cause| cause.is::<Usage>() || cause.is::<config::Error>());
    if usage { 2 } else { 1 }
}

/// Tells `error` on stderr.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    output::note(&render(error));
    ExitCode::from(exit_code(error))
}

/// The first line says what failed, the further ones why and what to do.
fn render(error: &anyhow::Error) -> String {
    let mut lines: Vec<String> = Vec::new();
    for cause in error.chain() {
        lines.extend(cause.to_string().lines().map(output::plain));
        if let Some(call) = cause.downcast_ref::<CallError>() {
            lines.extend(explain(call).iter().map(|line| output::plain(line)));
            break;
        }
    }
    format!("error: {}", lines.join("\n  "))
}

fn explain(call: &CallError) -> Vec<String> {
    let status = &call.status;
    let message = status.message();
    if call.is_of_the_connection() {
        return unreachable(call);
    }
    let details = status.get_error_details();
    let mut lines = Vec::new();
    for violation in details.bad_request().iter().flat_map(|b| &b.field_violations) {
        lines.push(format!("{}: {}", violation.field, violation.description));
    }
    for violation in details.precondition_failure().iter().flat_map(|p| &p.violations) {
        lines.push(format!("{}: {}", violation.subject, violation.description));
    }
    if lines.is_empty() && !message.is_empty() {
        lines.push(message.to_owned());
    }
    if let Some(info) = details.error_info() {
        let mut metadata: Vec<_> =
            info.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        metadata.sort();
        lines.push(format!("reason: {} {}", info.reason, metadata.join(" ")).trim_end().to_owned());
    }
    if let Some(after) = details.retry_info().and_then(|retry| retry.retry_delay) {
        lines.push(format!("try again in {:.1} s", after.as_secs_f32()));
    }
    lines.push(format!("from: {} at {}", call.service, call.peer.endpoint));
    lines
}

/// What to check, by what the connection's error says. The first that fits is told.
const REMEDIES: [(&[&str], &str); 6] = [
    (
        &["onnection refused"],
        "nothing listens there: start the service, or correct its endpoint in client.toml",
    ),
    (&["the server is "], "somebody else answers there: correct the endpoint or the identity in client.toml"),
    (
        &["invalid peer certificate"],
        "its certificate is not to be trusted: check tls.authorities in client.toml, and that it has not expired",
    ),
    // With TLS 1.3 a client has sent its first call before it hears that it was turned away.
    (
        &["received fatal alert", "connection closed", "onnection reset", "roken pipe"],
        "it has gone away, or it does not accept our certificate: check that it runs, and that tls.certificate in \
         client.toml is of an authority and a trust domain that it trusts and has not expired",
    ),
    (
        &["timed out", "deadline has elapsed"],
        "it does not answer: check the endpoint in client.toml, the network and firewalls between",
    ),
    (&["lookup address"], "its host name is unknown: correct the endpoint in client.toml"),
];

fn unreachable(call: &CallError) -> Vec<String> {
    let message = call.status.message();
    let remedy = REMEDIES
        .iter()
        .find(|(signs, _)| signs.iter().any(|sign| message.contains(sign)))
        .map_or("check that it runs, and its endpoint and identity in client.toml", |(_, remedy)| remedy);
    vec![
        format!("{} at {} cannot be reached", call.service, call.peer.endpoint),
        message.to_owned(),
        format!("remedy: {remedy}"),
    ]
}

/// The code as gRPC's documentation writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
