//! Open files that the host reads and writes piece by piece.

use super::names::failure;
use super::Answer;
use crate::fields::Reader;
use crate::frame::{kind, Header};
use crate::output::{Failure, Output};
use crate::paths::{absolute, as_path};
use crate::sys::errno::{EBADF, EINVAL, EMFILE};
use crate::sys::file::{stat, stat_at, Stat, HERE};
use crate::sys::{fd, ffi, terminal};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::io::AsRawFd;

const MOST_HANDLES: usize = 1024;
/// Most bytes in one answer; leaves room for the fields around them.
const MOST_BYTES: u32 = 262_000;

/// Bits of the `flags` of OPEN.
mod flag {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const CREATE: u32 = 4;
    pub const TRUNCATE: u32 = 8;
    pub const APPEND: u32 = 16;
    pub const EXCLUSIVE: u32 = 32;
}

/// The table of open files of one session.
#[derive(Default)]
pub struct Handles {
    files: HashMap<u32, File>,
    last: u32,
}

impl Handles {
    pub fn clear(&mut self) {
        self.files.clear();
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&mut self, handle: u32) -> Result<&mut File, Failure> {
        self.files.get_mut(&handle).ok_or_else(|| Failure::new(EBADF, format!("no open file {handle}")))
    }

    pub fn open(&mut self, stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
        let (path, flags, mode, read_ahead) = (absolute(reader.str()?)?, reader.u32()?, reader.u32()?, reader.u32()?);
        reader.end()?;
        if self.files.len() >= MOST_HANDLES {
            return Err(Failure::new(EMFILE, "too many open files"));
        }
        let (mut file, stat) = open_file(&path, flags, mode)?;
        let handle = self.last.wrapping_add(1);
        out.try_frame(Header::new(stream, kind::REPLY, 0, 0), |payload| {
            payload.u32(0).u32(handle).u64(stat.size).u32(0);
            let buffer = payload.buffer();
            let start = buffer.len();
            let all = read_first(&mut file, &stat, read_ahead.min(MOST_BYTES), buffer)?;
            let count = (buffer.len() - start) as u32;
            buffer[start - 4..start].copy_from_slice(&count.to_le_bytes());
            payload.u8(u8::from(all));
            Ok(())
        })
        .map_err(failure(&path))?;
        self.last = handle;
        self.files.insert(handle, file);
        Ok(None)
    }

    pub fn read(&mut self, stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
        let (handle, count) = (reader.u32()?, reader.u32()?);
        reader.end()?;
        let file = self.get(handle)?.as_raw_fd();
        out.try_frame(Header::new(stream, kind::REPLY, 0, 0), |payload| {
            payload.u32(0).u32(0);
            let buffer = payload.buffer();
            let start = buffer.len();
            let taken = fd::read_append(file, buffer, count.min(MOST_BYTES) as usize)?;
            buffer[start - 4..start].copy_from_slice(&(taken as u32).to_le_bytes());
            Ok(())
        })
        .map_err(|error| Failure::of("read", &error))?;
        Ok(None)
    }

    pub fn write(&mut self, stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
        let (handle, then, bytes) = (reader.u32()?, reader.u8()?, reader.str()?);
        reader.end()?;
        let file = self.get(handle)?;
        file.write_all(bytes).map_err(|error| Failure::of("write", &error))?;
        // A device has no position.
        let position = file.stream_position().unwrap_or(0);
        match then {
            0 => (),
            1 => file.sync_all().map_err(|error| Failure::of("fsync", &error))?,
            _ => self.close_one(handle)?,
        }
        out.reply(stream, |payload| {
            payload.u64(position);
        });
        Ok(None)
    }

    pub fn seek(&mut self, stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
        let (handle, offset, whence) = (reader.u32()?, reader.i64()?, reader.u8()?);
        reader.end()?;
        let target = match whence {
            0 if offset >= 0 => SeekFrom::Start(offset as u64),
            1 => SeekFrom::Current(offset),
            2 => SeekFrom::End(offset),
            _ => return Err(Failure::new(EINVAL, "seek: no such position")),
        };
        let position = self.get(handle)?.seek(target).map_err(|error| Failure::of("seek", &error))?;
        out.reply(stream, |payload| {
            payload.u64(position);
        });
        Ok(None)
    }

    pub fn sync(&mut self, stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
        let handle = reader.u32()?;
        reader.end()?;
        self.get(handle)?.sync_all().map_err(|error| Failure::of("fsync", &error))?;
        out.reply(stream, |_| ());
        Ok(None)
    }

    pub fn close(&mut self, stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
        let handle = reader.u32()?;
        reader.end()?;
        self.close_one(handle)?;
        out.reply(stream, |_| ());
        Ok(None)
    }

    fn close_one(&mut self, handle: u32) -> Result<(), Failure> {
        self.get(handle)?;
        match self.files.remove(&handle) {
            Some(file) => fd::close(file.into()).map_err(|error| Failure::of("close", &error)),
            None => Ok(()),
        }
    }
}

fn open_file(path: &CString, flags: u32, mode: u32) -> Result<(File, Stat), Failure> {
    let has = |bit: u32| flags & bit != 0;
    let mut options = OpenOptions::new();
    options
        .read(has(flag::READ))
        .write(has(flag::WRITE))
        .append(has(flag::APPEND))
        .truncate(has(flag::TRUNCATE))
        .create(has(flag::CREATE))
        .create_new(has(flag::EXCLUSIVE) && has(flag::CREATE))
        .mode(mode & 0o7777);
    open_checked(path, &mut options)
}

/// Opens what cannot block: regular files, and character devices other than terminals.
pub fn open_checked(path: &CString, options: &mut OpenOptions) -> Result<(File, Stat), Failure> {
    // Looked at first: opening a FIFO would wake up whoever waits at its other end.
    if let Ok(stat) = stat_at(HERE, path, true) {
        check_type(path, &stat)?;
    }
    let file = options.custom_flags(ffi::O_NONBLOCK | ffi::O_NOCTTY).open(as_path(path)).map_err(failure(path))?;
    let stat = stat(file.as_raw_fd()).map_err(failure(path))?;
    check_type(path, &stat)?;
    if stat.is_character_device() && terminal::is_terminal(file.as_raw_fd()) {
        return Err(refused(path));
    }
    Ok((file, stat))
}

/// Regular files, and devices, which never block here.
fn check_type(path: &CString, stat: &Stat) -> Result<(), Failure> {
    if stat.is_regular() || stat.is_character_device() {
        return Ok(());
    }
    if stat.is_directory() {
        return Err(failure(path)(io::Error::from_raw_os_error(crate::sys::errno::EISDIR)));
    }
    Err(refused(path))
}

fn refused(path: &CString) -> Failure {
    failure(path)(io::Error::from_raw_os_error(EINVAL))
}

/// Reads up to `count` bytes to the end of `buffer`; tells whether the file has no more.
fn read_first(file: &mut File, stat: &Stat, count: u32, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let start = buffer.len();
    loop {
        let taken = buffer.len() - start;
        if stat.size > 0 && taken as u64 == stat.size {
            return Ok(true);
        }
        if taken == count as usize {
            return Ok(false);
        }
        if fd::read_append(file.as_raw_fd(), buffer, count as usize - taken)? == 0 {
            return Ok(true);
        }
    }
}
