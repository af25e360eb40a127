//! The pids controller, mounted for this process alone.

use super::{check, ffi};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::OwnedFd;
use std::path::Path;

/// Mounts the pids controller on the empty directory `place`, opens it and detaches the mount: only the descriptor remains.
pub fn pids_controller(place: &Path) -> io::Result<OwnedFd> {
    let target = std::ffi::CString::new(place.as_os_str().as_bytes())?;
    // SAFETY: all strings end in NUL and live across the call.
    check(unsafe { ffi::mount(name(b"cgroup\0").as_ptr(), target.as_ptr(), name(b"cgroup\0").as_ptr(), 0, name(b"pids\0").as_ptr().cast()) })?;
    let directory = File::open(place);
    // SAFETY: the string ends in NUL.
    check(unsafe { ffi::umount2(target.as_ptr(), ffi::MNT_DETACH) })?;
    Ok(directory?.into())
}

fn name(bytes: &'static [u8]) -> &'static CStr {
    CStr::from_bytes_with_nul(bytes).unwrap_or_default()
}
