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

/// Closes a descriptor and tells what the last write-back said.
pub fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is owned and given up here.
    check(unsafe { ffi::close(fd.into_raw_fd()) }).map(drop)
}
