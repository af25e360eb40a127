//! What the sandbox calls itself.

use super::{check, ffi};
use std::io;

/// sethostname(2).
pub fn set_name(name: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length are a live slice's.
    check(unsafe { ffi::sethostname(name.as_ptr().cast(), name.len()) }).map(|_| ())
}
