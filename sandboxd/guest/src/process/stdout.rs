//! The guest's end of a process's stdout, stderr or terminal output.

use super::retained::Retained;
use crate::frame::{kind, Header, MAX_PAYLOAD};
use crate::output::Output;
use crate::sys::fd;
use crate::sys::poll::{Watched, IN};
use std::io;
use std::os::unix::io::AsRawFd;

/// Most bytes read after the process has ended: the largest pipe there is. What descendants write later is dropped.
const LAST_BYTES: usize = 1 << 20;

enum Reading {
    /// The process may write; at most `left` bytes are still taken, once it has ended.
    Open { left: Option<usize> },
    /// Only descendants can still write; nobody wants to see it.
    Discarding,
}

/// One output channel.
pub struct Stdout {
    channel: u8,
    pipe: Option<Watched>,
    reading: Reading,
    pub retained: Retained,
}

impl Stdout {
    pub fn new(channel: u8, mut pipe: Watched) -> Stdout {
        pipe.want(IN);
        Stdout { channel, pipe: Some(pipe), reading: Reading::Open { left: None }, retained: Retained::new() }
    }

    pub fn channel(&self) -> u8 {
        self.channel
    }

    /// Lets go of a pipe that is only read to keep descendants going, when there are none left.
    pub fn discarded(&mut self) {
        if let Reading::Discarding = self.reading {
            self.pipe = None;
        }
    }

    /// The process has ended: what its pipe holds is read, now or as the host makes room, and nothing after that.
    pub fn process_ended(&mut self, scratch: &mut [u8]) {
        if let Reading::Open { left } = &mut self.reading {
            *left = Some(LAST_BYTES);
        }
        while self.read_some(scratch) {}
    }

    /// The pipe is readable.
    pub fn readable(&mut self, scratch: &mut [u8]) {
        match self.reading {
            Reading::Open { left: Some(_) } => while self.read_some(scratch) {},
            _ => drop(self.read_some(scratch)),
        }
    }

    /// The host took bytes and allows more.
    pub fn acknowledged(&mut self, offset: u64, limit: u64, scratch: &mut [u8]) {
        self.retained.acknowledge(offset, limit);
        self.readable(scratch);
    }

    /// Reads once; tells whether there may be more to read at once.
    fn read_some(&mut self, scratch: &mut [u8]) -> bool {
        let pipe = match &self.pipe {
            Some(pipe) => pipe.as_raw_fd(),
            None => {
                self.retained.complete();
                return false;
            }
        };
        let room = match self.reading {
            Reading::Open { left } => self.retained.room().min(left.unwrap_or(LAST_BYTES)).min(scratch.len()),
            Reading::Discarding => scratch.len(),
        };
        if room == 0 {
            return self.no_room();
        }
        match fd::read(pipe, &mut scratch[..room]) {
            Ok(count) if count > 0 => self.took(&scratch[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.empty(),
            // Nobody can write any more; a terminal tells it by EIO.
            _ => {
                self.pipe = None;
                self.retained.complete();
                false
            }
        }
    }

    fn took(&mut self, bytes: &[u8]) -> bool {
        if let Reading::Open { left } = &mut self.reading {
            if let Some(left) = left {
                *left -= bytes.len();
            }
            self.retained.push(bytes);
        }
        self.interested(true);
        true
    }

    fn empty(&mut self) -> bool {
        if let Reading::Open { left: Some(_) } = self.reading {
            self.discard();
        }
        self.interested(true);
        false
    }

    /// The window is full, or the last bytes were read.
    fn no_room(&mut self) -> bool {
        if let Reading::Open { left: Some(0) } = self.reading {
            self.discard();
            return false;
        }
        self.interested(false);
        false
    }

    fn discard(&mut self) {
        self.reading = Reading::Discarding;
        self.retained.complete();
        self.interested(true);
    }

    fn interested(&mut self, interested: bool) {
        if let Some(pipe) = &mut self.pipe {
            pipe.want(if interested { IN } else { 0 });
        }
    }

    /// Queues what may be sent now: data, then EOF.
    pub fn send(&mut self, stream: u32, out: &mut Output) {
        while let Some((offset, head, tail)) = self.retained.take(MAX_PAYLOAD) {
            out.frame(Header::new(stream, kind::DATA, self.channel, offset), |payload| {
                payload.raw(head).raw(tail);
            });
        }
        if let Some(total) = self.retained.take_eof() {
            out.eof(stream, self.channel, total);
        }
    }
}
