//! TAR_EXTRACT: an archive from the host into a directory, in slices.

use super::place::Place;
use super::unpack::Unpacker;
use super::{complete, fail, Start};
use crate::context::Context;
use crate::fields::Reader;
use crate::frame::{Header, INITIAL_WINDOW};
use crate::output::Failure;
use crate::paths::{absolute, as_path, display};
use crate::stream::{Outcome, ReceiveWindow, Stream};
use crate::sys::errno::EINVAL;
use crate::tar::parser::{Parser, Part};
use std::fs::{self, DirBuilder, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;

const DIRECTORY_MODE: u32 = 0o755;
/// Members unpacked, or directories dated, before others get their turn.
const SLICE: usize = 32;

struct Extract {
    stream: u32,
    parser: Parser,
    unpacker: Unpacker,
    /// Bytes that came while a slice was full; at most a window.
    waiting: Vec<u8>,
    received: u64,
    ended: bool,
    window: ReceiveWindow,
}

pub fn start(context: &mut Context, stream: u32, payload: &[u8]) -> Start {
    let mut reader = Reader::new(payload);
    let path = absolute(reader.str()?)?;
    reader.end()?;
    let failure = |error| Failure::of(&display(path.to_bytes()), &error);
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(as_path(&path)).map_err(failure)?;
    // Links on the way to the directory are its caller's choice; absolute links inside are judged by where it really is.
    let real = fs::canonicalize(as_path(&path)).map_err(failure)?;
    let root = File::open(&real).map_err(failure)?;
    context.out.reply(stream, |_| ());
    let place = Place::new(real.as_os_str().as_bytes(), root.into());
    let (parser, unpacker, window) = (Parser::new(), Unpacker::new(place), ReceiveWindow::new(INITIAL_WINDOW));
    Ok(Box::new(Extract { stream, parser, unpacker, waiting: Vec::new(), received: 0, ended: false, window }))
}

impl Extract {
    /// Unpacks up to a slice of members; returns how many bytes were used.
    fn unpack(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let mut rest = bytes;
        let mut members = 0;
        while members < SLICE {
            match self.parser.next(&mut rest) {
                Ok(Some(part)) => {
                    members += usize::from(matches!(part, Part::Member(_)));
                    self.unpacker.take(part)?;
                }
                Ok(None) => break,
                Err(error) => return Err(Failure::new(EINVAL, error.0)),
            }
        }
        Ok(bytes.len() - rest.len())
    }

    fn consumed(&mut self, context: &mut Context, count: usize) {
        let header = Header { stream: self.stream, ..Header::default() };
        self.window.consume(context, &header, count);
    }

    /// Everything was received and unpacked.
    fn finish(&mut self, context: &mut Context) -> Outcome {
        if !self.parser.finished() {
            return fail(context, self.stream, &Failure::new(EINVAL, "the archive is truncated"));
        }
        match self.unpacker.date_directories(SLICE) {
            Ok(true) => complete(context, self.stream, self.unpacker.members),
            Ok(false) => Outcome::Again,
            Err(failure) => fail(context, self.stream, &failure),
        }
    }
}

impl Stream for Extract {
    fn data(&mut self, context: &mut Context, header: &Header, bytes: &[u8]) -> Outcome {
        let fits = self.waiting.len() + bytes.len() <= INITIAL_WINDOW as usize;
        if header.offset != self.received || self.ended || !fits {
            return fail(context, self.stream, &Failure::new(EINVAL, "the archive's bytes do not follow each other"));
        }
        self.received += bytes.len() as u64;
        if !self.waiting.is_empty() {
            self.waiting.extend_from_slice(bytes);
            return Outcome::Again;
        }
        match self.unpack(bytes) {
            Ok(used) => {
                self.consumed(context, used);
                self.waiting.extend_from_slice(&bytes[used..]);
                Outcome::Again
            }
            Err(failure) => fail(context, self.stream, &failure),
        }
    }

    fn eof(&mut self, context: &mut Context, header: &Header) -> Outcome {
        if header.offset != self.received {
            return fail(context, self.stream, &Failure::new(EINVAL, "the archive's bytes do not follow each other"));
        }
        self.ended = true;
        Outcome::Again
    }

    fn work(&mut self, context: &mut Context) -> Outcome {
        let waiting = std::mem::take(&mut self.waiting);
        match self.unpack(&waiting) {
            Ok(used) => {
                self.consumed(context, used);
                self.waiting = waiting;
                self.waiting.drain(..used);
            }
            Err(failure) => return fail(context, self.stream, &failure),
        }
        match (self.waiting.is_empty(), self.ended) {
            (true, true) => self.finish(context),
            (true, false) => Outcome::Wait,
            (false, _) => Outcome::Again,
        }
    }
}
