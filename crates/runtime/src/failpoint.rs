//! Where a test can end a service: `PULLPASS_FAILPOINT=after-create-secret:3` does so when that step is passed for the third
//! time, as kill -9 would; with `panic-after-create-secret:3` the step panics, and tells what it has at hand, as `unwrap`
//! would. Only debug builds know of this; in a release build nothing is read and nothing can happen.

use std::fmt::Debug;

/// Passes a step: `when` is `before`, `amid` or `after`.
pub fn pass(when: &str, what: &str) {
    pass_with(when, what, &"nothing");
}

/// Passes a step with something at hand.
///
/// # Panics
///
/// If a test asks for it.
#[cfg(debug_assertions)]
pub fn pass_with(when: &str, what: &str, at_hand: &dyn Debug) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };
    static ARMED: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let text = std::env::var("PULLPASS_FAILPOINT").ok()?;
        let (step, passing) = text.rsplit_once(':')?;
        Some((step.to_owned(), AtomicU32::new(passing.parse().ok()?)))
    });
    let Some((armed, left)) = &*ARMED else { return };
    let step = armed.strip_prefix("panic-").unwrap_or(armed);
    let is_meant = step.strip_prefix(when).and_then(|rest| rest.strip_prefix('-')) == Some(what);
    if is_meant && left.fetch_sub(1, Ordering::Relaxed) == 1 {
        assert_eq!(step, armed, "the failpoint has at hand: {at_hand:?}");
        std::process::abort();
    }
}

/// Passes a step with something at hand.
#[cfg(not(debug_assertions))]
pub const fn pass_with(_when: &str, _what: &str, _at_hand: &dyn Debug) {}
