//! Calls that act on names and attributes.

use super::{write_stat, Answer};
use crate::fields::Reader;
use crate::output::{Failure, Output};
use crate::paths::{absolute, as_path, display};
use crate::sys::file::{stat_at, HERE};
use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

const PARENT_MODE: u32 = 0o755;

/// Adds the path to an error.
pub fn failure(path: &CString) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| Failure::of(&display(path.to_bytes()), &error)
}

fn done(stream: u32, out: &mut Output) -> Answer {
    out.reply(stream, |_| ());
    Ok(None)
}

pub fn stat(stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
    let (path, follow) = (absolute(reader.str()?)?, reader.u8()? != 0);
    reader.end()?;
    let stat = stat_at(HERE, &path, follow).map_err(failure(&path))?;
    let target = if stat.is_link() { fs::read_link(as_path(&path)).map_err(failure(&path))? } else { Default::default() };
    out.reply(stream, |payload| {
        write_stat(payload, &stat);
        payload.str(target.as_os_str().as_bytes());
    });
    Ok(None)
}

pub fn make_directory(stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
    let (path, mode, parents) = (absolute(reader.str()?)?, reader.u32()?, reader.u8()? != 0);
    reader.end()?;
    let directory = as_path(&path);
    let made = match DirBuilder::new().mode(mode).create(directory) {
        Err(error) if parents && error.kind() == io::ErrorKind::NotFound => make_with_parents(directory, mode),
        Err(error) if parents && error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        result => result,
    };
    made.map_err(failure(&path))?;
    done(stream, out)
}

/// Makes the missing parents readable for everyone, the directory itself with `mode`.
fn make_with_parents(directory: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        DirBuilder::new().recursive(true).mode(PARENT_MODE).create(parent)?;
    }
    DirBuilder::new().mode(mode).create(directory)
}

pub fn rename(stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
    let (from, to) = (absolute(reader.str()?)?, absolute(reader.str()?)?);
    reader.end()?;
    fs::rename(as_path(&from), as_path(&to)).map_err(failure(&from))?;
    done(stream, out)
}

pub fn change_mode(stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
    let (path, mode) = (absolute(reader.str()?)?, reader.u32()?);
    reader.end()?;
    fs::set_permissions(as_path(&path), Permissions::from_mode(mode & 0o7777)).map_err(failure(&path))?;
    done(stream, out)
}

pub fn symlink(stream: u32, reader: &mut Reader<'_>, out: &mut Output) -> Answer {
    let (target, path) = (reader.str()?, absolute(reader.str()?)?);
    reader.end()?;
    std::os::unix::fs::symlink(OsStr::from_bytes(target), as_path(&path)).map_err(failure(&path))?;
    done(stream, out)
}
