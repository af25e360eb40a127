//! The guest's end of a process's stdin: bytes the host sent, on their way into the pipe or terminal.

use crate::frame::INITIAL_WINDOW;
use crate::output::Output;
use crate::sys::poll::{Watched, OUT};
use crate::sys::{fd, terminal};
use std::collections::VecDeque;
use std::io;
use std::os::unix::io::{AsRawFd, RawFd};

/// Most bytes kept for a process that does not read: after a reset the host may count its window from what was taken, so more than one
/// window can gather.
const MOST_WAITING: usize = 4 << 20;

/// One input channel; `consumed..taken` waits in the guest.
pub struct Stdin {
    /// `None` once the process or the host closed it: bytes are then taken and dropped.
    pipe: Option<Watched>,
    is_terminal: bool,
    waiting: VecDeque<u8>,
    taken: u64,
    acknowledged: u64,
    /// The host sent EOF.
    ended: bool,
}

impl Stdin {
    pub fn new(pipe: Option<Watched>, is_terminal: bool) -> Stdin {
        Stdin { pipe, is_terminal, waiting: VecDeque::new(), taken: 0, acknowledged: 0, ended: false }
    }

    /// Bytes taken from the host.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn consumed(&self) -> u64 {
        self.taken.saturating_sub(self.waiting.len() as u64)
    }

    pub fn closed(&self) -> bool {
        self.ended || self.pipe.is_none()
    }

    /// Takes the part of `bytes` that is new: after a reset the host may repeat itself.
    pub fn data(&mut self, offset: u64, bytes: &[u8]) {
        let known = self.taken.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let new = &bytes[known..];
        let room = MOST_WAITING.saturating_sub(self.waiting.len());
        if self.ended || offset > self.taken || new.len() > room {
            crate::log!("stdin: {} bytes at {offset} do not fit behind {}", bytes.len(), self.taken);
            return;
        }
        self.taken += new.len() as u64;
        let written = match &self.pipe {
            Some(pipe) if self.waiting.is_empty() => write(pipe, new),
            Some(_) => Some(0),
            None => None,
        };
        match written {
            Some(count) => self.waiting.extend(&new[count..]),
            None => self.close(),
        }
        self.settle();
    }

    pub fn eof(&mut self, total: u64) {
        if self.ended || total != self.taken {
            return;
        }
        self.ended = true;
        if self.is_terminal {
            self.type_end();
        }
        self.settle();
    }

    /// On a terminal EOF is a key. It has no offset: only the host's bytes are counted.
    fn type_end(&mut self) {
        let key = self.pipe.as_ref().and_then(|pipe| terminal::end_character(pipe.as_raw_fd()).ok());
        self.waiting.extend(key);
        self.write_waiting();
    }

    /// The pipe takes bytes again.
    pub fn writable(&mut self) {
        self.write_waiting();
        self.settle();
    }

    fn write_waiting(&mut self) {
        while !self.waiting.is_empty() {
            let written = match &self.pipe {
                Some(pipe) => write(pipe, self.waiting.as_slices().0),
                None => return,
            };
            match written {
                Some(0) => return,
                Some(count) => drop(self.waiting.drain(..count)),
                None => self.close(),
            }
        }
    }

    /// Closes the pipe when all is written, else waits for room in it.
    fn settle(&mut self) {
        if self.ended && self.waiting.is_empty() && !self.is_terminal {
            self.close();
        }
        if let Some(pipe) = &mut self.pipe {
            pipe.want(if self.waiting.is_empty() { 0 } else { OUT });
        }
    }

    pub fn close(&mut self) {
        self.pipe = None;
        self.waiting = VecDeque::new();
    }

    /// Tells the host how far it may go, when that is worth a frame.
    pub fn acknowledge(&mut self, stream: u32, out: &mut Output) {
        if self.consumed() - self.acknowledged >= INITIAL_WINDOW / 2 {
            self.send_acknowledgement(stream, out);
        }
    }

    /// After a reset the host does not know the limit.
    pub fn send_acknowledgement(&mut self, stream: u32, out: &mut Output) {
        self.acknowledged = self.consumed();
        out.ack(stream, 0, self.acknowledged, self.acknowledged + INITIAL_WINDOW);
    }

    /// The terminal, while it is open.
    pub fn terminal(&self) -> Option<RawFd> {
        self.pipe.as_ref().filter(|_| self.is_terminal).map(AsRawFd::as_raw_fd)
    }
}

/// Writes once, as much as the pipe takes; `None` if nobody will ever read it.
fn write(pipe: &Watched, bytes: &[u8]) -> Option<usize> {
    if bytes.is_empty() {
        return Some(0);
    }
    match fd::write(pipe.as_raw_fd(), bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(0),
        result => result.ok(),
    }
}
