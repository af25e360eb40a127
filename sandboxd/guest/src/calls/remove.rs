//! REMOVE: a file, an empty directory, or a whole tree in slices.

use super::names::failure;
use super::Answer;
use crate::context::Context;
use crate::fields::Reader;
use crate::output::{Failure, Output};
use crate::paths::{absolute, as_path, display};
use crate::stream::{Outcome, Stream};
use crate::sys::directory::Directory;
use crate::sys::errno::{EINVAL, ENOTEMPTY};
use crate::sys::fd;
use crate::sys::file::{stat_at, HERE};
use std::ffi::CString;
use std::fs;
use std::io;

/// Entries removed before others get their turn.
const SLICE: usize = 64;

/// Directories that somebody fills while they are emptied are gone through again, this often in all.
const PATIENCE: u32 = 100;

/// A directory being emptied, and its name in the one before.
struct Level {
    directory: Directory,
    name: CString,
}

struct Remove {
    stream: u32,
    path: CString,
    levels: Vec<Level>,
    /// How often a directory may turn out not to be empty in the end.
    patience: u32,
}

pub fn start(stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
    let (path, recursive) = (absolute(reader.str()?)?, reader.u8()? != 0);
    reader.end()?;
    if path.to_bytes().iter().all(|byte| *byte == b'/') {
        return Err(Failure::new(EINVAL, "/: the root directory is not removed"));
    }
    let stat = stat_at(HERE, &path, false).map_err(failure(&path))?;
    if stat.is_directory() && recursive {
        let directory = Directory::open_at(HERE, &path, false).map_err(failure(&path))?;
        let levels = vec![Level { directory, name: path.clone() }];
        return Ok(Some(Box::new(Remove { stream, path, levels, patience: PATIENCE })));
    }
    let removed = if stat.is_directory() { fs::remove_dir(as_path(&path)) } else { fs::remove_file(as_path(&path)) };
    removed.map_err(failure(&path))?;
    out.reply(stream, |_| ());
    Ok(None)
}

impl Remove {
    /// Removes one entry; tells whether the top directory itself was the last.
    fn step(&mut self) -> io::Result<bool> {
        let directory = match self.levels.last_mut() {
            Some(level) => &mut level.directory,
            None => return Ok(true),
        };
        match directory.next_name()? {
            Some(name) => {
                let parent = directory.fd();
                // Most entries are files: asking for the type first would cost a call each.
                if fd::remove_file_at(parent, &name).is_err() {
                    self.descend_or_fail(parent, name)?;
                }
            }
            None => self.ascend()?,
        }
        Ok(self.levels.is_empty())
    }

    /// What cannot be unlinked is a directory, gone already, or a real failure.
    fn descend_or_fail(&mut self, parent: i32, name: CString) -> io::Result<()> {
        match stat_at(parent, &name, false) {
            Ok(stat) if stat.is_directory() => {
                let directory = Directory::open_at(parent, &name, false)?;
                self.levels.push(Level { directory, name });
                Ok(())
            }
            Ok(_) => fd::remove_file_at(parent, &name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn ascend(&mut self) -> io::Result<()> {
        let name = match self.levels.pop() {
            Some(level) => level.name,
            None => return Ok(()),
        };
        let parent = self.levels.last().map_or(HERE, |level| level.directory.fd());
        match fd::remove_directory_at(parent, &name) {
            Err(error) if error.raw_os_error() == Some(ENOTEMPTY) && self.patience > 0 => {
                self.patience -= 1;
                let directory = Directory::open_at(parent, &name, false)?;
                self.levels.push(Level { directory, name });
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.levels.is_empty() => Ok(()),
            result => result,
        }
    }
}

impl Stream for Remove {
    fn work(&mut self, context: &mut Context) -> Outcome {
        for _ in 0..SLICE {
            match self.step() {
                Ok(false) => (),
                Ok(true) => {
                    context.out.reply(self.stream, |_| ());
                    return Outcome::Done;
                }
                Err(error) => {
                    context.out.refuse(self.stream, &Failure::of(&display(self.path.to_bytes()), &error));
                    return Outcome::Done;
                }
            }
        }
        Outcome::Again
    }
}
