//! Archives: ustar with pax extensions, and the GNU extensions that common tools still write. Everything in here is pure.

pub mod header;
pub mod parser;
pub mod path;
pub mod pax;
pub mod writer;

pub const BLOCK: usize = 512;

/// Bytes that fill the last block of `size` bytes.
pub fn padding(size: u64) -> usize {
    ((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64) as usize
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    SymbolicLink,
    Directory,
    /// Devices, FIFOs and anything unknown, by type byte.
    Other(u8),
}

/// A member's facts, with all extensions applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime_s: i64,
    /// Of links.
    pub target: Vec<u8>,
}

/// Why an archive is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarError(pub &'static str);
