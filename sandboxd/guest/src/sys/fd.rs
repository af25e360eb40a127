//! Descriptors: reading, writing, pipes, flags.

use super::{check, check_size, ffi};
use std::ffi::CStr;
use std::io;
use std::os::unix::io::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Takes ownership of a descriptor that a call just made.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: only called with a descriptor fresh from the kernel, which nothing else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Checks the result of a call that makes a descriptor.
pub fn owned(result: i32) -> io::Result<OwnedFd> {
    check(result).map(own)
}

/// Takes ownership of standard input or output.
pub fn take_standard(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory.
    owned(unsafe { ffi::fcntl(number, ffi::F_DUPFD_CLOEXEC, 3) })
}

/// Reads once; interrupted reads are repeated.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a live, writable slice.
    retry(|| unsafe { ffi::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// Reads once to the end of `buffer`, at most `count` bytes, without zeroing the memory first.
pub fn read_append(fd: RawFd, buffer: &mut Vec<u8>, count: usize) -> io::Result<usize> {
    buffer.reserve(count);
    let length = buffer.len();
    // SAFETY: `reserve` made at least `count` bytes behind the vector's length writable.
    let taken = retry(|| unsafe { ffi::read(fd, buffer.as_mut_ptr().add(length).cast(), count) })?;
    // SAFETY: the kernel has just written `taken` bytes there.
    unsafe { buffer.set_len(length + taken) };
    Ok(taken)
}

/// Writes once; interrupted writes are repeated.
pub fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a live slice.
    retry(|| unsafe { ffi::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match check_size(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            result => return result,
        }
    }
}

/// A pipe: reading end, writing end; both close-on-exec and blocking.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for the two descriptors.
    check(unsafe { ffi::pipe2(fds.as_mut_ptr(), ffi::O_CLOEXEC) })?;
    Ok((own(fds[0]), own(fds[1])))
}

/// Makes a pipe or terminal non-blocking; other status flags are cleared, of which these have none.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFL takes an integer and touches no memory.
    check(unsafe { ffi::fcntl(fd, ffi::F_SETFL, ffi::O_NONBLOCK) }).map(drop)
}

/// A second, close-on-exec descriptor of the same open file.
pub fn duplicate(fd: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory.
    owned(unsafe { ffi::fcntl(fd.as_raw_fd(), ffi::F_DUPFD_CLOEXEC, 3) })
}

/// Opens relative to a directory; always close-on-exec.
pub fn open_at(directory: RawFd, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: the path ends in NUL; no flag given here creates, so no mode is read.
    owned(unsafe { ffi::openat(directory, path.as_ptr(), flags | ffi::O_CLOEXEC) })
}

pub fn make_directory_at(directory: RawFd, path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: the path ends in NUL.
    check(unsafe { ffi::mkdirat(directory, path.as_ptr(), mode) }).map(drop)
}

pub fn remove_directory_at(directory: RawFd, path: &CStr) -> io::Result<()> {
    // SAFETY: the path ends in NUL.
    check(unsafe { ffi::unlinkat(directory, path.as_ptr(), ffi::AT_REMOVEDIR) }).map(drop)
}

pub fn remove_file_at(directory: RawFd, path: &CStr) -> io::Result<()> {
    // SAFETY: the path ends in NUL.
    check(unsafe { ffi::unlinkat(directory, path.as_ptr(), 0) }).map(drop)
}

/// Opens a file that is created if missing.
pub fn create_at(directory: RawFd, path: &CStr, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    // SAFETY: the path ends in NUL, the mode is passed.
    owned(unsafe { ffi::openat(directory, path.as_ptr(), flags | ffi::O_CREAT | ffi::O_CLOEXEC, mode) })
}

pub fn symlink_at(target: &CStr, directory: RawFd, path: &CStr) -> io::Result<()> {
    // SAFETY: both strings end in NUL.
    check(unsafe { ffi::symlinkat(target.as_ptr(), directory, path.as_ptr()) }).map(drop)
}

/// A hard link; a symbolic link as source is itself linked.
pub fn link_at(from_directory: RawFd, from: &CStr, directory: RawFd, path: &CStr) -> io::Result<()> {
    // SAFETY: both strings end in NUL.
    check(unsafe { ffi::linkat(from_directory, from.as_ptr(), directory, path.as_ptr(), 0) }).map(drop)
}

/// Target of a symbolic link.
pub fn read_link_at(directory: RawFd, path: &CStr) -> io::Result<Vec<u8>> {
    let mut target = vec![0; 4096];
    // SAFETY: the path ends in NUL, the buffer's length is told.
    let count = check_size(unsafe { ffi::readlinkat(directory, path.as_ptr(), target.as_mut_ptr().cast(), target.len()) })?;
    target.truncate(count);
    Ok(target)
}

pub fn change_mode(fd: RawFd, mode: u32) -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { ffi::fchmod(fd, mode) }).map(drop)
}

/// Changes the owner of an open file.
pub fn change_owner(fd: RawFd, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { ffi::fchown(fd, uid, gid) }).map(drop)
}

/// Changes the owner of a file or link that root just made; nothing to do for root itself.
pub fn change_owner_at(directory: RawFd, path: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    // SAFETY: the path ends in NUL.
    check(unsafe { ffi::fchownat(directory, path.as_ptr(), uid, gid, ffi::AT_SYMLINK_NOFOLLOW) }).map(drop)
}

fn whole_seconds(seconds: i64) -> [ffi::Timespec; 2] {
    [ffi::Timespec { seconds, nanoseconds: 0 }, ffi::Timespec { seconds, nanoseconds: 0 }]
}

/// Sets the times of an open file.
pub fn set_time(fd: RawFd, mtime_s: i64) -> io::Result<()> {
    // SAFETY: the array of two lives across the call.
    check(unsafe { ffi::futimens(fd, whole_seconds(mtime_s).as_ptr()) }).map(drop)
}

/// Sets the times of a file or link by name.
pub fn set_time_at(directory: RawFd, path: &CStr, mtime_s: i64) -> io::Result<()> {
    // SAFETY: the path ends in NUL and the array of two lives across the call.
    check(unsafe { ffi::utimensat(directory, path.as_ptr(), whole_seconds(mtime_s).as_ptr(), ffi::AT_SYMLINK_NOFOLLOW) }).map(drop)
}

/// Closes a descriptor and tells what the last write-back said.
pub fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is owned and given up here.
    check(unsafe { ffi::close(fd.into_raw_fd()) }).map(drop)
}
