//! FILE_READ: a file's bytes to the host, read straight into the output queue.

use super::{fail, Start};
use crate::calls::handles::open_checked;
use crate::calls::write_stat;
use crate::context::Context;
use crate::fields::Reader;
use crate::frame::{kind, Header, MAX_PAYLOAD};
use crate::output::Failure;
use crate::paths::{absolute, display};
use crate::stream::{Outcome, SendWindow, Stream};
use crate::sys::fd;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::io::AsRawFd;

const CHANNEL: u8 = 1;

struct FileRead {
    stream: u32,
    name: String,
    file: File,
    left: u64,
    window: SendWindow,
}

pub fn start(context: &mut Context, stream: u32, payload: &[u8]) -> Start {
    let mut reader = Reader::new(payload);
    let (path, offset, left) = (absolute(reader.str()?)?, reader.u64()?, reader.u64()?);
    reader.end()?;
    let (mut file, stat) = open_checked(&path, OpenOptions::new().read(true))?;
    let name = display(path.to_bytes());
    if offset > 0 {
        file.seek(SeekFrom::Start(offset)).map_err(|error| Failure::of(&name, &error))?;
    }
    context.out.reply(stream, |fields| write_stat(fields, &stat));
    Ok(Box::new(FileRead { stream, name, file, left, window: SendWindow::new() }))
}

impl Stream for FileRead {
    fn ack(&mut self, _context: &mut Context, _header: &Header, limit: u64) -> Outcome {
        self.window.allow(limit);
        Outcome::Again
    }

    fn work(&mut self, context: &mut Context) -> Outcome {
        if self.left > 0 && self.window.room() == 0 {
            return Outcome::Wait;
        }
        let count = self.window.room().min(self.left).min(MAX_PAYLOAD as u64) as usize;
        let header = Header::new(self.stream, kind::DATA, CHANNEL, self.window.offset);
        let file = self.file.as_raw_fd();
        match context.out.frame_from(header, |queue| fd::read_append(file, queue, count)) {
            Ok(0) => {
                context.out.eof(self.stream, CHANNEL, self.window.offset);
                Outcome::Close
            }
            Ok(count) => {
                self.window.offset += count as u64;
                self.left -= count as u64;
                Outcome::Again
            }
            Err(error) => fail(context, self.stream, &Failure::of(&self.name, &error)),
        }
    }
}
