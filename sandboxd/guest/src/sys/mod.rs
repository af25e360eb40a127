//! Everything `unsafe`: the C library's functions as safe Rust. Each file covers one kernel facility.

pub mod cgroup_mount;
pub mod directory;
pub mod errno;
pub mod fd;
pub mod ffi;
pub mod file;
pub mod host;
pub mod inotify;
pub mod poll;
pub mod process;
pub mod socket;
pub mod terminal;

use std::io;

/// Turns the C library's -1 into the errno.
pub fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// As [`check`], for results in bytes.
pub fn check_size(result: isize) -> io::Result<usize> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as usize)
    }
}
