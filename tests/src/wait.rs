//! Waiting for what has to come true.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// Far longer than anything takes that works, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// Asks again and again until `check` succeeds. Panics with what was seen last when that takes too long.
pub async fn eventually<T>(what: impl Display, check: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(PATIENCE, check)
        .await
        .unwrap_or_else(|last| panic!("{what}: not so after {PATIENCE:?}; last seen: {last}"))
}

/// The same with a patience of one's own, and what was seen last as the error.
pub async fn within<T>(
    patience: Duration,
    mut check: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let began = Instant::now();
    loop {
        match check().await {
            Ok(found) => return Ok(found),
            Err(last) if began.elapsed() > patience => return Err(last),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// For [`eventually`]: fine if `is`, or else what was seen.
pub fn seen(is: bool, what: impl std::fmt::Debug) -> Result<(), String> {
    if is { Ok(()) } else { Err(format!("{what:?}")) }
}
