//! What the targets share: a limit to the memory that an input may take, and checks of what is said of it.
//!
//! libFuzzer's own limit of single allocations needs a sanitizer, which a stable compiler does not have; this one counts
//! what Rust allocates, and holds however small the input is.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

#[global_allocator]
static COUNTED: Counted = Counted;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Every input may take this much, and [`EACH_BYTE`] more for each of its bytes.
const EVERY_INPUT: usize = 1 << 20;
const EACH_BYTE: usize = 512;

/// The system's allocator, with an eye on how much is in use.
struct Counted;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs the target's `body`, and panics if it had too much memory at once for an input of this length.
pub fn bounded(input: &[u8], body: impl FnOnce()) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    body();
    let most = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let allowed = EVERY_INPUT + EACH_BYTE * input.len();
    assert!(most <= allowed, "{most} bytes at once for an input of {} bytes", input.len());
}

/// The parts of an input with several: they end with a byte that is nowhere in UTF-8.
pub fn parts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == 0xff)
}

/// The password of all seeds. A mutation may move it to where things are shown, but nothing else may show it.
pub const CANARY: &str = "fake-canary";

/// Panics if `text` tells the canary outside of what it shows on purpose.
pub fn assert_untold<'a>(text: &str, shown: impl IntoIterator<Item = &'a str>) {
    let hidden = shown
        .into_iter()
        .fold(text.to_owned(), |text, shown| text.replace(&format!("{shown:?}"), "").replace(shown, ""));
    assert!(!hidden.contains(CANARY), "{text} tells a secret");
}
