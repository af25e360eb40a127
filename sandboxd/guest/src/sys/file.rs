//! File attributes, by path, by descriptor, or relative to a directory.

use super::{check, ffi};
use std::ffi::CStr;
use std::io;
use std::os::unix::io::RawFd;

const TYPE_BITS: u32 = 0o170_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_CHARACTER_DEVICE: u32 = 0o020_000;
const TYPE_REGULAR: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;

/// Relative paths are then relative to PID 1's working directory, `/`.
pub const HERE: RawFd = ffi::AT_FDCWD;

/// What STAT tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// With type bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime_ns: i64,
    pub inode: u64,
    pub links: u32,
    pub device: [u32; 2],
}

impl Stat {
    pub fn is_directory(&self) -> bool {
        self.mode & TYPE_BITS == TYPE_DIRECTORY
    }

    pub fn is_regular(&self) -> bool {
        self.mode & TYPE_BITS == TYPE_REGULAR
    }

    pub fn is_link(&self) -> bool {
        self.mode & TYPE_BITS == TYPE_LINK
    }

    pub fn is_character_device(&self) -> bool {
        self.mode & TYPE_BITS == TYPE_CHARACTER_DEVICE
    }

    /// Mode without type bits.
    pub fn permissions(&self) -> u32 {
        self.mode & !TYPE_BITS
    }
}

/// Attributes of `path` below `directory`; a final symbolic link is followed or not.
pub fn stat_at(directory: RawFd, path: &CStr, follow: bool) -> io::Result<Stat> {
    query(directory, path, if follow { 0 } else { ffi::AT_SYMLINK_NOFOLLOW })
}

/// Attributes of an open file.
pub fn stat(fd: RawFd) -> io::Result<Stat> {
    query(fd, CStr::from_bytes_with_nul(b"\0").unwrap_or_default(), ffi::AT_EMPTY_PATH)
}

fn query(directory: RawFd, path: &CStr, flags: i32) -> io::Result<Stat> {
    let mut found = ffi::Statx::default();
    // SAFETY: the path ends in NUL and the structure lives across the call.
    check(unsafe { ffi::statx(directory, path.as_ptr(), flags, ffi::STATX_BASIC_STATS, &mut found) })?;
    let modified = found.modified;
    Ok(Stat {
        mode: u32::from(found.mode),
        uid: found.uid,
        gid: found.gid,
        size: found.size,
        mtime_ns: modified.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(modified.nanoseconds)),
        inode: found.inode,
        links: found.links,
        device: found.device,
    })
}

/// sync(2).
pub fn sync_all() {
    // SAFETY: takes nothing and cannot fail.
    unsafe { ffi::sync() };
}
