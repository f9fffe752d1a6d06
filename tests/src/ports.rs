//! Free ports on 127.0.0.1 that stay ours over a restart.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the kernel's range for outgoing connections, one of which could else take a port while its server restarts;
/// apart from the range of `pullpass dev`'s state folders.
const FIRST: u16 = 10_000;
const COUNT: u16 = 9_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nobody listens on; never the same twice in one process, and unlikely the same in two.
pub(crate) fn free() -> u16 {
    let start = u16::try_from(u32::from(COUNT).min(std::process::id() * 101 % u32::from(COUNT))).unwrap_or(0);
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port on 127.0.0.1")
}
