//! TAR_CREATE: a file or a directory to the host as an archive, produced as the host takes it.

use super::{fail, Start};
use crate::calls::write_stat;
use crate::context::Context;
use crate::fields::Reader;
use crate::frame::{kind, Header, MAX_PAYLOAD};
use crate::output::Failure;
use crate::paths::{absolute, display};
use crate::stream::{Outcome, SendWindow, Stream};
use crate::sys::directory::{Directory, SortedNames};
use crate::sys::errno::EINVAL;
use crate::sys::fd;
use crate::sys::file::{stat_at, Stat, HERE};
use crate::sys::ffi;
use crate::tar::{padding, writer, Kind, Member};
use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

const CHANNEL: u8 = 1;
const FLAG_OWN_NAME: u8 = 1;
/// Names read, or entries looked at, before others get their turn.
const SLICE: usize = 128;
/// Bytes gathered for one frame.
const PIECE_BYTES: usize = 64 << 10;

/// A directory being archived and the name of its members up to the last slash.
struct Level {
    names: SortedNames,
    prefix: Vec<u8>,
}

/// A file whose bytes are being archived.
struct Content {
    file: OwnedFd,
    left: u64,
    padding: usize,
}

struct Create {
    stream: u32,
    path: String,
    levels: Vec<Level>,
    content: Option<Content>,
    /// First names of files with more than one.
    linked: HashMap<([u32; 2], u64), Vec<u8>>,
    /// Archive bytes not sent yet.
    buffer: Vec<u8>,
    complete: bool,
    window: SendWindow,
}

pub fn start(context: &mut Context, stream: u32, payload: &[u8]) -> Start {
    let mut reader = Reader::new(payload);
    let (path, flags) = (absolute(reader.str()?)?, reader.u8()?);
    reader.end()?;
    let name = display(path.to_bytes());
    let failure = |error: io::Error| Failure::of(&name, &error);
    let stat = stat_at(HERE, &path, true).map_err(failure)?;
    let mut create = Create {
        stream,
        path: name.clone(),
        levels: Vec::new(),
        content: None,
        linked: HashMap::new(),
        buffer: Vec::new(),
        complete: false,
        window: SendWindow::new(),
    };
    create.begin(&path, &stat, flags & FLAG_OWN_NAME != 0).map_err(failure)?;
    context.out.reply(stream, |fields| write_stat(fields, &stat));
    Ok(Box::new(create))
}

