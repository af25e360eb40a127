//! Where members of an archive go: directories opened one component at a time, so that no link, old or new, leads out.

use crate::sys::directory::open_real_at;
use crate::sys::errno::{EINVAL, ELOOP};
use crate::sys::fd;
use crate::tar::path::{below, split};
use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

const MOST_LINKS: usize = 40;
const DIRECTORY_MODE: u32 = 0o755;

/// The directory an archive is unpacked into.
pub struct Place {
    path: Vec<u8>,
    root: Rc<OwnedFd>,
    /// The directory used last: members mostly come directory by directory.
    last: Option<(Vec<Vec<u8>>, Rc<OwnedFd>)>,
}

impl Place {
    pub fn new(path: &[u8], root: OwnedFd) -> Place {
        Place { path: path.to_vec(), root: Rc::new(root), last: None }
    }

    /// Opens a directory below, following links that stay inside; missing directories are made.
    pub fn directory(&mut self, parts: &[&[u8]]) -> io::Result<Rc<OwnedFd>> {
        if parts.is_empty() {
            return Ok(self.root.clone());
        }
        match &self.last {
            Some((last, directory)) if last == parts => return Ok(directory.clone()),
            _ => (),
        }
        let found = Rc::new(self.walk(parts)?);
        self.last = Some((parts.iter().map(|part| part.to_vec()).collect(), found.clone()));
        Ok(found)
    }

    fn walk(&self, parts: &[&[u8]]) -> io::Result<OwnedFd> {
        let mut open: Vec<OwnedFd> = vec![fd::duplicate(&self.root)?];
        let mut todo: VecDeque<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                open.pop();
            } else {
                let parent = open.last().ok_or_else(outside)?.as_raw_fd();
                let name = CString::new(part)?;
                match enter(parent, &name)? {
                    Entered::Directory(directory) => open.push(directory),
                    Entered::Link(_) if links == MOST_LINKS => return Err(io::Error::from_raw_os_error(ELOOP)),
                    Entered::Link(target) => {
                        links += 1;
                        self.expand(&target, &mut open, &mut todo)?;
                    }
                }
            }
        }
        open.pop().ok_or_else(outside)
    }

    /// Puts a link's target before what is still to walk; an absolute one starts over from the root.
    fn expand(&self, target: &[u8], open: &mut Vec<OwnedFd>, todo: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        let parts: Vec<&[u8]> = if target.first() == Some(&b'/') {
            open.truncate(1);
            below(target, &self.path).ok_or_else(outside)?
        } else {
            split(target).collect()
        };
        for part in parts.into_iter().rev() {
            todo.push_front(part.to_vec());
        }
        Ok(())
    }
}

fn outside() -> io::Error {
    io::Error::from_raw_os_error(EINVAL)
}

enum Entered {
    Directory(OwnedFd),
    /// Its target.
    Link(Vec<u8>),
}

fn enter(parent: RawFd, name: &CString) -> io::Result<Entered> {
    match open_real_at(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fd::make_directory_at(parent, name, DIRECTORY_MODE)?;
            open_real_at(parent, name).map(Entered::Directory)
        }
        Err(error) if error.raw_os_error() == Some(ELOOP) => fd::read_link_at(parent, name).map(Entered::Link),
        result => result.map(Entered::Directory),
    }
}
