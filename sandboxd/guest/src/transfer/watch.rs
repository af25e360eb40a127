//! WATCH: tells the host what changes at or below a path.

use super::changes::{Change, Chore, Paths};
use super::Start;
use crate::context::Context;
use crate::fields::Reader;
use crate::output::Failure;
use crate::paths::{absolute, display};
use crate::stream::{Outcome, Stream};
use crate::sys::directory::Directory;
use crate::sys::file::{stat_at, HERE};
use crate::sys::inotify;
use crate::sys::poll::{Source, Watched, IN};
use std::ffi::CString;
use std::io;
use std::os::unix::io::AsRawFd;

const EVENT_CHANGE: u8 = 1;
const EVENT_OVERFLOW: u8 = 2;
/// Directories watched at most; beyond it events are lost, and said to be.
const MOST_DIRECTORIES: usize = 65_536;
/// Directories entered before others get their turn.
const SLICE: usize = 16;

struct Watch {
    stream: u32,
    inotify: Watched,
    recursive: bool,
    paths: Paths,
    /// Directories still to be entered; `true`: what is in them is news.
    to_enter: Vec<(Vec<u8>, bool)>,
    replied: bool,
    /// Events were lost and the host does not know yet.
    lost: bool,
}

pub fn start(context: &mut Context, stream: u32, payload: &[u8]) -> Start {
    let mut reader = Reader::new(payload);
    let (path, recursive) = (absolute(reader.str()?)?, reader.u8()? != 0);
    reader.end()?;
    let failure = |error: io::Error| Failure::of(&display(path.to_bytes()), &error);
    let inotify = context.poller.watch(inotify::open().map_err(failure)?, Source::Stream { stream, channel: 0 });
    let watch = inotify::add(inotify.as_raw_fd(), &path).map_err(failure)?;
    let root = trimmed(path.to_bytes());
    let mut paths = Paths::new(root);
    paths.insert(watch, root.to_vec());
    let directory = recursive && stat_at(HERE, &path, true).map_err(failure)?.is_directory();
    let to_enter = if directory { vec![(root.to_vec(), false)] } else { Vec::new() };
    Ok(Box::new(Watch { stream, inotify, recursive, paths, to_enter, replied: false, lost: false }))
}

/// Without slashes at the end, but for the root's.
fn trimmed(path: &[u8]) -> &[u8] {
    let length = path.iter().rposition(|byte| *byte != b'/').map_or(1, |last| last + 1);
    &path[..length]
}

impl Watch {
    /// Watches the directories in one directory, and queues them. Those that vanish meanwhile are passed over.
    fn enter(&mut self, context: &mut Context, path: &[u8], news: bool) -> io::Result<()> {
        let mut directory = Directory::open_at(HERE, &CString::new(path)?, path.len() == 1 || !news)?;
        while let Some(name) = directory.next_name()? {
            let slash: &[u8] = if path.ends_with(b"/") { b"" } else { b"/" };
            let child = [path, slash, name.to_bytes()].concat();
            if news {
                self.tell(context, &Change::Create(child.clone()));
            }
            if stat_at(directory.fd(), &name, false).map_or(false, |stat| stat.is_directory()) {
                self.add(child, news)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: Vec<u8>, news: bool) -> io::Result<()> {
        if self.paths.len() >= MOST_DIRECTORIES {
            self.lost = true;
            return Ok(());
        }
        match inotify::add_directory(self.inotify.as_raw_fd(), &CString::new(path.clone())?) {
            Ok(watch) => {
                self.paths.insert(watch, path.clone());
                self.to_enter.push((path, news));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // A directory that cannot be watched is a directory whose events are lost.
            Err(_) => {
                self.lost = true;
                Ok(())
            }
        }
    }

    /// Queues one change, if there is room for it.
    fn tell(&mut self, context: &mut Context, change: &Change) {
        let (kind, paths) = match change {
            Change::Access(path) => (1, [path].to_vec()),
            Change::Create(path) => (2, [path].to_vec()),
            Change::Modify(path) => (3, [path].to_vec()),
            Change::Remove(path) => (4, [path].to_vec()),
            Change::Rename(from, to) => (3, [from, to].to_vec()),
            Change::Overflow => {
                self.lost = true;
                return;
            }
        };
        if !context.out.room_for_bulk() {
            self.lost = true;
            return;
        }
        context.out.event(self.stream, EVENT_CHANGE, |payload| {
            payload.u8(kind).u32(paths.len() as u32);
            for path in paths {
                payload.str(path);
            }
        });
    }

    fn do_chore(&mut self, chore: Chore) {
        match chore {
            Chore::Enter(path) if self.recursive => drop(self.add(path, true)),
            Chore::Enter(_) => (),
            Chore::Leave(path) => {
                for watch in self.paths.take_below(&path) {
                    // It may have ended by itself.
                    drop(inotify::remove(self.inotify.as_raw_fd(), watch));
                }
            }
        }
    }

    fn enter_some(&mut self, context: &mut Context) {
        for _ in 0..SLICE {
            if let Some((path, news)) = self.to_enter.pop() {
                // Gone again, or not to be read: nothing can be told of it.
                drop(self.enter(context, &path, news));
            }
        }
    }
}

impl Stream for Watch {
    fn ready(&mut self, context: &mut Context, _channel: u8, _readable: bool, _writable: bool) -> Outcome {
        let events = match inotify::read(self.inotify.as_raw_fd(), &mut context.scratch) {
            Ok(events) => events,
            Err(_) => return Outcome::Wait,
        };
        let (changes, chores) = self.paths.translate(&events);
        for change in &changes {
            self.tell(context, change);
        }
        for chore in chores {
            self.do_chore(chore);
        }
        Outcome::Again
    }

    fn work(&mut self, context: &mut Context) -> Outcome {
        self.enter_some(context);
        if !self.to_enter.is_empty() {
            return Outcome::Again;
        }
        if !self.replied {
            // Only now nothing that happens is missed.
            self.replied = true;
            context.out.reply(self.stream, |_| ());
            self.inotify.want(IN);
        }
        if self.lost {
            self.lost = false;
            context.out.event(self.stream, EVENT_OVERFLOW, |payload| {
                payload.str(b"events were lost");
            });
        }
        Outcome::Wait
    }
}
