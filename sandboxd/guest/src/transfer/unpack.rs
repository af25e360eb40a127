//! Members of an archive as files; what TAR_EXTRACT does with each part.

use super::place::Place;
use crate::output::Failure;
use crate::paths::display;
use crate::sys::errno::{EEXIST, EINVAL};
use crate::sys::{fd, ffi};
use crate::tar::parser::Part;
use crate::tar::path::components;
use crate::tar::{Kind, Member, TarError};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

/// A directory's time is set when nothing more is put into it.
struct Dated {
    name: Vec<u8>,
    mtime_s: i64,
}

/// Unpacks parts into a place.
pub struct Unpacker {
    place: Place,
    /// The file that data belongs to, with its member.
    file: Option<(File, Member)>,
    directories: Vec<Dated>,
    pub members: u64,
}

impl Unpacker {
    pub fn new(place: Place) -> Unpacker {
        Unpacker { place, file: None, directories: Vec::new(), members: 0 }
    }

    pub fn take(&mut self, part: Part<'_>) -> Result<(), Failure> {
        match part {
            Part::Member(member) => self.member(member),
            Part::Data(bytes) => match &mut self.file {
                Some((file, member)) => file.write_all(bytes).map_err(|error| failure(&member.name, &error)),
                None => Ok(()),
            },
            Part::End => match self.file.take() {
                Some((file, member)) => finish(file, &member).map_err(|error| failure(&member.name, &error)),
                None => Ok(()),
            },
            Part::Finish => Ok(()),
        }
    }

    fn member(&mut self, member: Member) -> Result<(), Failure> {
        self.members += 1;
        let refuse = |error: TarError| Failure::new(EINVAL, format!("{}: {}", display(&member.name), error.0));
        let parts = components(&member.name).map_err(refuse)?;
        let (name, parents) = match parts.split_last() {
            Some(split) => split,
            // The directory itself stays as it is.
            None => return Ok(()),
        };
        if let Kind::Other(_) = member.kind {
            return Err(refuse(TarError("only files, directories and links are unpacked")));
        }
        let name = CString::new(*name).map_err(|_| refuse(TarError("a name holds a NUL byte")))?;
        let made = match self.place.directory(parents) {
            Ok(parent) => self.make(parent.as_raw_fd(), &name, &member, &parts),
            Err(error) => Err(error),
        };
        match made {
            Ok(file) => {
                self.file = file.map(|file| (file, member));
                Ok(())
            }
            Err(error) => Err(failure(&member.name, &error)),
        }
    }

    fn make(&mut self, parent: RawFd, name: &CString, member: &Member, parts: &[&[u8]]) -> io::Result<Option<File>> {
        match member.kind {
            Kind::File => {
                let flags = ffi::O_WRONLY | ffi::O_CREAT | ffi::O_EXCL | ffi::O_NOFOLLOW;
                return replacing(parent, name, || fd::create_at(parent, name, flags, member.mode)).map(|file| Some(file.into()));
            }
            Kind::Directory => self.make_directory(parent, name, member, parts)?,
            Kind::HardLink => {
                let (from, old) = self.link_source(&member.target)?;
                replacing(parent, name, || fd::link_at(from.as_raw_fd(), &old, parent, name))?;
            }
            _ => {
                let target = CString::new(member.target.clone())?;
                replacing(parent, name, || fd::symlink_at(&target, parent, name))?;
                fd::change_owner_at(parent, name, member.uid, member.gid)?;
                fd::set_time_at(parent, name, member.mtime_s)?;
            }
        }
        Ok(None)
    }

    /// Where a hard link's source lies; its name counts from the archive's root.
    fn link_source(&mut self, target: &[u8]) -> io::Result<(Rc<OwnedFd>, CString)> {
        let invalid = || io::Error::from_raw_os_error(EINVAL);
        let parts = components(target).map_err(|_| invalid())?;
        let (name, parents) = parts.split_last().ok_or_else(invalid)?;
        Ok((self.place.directory(parents)?, CString::new(*name)?))
    }

    /// A directory that is there already gets the member's mode and owner.
    fn make_directory(&mut self, parent: RawFd, name: &CString, member: &Member, parts: &[&[u8]]) -> io::Result<()> {
        match fd::make_directory_at(parent, name, member.mode) {
            Err(error) if error.raw_os_error() == Some(EEXIST) => {
                let directory = self.place.directory(parts)?;
                fd::change_mode(directory.as_raw_fd(), member.mode)?;
                fd::change_owner(directory.as_raw_fd(), member.uid, member.gid)?;
            }
            result => {
                result?;
                fd::change_owner_at(parent, name, member.uid, member.gid)?;
            }
        }
        self.directories.push(Dated { name: member.name.clone(), mtime_s: member.mtime_s });
        Ok(())
    }

    /// Sets the time of up to `count` directories; tells whether none is left.
    pub fn date_directories(&mut self, count: usize) -> Result<bool, Failure> {
        for _ in 0..count {
            let dated = match self.directories.pop() {
                Some(dated) => dated,
                None => return Ok(true),
            };
            let parts = components(&dated.name).unwrap_or_default();
            let set = self.place.directory(&parts).and_then(|directory| fd::set_time(directory.as_raw_fd(), dated.mtime_s));
            set.map_err(|error| failure(&dated.name, &error))?;
        }
        Ok(self.directories.is_empty())
    }
}

fn failure(name: &[u8], error: &io::Error) -> Failure {
    Failure::of(&display(name), error)
}

/// Makes something in place of a file or link of the same name; directories are not replaced.
fn replacing<T>(parent: RawFd, name: &CString, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if error.raw_os_error() == Some(EEXIST) => {
            fd::remove_file_at(parent, name)?;
            make()
        }
        result => result,
    }
}

/// Sets what writing the data would have changed.
fn finish(file: File, member: &Member) -> io::Result<()> {
    if (member.uid, member.gid) != (0, 0) {
        fd::change_owner(file.as_raw_fd(), member.uid, member.gid)?;
    }
    if member.mode & 0o7000 != 0 {
        fd::change_mode(file.as_raw_fd(), member.mode)?;
    }
    fd::set_time(file.as_raw_fd(), member.mtime_s)?;
    fd::close(file.into())
}
