//! Errors of PID 1 itself, to stderr, bounded in total: the file they go to belongs to the host.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes written in the life of a sandbox.
const LIMIT: usize = 64 << 10;
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Writes one line, or nothing once the limit is reached.
pub fn line(text: &str) {
    let line = format!("cove-init: {text}\n");
    if WRITTEN.fetch_add(line.len(), Ordering::Relaxed) + line.len() > LIMIT {
        WRITTEN.store(LIMIT, Ordering::Relaxed);
        return;
    }
    // Nobody is left to tell when stderr itself fails.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Logs a formatted line.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => { $crate::log::line(&format!($($argument)*)) };
}
