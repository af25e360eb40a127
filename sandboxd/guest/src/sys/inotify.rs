//! inotify.

use super::fd::{self, owned};
use super::{check, ffi};
use std::ffi::CStr;
use std::io;
use std::os::unix::io::{OwnedFd, RawFd};

pub const ACCESS: u32 = 0x1;
pub const MODIFY: u32 = 0x2;
pub const ATTRIBUTES: u32 = 0x4;
pub const MOVED_FROM: u32 = 0x40;
pub const MOVED_TO: u32 = 0x80;
pub const CREATE: u32 = 0x100;
pub const DELETE: u32 = 0x200;
pub const DELETE_SELF: u32 = 0x400;
pub const MOVE_SELF: u32 = 0x800;
pub const OVERFLOW: u32 = 0x4000;
pub const IGNORED: u32 = 0x8000;
pub const IS_DIRECTORY: u32 = 0x4000_0000;

const INTERESTING: u32 = ACCESS | MODIFY | ATTRIBUTES | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF;
const ONLY_DIRECTORIES: u32 = 0x0100_0000;
const DO_NOT_FOLLOW: u32 = 0x0200_0000;
const HEADER_BYTES: usize = 16;

/// One event; `name` is empty for the watched object itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub watch: i32,
    pub mask: u32,
    /// The same for both halves of a rename.
    pub cookie: u32,
    pub name: Vec<u8>,
}

pub fn open() -> io::Result<OwnedFd> {
    // SAFETY: takes an integer and touches no memory.
    owned(unsafe { ffi::inotify_init1(ffi::O_NONBLOCK | ffi::O_CLOEXEC) })
}

/// Watches an object of any type, a link at the end of the path followed.
pub fn add(inotify: RawFd, path: &CStr) -> io::Result<i32> {
    // SAFETY: the path ends in NUL.
    check(unsafe { ffi::inotify_add_watch(inotify, path.as_ptr(), INTERESTING) })
}

/// Watches a directory and nothing else.
pub fn add_directory(inotify: RawFd, path: &CStr) -> io::Result<i32> {
    // SAFETY: the path ends in NUL.
    check(unsafe { ffi::inotify_add_watch(inotify, path.as_ptr(), INTERESTING | ONLY_DIRECTORIES | DO_NOT_FOLLOW) })
}

pub fn remove(inotify: RawFd, watch: i32) -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { ffi::inotify_rm_watch(inotify, watch) }).map(drop)
}

/// Reads what has happened; WouldBlock if nothing has.
pub fn read(inotify: RawFd, buffer: &mut [u8]) -> io::Result<Vec<Event>> {
    let count = fd::read(inotify, buffer)?;
    Ok(parse(&buffer[..count]))
}

fn parse(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let field = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (watch, mask, cookie) = (field(0) as i32, field(4), field(8));
        let end = (HEADER_BYTES + field(12) as usize).min(bytes.len());
        let name = bytes[HEADER_BYTES..end].split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        events.push(Event { watch, mask, cookie, name });
        bytes = &bytes[end..];
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_names_and_nameless_events_are_told_apart() {
        let mut bytes = Vec::new();
        for (watch, mask, cookie, name) in [(1_i32, CREATE, 0_u32, &b"ab\0\0"[..]), (-1, OVERFLOW, 0, b""), (2, MOVED_TO, 7, b"0123456789abcdef")] {
            bytes.extend_from_slice(&watch.to_le_bytes());
            bytes.extend_from_slice(&mask.to_le_bytes());
            bytes.extend_from_slice(&cookie.to_le_bytes());
            bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
            bytes.extend_from_slice(name);
        }
        let events = parse(&bytes);
        let names: Vec<&[u8]> = events.iter().map(|event| &event.name[..]).collect();
        assert_eq!(names, [&b"ab"[..], b"", b"0123456789abcdef"]);
        assert_eq!((events[1].watch, events[1].mask, events[2].cookie), (-1, OVERFLOW, 7));
    }
}
