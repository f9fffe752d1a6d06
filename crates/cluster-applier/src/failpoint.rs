//! Where a test can end the process as kill -9 would: `PULLPASS_FAILPOINT=after-create-secret:3` does so when that step is
//! passed for the third time. Only debug builds know of this; in a release build nothing is read and nothing can happen.

/// Passes a step: `when` is `before`, `amid` or `after`.
#[cfg(debug_assertions)]
pub(crate) fn pass(when: &str, what: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };
    static ARMED: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let text = std::env::var("PULLPASS_FAILPOINT").ok()?;
        let (step, passing) = text.rsplit_once(':')?;
        Some((step.to_owned(), AtomicU32::new(passing.parse().ok()?)))
    });
    let Some((step, left)) = &*ARMED else { return };
    let is_meant = step.strip_prefix(when).and_then(|rest| rest.strip_prefix('-')) == Some(what);
    if is_meant && left.fetch_sub(1, Ordering::Relaxed) == 1 {
        std::process::abort();
    }
}

/// Passes a step.
#[cfg(not(debug_assertions))]
pub(crate) const fn pass(_when: &str, _what: &str) {}
