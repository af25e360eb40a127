//! Reading directories by descriptor, so that a path swapped under our hands leads nowhere else.

use super::{errno, fd, ffi, file};
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::io::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

const READ_DIRECTORY: i32 = ffi::O_RDONLY | ffi::O_DIRECTORY;

/// Opens what is a directory itself, not a link to one (ELOOP) nor anything else (ENOTDIR).
///
/// gVisor follows links in spite of O_NOFOLLOW when O_DIRECTORY is given with it, so what the name stands for is looked at first, in a way
/// that opens nothing, and then opened by the name that no directory gives to anything else.
pub fn open_real_at(directory: RawFd, path: &CStr) -> io::Result<OwnedFd> {
    let found = fd::open_at(directory, path, ffi::O_PATH | ffi::O_NOFOLLOW)?;
    let stat = file::stat(found.as_raw_fd())?;
    if stat.is_directory() {
        return fd::open_at(found.as_raw_fd(), CStr::from_bytes_with_nul(b".\0").unwrap_or_default(), READ_DIRECTORY);
    }
    Err(io::Error::from_raw_os_error(if stat.is_link() { errno::ELOOP } else { errno::ENOTDIR }))
}

/// An open directory and the place reached in it.
pub struct Directory {
    stream: *mut ffi::DirectoryStream,
}

impl Directory {
    /// Opens a directory below another one; a symbolic link is followed only if told so.
    pub fn open_at(directory: RawFd, path: &CStr, follow: bool) -> io::Result<Directory> {
        let fd = if follow { fd::open_at(directory, path, READ_DIRECTORY) } else { open_real_at(directory, path) }?.into_raw_fd();
        // SAFETY: the descriptor is open and handed over to the stream.
        let stream = unsafe { ffi::fdopendir(fd) };
        if stream.is_null() {
            let error = io::Error::last_os_error();
            // SAFETY: the stream did not take the descriptor.
            unsafe { ffi::close(fd) };
            return Err(error);
        }
        Ok(Directory { stream })
    }

    /// The descriptor, to open entries by.
    pub fn fd(&self) -> RawFd {
        // SAFETY: the stream is open.
        unsafe { ffi::dirfd(self.stream) }
    }

    /// The next name other than `.` and `..`.
    pub fn next_name(&mut self) -> io::Result<Option<CString>> {
        loop {
            // SAFETY: the stream is open; errno tells the end of the directory from an error, so it is cleared first.
            let entry = unsafe {
                *ffi::__errno_location() = 0;
                ffi::readdir(self.stream)
            };
            if entry.is_null() {
                let error = io::Error::last_os_error();
                return if error.raw_os_error() == Some(0) { Ok(None) } else { Err(error) };
            }
            // SAFETY: the entry is valid until the next call, its name ends in NUL.
            let name = unsafe { CStr::from_ptr(std::ptr::addr_of!((*entry).name).cast()) };
            if name.to_bytes() != b"." && name.to_bytes() != b".." {
                return Ok(Some(name.to_owned()));
            }
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: the stream is open and not used again.
        unsafe { ffi::closedir(self.stream) };
    }
}

/// A directory's names in order, gathered in slices.
pub struct SortedNames {
    directory: Directory,
    /// In reverse, so that the next one is popped.
    names: Vec<CString>,
    collected: bool,
}

impl SortedNames {
    pub fn new(directory: Directory) -> SortedNames {
        SortedNames { directory, names: Vec::new(), collected: false }
    }

    pub fn fd(&self) -> RawFd {
        self.directory.fd()
    }

    /// Reads up to `count` names more; tells whether all are there, which the methods below need.
    pub fn collect(&mut self, count: usize) -> io::Result<bool> {
        for _ in 0..count {
            if self.collected {
                break;
            }
            match self.directory.next_name()? {
                Some(name) => self.names.push(name),
                None => {
                    self.names.sort_unstable_by(|a, b| b.cmp(a));
                    self.collected = true;
                }
            }
        }
        Ok(self.collected)
    }

    pub fn peek(&self) -> Option<&CString> {
        self.names.last()
    }

    pub fn next(&mut self) -> Option<CString> {
        self.names.pop()
    }
}