impl Create {
    fn begin(&mut self, path: &CString, stat: &Stat, own_name: bool) -> io::Result<()> {
        let own = path.to_bytes().rsplit(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or_default();
        if !stat.is_directory() {
            // As the host named it: a link at the end is followed.
            return self.add(HERE, path, own.to_vec(), stat, true);
        }
        let mut prefix = Vec::new();
        if own_name && !own.is_empty() {
            prefix = [own, b"/"].concat();
            writer::append_header(&mut self.buffer, &member(prefix.clone(), Kind::Directory, stat));
        }
        self.levels.push(Level { names: SortedNames::new(Directory::open_at(HERE, path, true)?), prefix });
        Ok(())
    }

    /// Appends one entry's header, and remembers what must follow it.
    fn add(&mut self, directory: RawFd, name: &CString, full_name: Vec<u8>, stat: &Stat, follow: bool) -> io::Result<()> {
        if stat.is_directory() {
            let directory = Directory::open_at(directory, name, false)?;
            let prefix = [&full_name[..], b"/"].concat();
            writer::append_header(&mut self.buffer, &member(prefix.clone(), Kind::Directory, stat));
            self.levels.push(Level { names: SortedNames::new(directory), prefix });
        } else if stat.is_link() {
            let target = fd::read_link_at(directory, name)?;
            writer::append_header(&mut self.buffer, &Member { target, ..member(full_name, Kind::SymbolicLink, stat) });
        } else if stat.is_regular() {
            self.add_file(directory, name, full_name, stat, follow)?;
        } else if self.levels.is_empty() {
            return Err(io::Error::from_raw_os_error(EINVAL));
        }
        // Devices, FIFOs and sockets mean nothing elsewhere.
        Ok(())
    }

    fn add_file(&mut self, directory: RawFd, name: &CString, full_name: Vec<u8>, stat: &Stat, follow: bool) -> io::Result<()> {
        if stat.links > 1 {
            let first = self.linked.entry((stat.device, stat.inode)).or_insert_with(|| full_name.clone());
            if *first != full_name {
                let target = first.clone();
                writer::append_header(&mut self.buffer, &Member { target, ..member(full_name, Kind::HardLink, stat) });
                return Ok(());
            }
        }
        let no_follow = if follow { 0 } else { ffi::O_NOFOLLOW };
        let file = fd::open_at(directory, name, ffi::O_RDONLY | ffi::O_NONBLOCK | no_follow)?;
        writer::append_header(&mut self.buffer, &Member { size: stat.size, ..member(full_name, Kind::File, stat) });
        self.content = Some(Content { file, left: stat.size, padding: padding(stat.size) });
        Ok(())
    }

    /// Fills the buffer up to a piece, as far as one slice goes.
    fn produce(&mut self) -> io::Result<()> {
        for _ in 0..SLICE {
            if self.buffer.len() >= PIECE_BYTES || self.complete {
                break;
            }
            if self.content.is_some() {
                self.copy()?;
            } else if !self.next_entry()? {
                break;
            }
        }
        Ok(())
    }

    /// Copies a piece of the current file. One that shrank is filled up with zeros, one that grew is cut: the size is said already.
    fn copy(&mut self) -> io::Result<()> {
        let content = match &mut self.content {
            Some(content) => content,
            None => return Ok(()),
        };
        let count = content.left.min(PIECE_BYTES as u64) as usize;
        let taken = fd::read_append(content.file.as_raw_fd(), &mut self.buffer, count)?;
        let added = if taken == 0 { count } else { taken };
        self.buffer.resize(self.buffer.len() + added - taken, 0);
        content.left -= added as u64;
        if content.left == 0 {
            self.buffer.resize(self.buffer.len() + content.padding, 0);
            self.content = None;
        }
        Ok(())
    }

    /// Goes on to the next entry; tells whether the slice may go on.
    fn next_entry(&mut self) -> io::Result<bool> {
        let level = match self.levels.last_mut() {
            Some(level) => level,
            None => {
                writer::append_end(&mut self.buffer);
                self.complete = true;
                return Ok(false);
            }
        };
        if !level.names.collect(SLICE)? {
            return Ok(false);
        }
        let name = match level.names.next() {
            Some(name) => name,
            None => {
                self.levels.pop();
                return Ok(true);
            }
        };
        let (directory, full_name) = (level.names.fd(), [&level.prefix[..], name.to_bytes()].concat());
        let added = stat_at(directory, &name, false).and_then(|stat| self.add(directory, &name, full_name, &stat, false));
        match added {
            // Removed while we were on our way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            result => result.map(|()| true),
        }
    }

    /// Sends what the host's window allows.
    fn send(&mut self, context: &mut Context) {
        let count = self.window.room().min(self.buffer.len() as u64).min(MAX_PAYLOAD as u64) as usize;
        if count > 0 {
            context.out.frame(Header::new(self.stream, kind::DATA, CHANNEL, self.window.offset), |payload| {
                payload.raw(&self.buffer[..count]);
            });
            self.buffer.drain(..count);
            self.window.offset += count as u64;
        }
    }
}

fn member(name: Vec<u8>, kind: Kind, stat: &Stat) -> Member {
    let mtime_s = stat.mtime_ns.div_euclid(1_000_000_000);
    Member { name, kind, mode: stat.permissions(), uid: stat.uid, gid: stat.gid, size: 0, mtime_s, target: Vec::new() }
}

impl Stream for Create {
    fn ack(&mut self, _context: &mut Context, _header: &Header, limit: u64) -> Outcome {
        self.window.allow(limit);
        Outcome::Again
    }

    fn work(&mut self, context: &mut Context) -> Outcome {
        if let Err(error) = self.produce() {
            return fail(context, self.stream, &Failure::of(&self.path, &error));
        }
        if self.complete || self.buffer.len() >= PIECE_BYTES {
            self.send(context);
        }
        if !self.buffer.is_empty() && self.window.room() == 0 {
            return Outcome::Wait;
        }
        if self.complete && self.buffer.is_empty() {
            context.out.eof(self.stream, CHANNEL, self.window.offset);
            return Outcome::Close;
        }
        Outcome::Again
    }
}
