//! LIST: a directory's entries, in sorted pieces.

use super::names::failure;
use super::{write_stat, Answer};
use crate::context::Context;
use crate::frame::{kind, Header};
use crate::output::Failure;
use crate::stream::{Outcome, Stream};
use crate::sys::directory::{Directory, SortedNames};
use crate::sys::file::stat_at;
use std::ffi::CString;
use std::io;

const EVENT_ENTRIES: u8 = 1;
/// Most payload bytes of one piece.
const PIECE_BYTES: usize = 64 << 10;
/// Names read, or entries looked at, before others get their turn.
const SLICE: usize = 256;
/// Bytes of an entry besides its name.
const STAT_BYTES: usize = 4 + 40;

struct List {
    stream: u32,
    path: CString,
    names: SortedNames,
    sent: u64,
}

pub fn start(stream: u32, path: &CString) -> Answer {
    let directory = Directory::open_at(crate::sys::file::HERE, path, true).map_err(failure(path))?;
    Ok(Some(Box::new(List { stream, path: path.clone(), names: SortedNames::new(directory), sent: 0 })))
}

impl List {
    /// Sends one piece. What was removed in the meantime is left out.
    fn send(&mut self, context: &mut Context) -> io::Result<()> {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let mut count = 0_u32;
        while let Some(name) = self.names.peek() {
            if piece.len() + name.to_bytes().len() + STAT_BYTES > PIECE_BYTES - 4 || count as usize == SLICE {
                break;
            }
            match stat_at(self.names.fd(), name, false) {
                Ok(stat) => {
                    let mut writer = crate::fields::Writer::new(&mut piece);
                    write_stat(writer.str(name.to_bytes()), &stat);
                    count += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(error) => return Err(error),
            }
            self.names.next();
        }
        self.sent += u64::from(count);
        if count > 0 {
            context.out.frame(Header::new(self.stream, kind::EVENT, EVENT_ENTRIES, 0), |payload| {
                payload.u32(count).raw(&piece);
            });
        }
        Ok(())
    }
}

impl Stream for List {
    fn work(&mut self, context: &mut Context) -> Outcome {
        let result = match self.names.collect(SLICE) {
            Ok(false) => return Outcome::Again,
            Ok(true) => self.send(context),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            context.out.refuse(self.stream, &Failure::of(&crate::paths::display(self.path.to_bytes()), &error));
            return Outcome::Done;
        }
        if self.names.peek().is_some() {
            return Outcome::Again;
        }
        context.out.reply(self.stream, |payload| {
            payload.u64(self.sent);
        });
        Outcome::Done
    }
}
