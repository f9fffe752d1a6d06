//! Calls that were refused for their rate, made again when the service says so.
//!
//! Such a call was refused before anybody looked at it, so it can be made again whatever it does. What it sends is kept for
//! that, which suits calls that send one message.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, request::Parts};
use http_body_util::{BodyExt as _, Full};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use super::Way;
use crate::{limit::RATE_LIMITED, status};

/// Makes the call until it is not refused for its rate, or `patience` would be over.
pub(super) async fn call(
    way: &Way,
    parts: Parts,
    body: Body,
    patience: Duration,
) -> Result<Response<Body>, Status> {
    let started = Instant::now();
    let message: Bytes = body.collect().await?.to_bytes();
    loop {
        let answer = way.call(parts.clone(), Body::new(Full::new(message.clone()))).await?;
        match told_to_wait(&answer) {
            Some(wait) if started.elapsed() + wait <= patience => tokio::time::sleep(wait).await,
            _ => return Ok(answer),
        }
    }
}

fn told_to_wait(answer: &Response<Body>) -> Option<Duration> {
    let refused = Status::from_header_map(answer.headers())?;
    if refused.code() != Code::ResourceExhausted {
        return None;
    }
    let limited = refused.get_details_error_info().is_some_and(|info| info.reason == RATE_LIMITED);
    limited.then(|| status::retry_after(&refused))?
}
