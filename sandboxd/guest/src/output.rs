//! Frames on their way to the host. Answers are queued at once; bulk data is only added while the queue is short.

use crate::fields::{Malformed, Writer};
use crate::frame::{kind, Header, HEADER_BYTES, MARKER_BYTES};
use crate::sys::fd;
use std::io;
use std::os::unix::io::RawFd;

/// Bulk producers wait while more than this is queued, so that an answer is never far behind.
const BULK_BYTES: usize = 512 << 10;
/// Requests wait while more than this is queued, so that answers nobody reads cannot fill the memory.
const CONGESTED_BYTES: usize = 2 << 20;

/// The queue in front of the pipe to the host.
#[derive(Default)]
pub struct Output {
    queue: Vec<u8>,
    /// Bytes of `queue` that are in the pipe already.
    written: usize,
}

impl Output {
    pub fn pending(&self) -> usize {
        self.queue.len() - self.written
    }

    /// What is not in the pipe yet.
    #[cfg(test)]
    pub fn unwritten(&self) -> &[u8] {
        &self.queue[self.written..]
    }

    pub fn room_for_bulk(&self) -> bool {
        self.pending() < BULK_BYTES
    }

    pub fn congested(&self) -> bool {
        self.pending() > CONGESTED_BYTES
    }

    /// Writes what the pipe takes; the rest waits for the pipe.
    pub fn flush(&mut self, pipe: RawFd) -> io::Result<()> {
        while self.pending() > 0 {
            match fd::write(pipe, &self.queue[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.pending() == 0 {
            self.queue.clear();
            self.written = 0;
        } else if self.written >= BULK_BYTES {
            self.queue.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// Forgets everything queued and begins a session.
    pub fn reset(&mut self, host_marker: &[u8; MARKER_BYTES]) {
        self.queue.clear();
        self.written = 0;
        self.queue.extend_from_slice(host_marker);
    }

    /// Queues one frame whose payload `fill` writes.
    pub fn frame(&mut self, header: Header, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = self.queue.len();
        self.queue.extend_from_slice(&header.encode());
        fill(&mut Writer::new(&mut self.queue));
        self.patch_length(start);
    }

    /// As [`Output::frame`]; nothing is queued if `fill` fails.
    pub fn try_frame<T, E>(&mut self, header: Header, fill: impl FnOnce(&mut Writer<'_>) -> Result<T, E>) -> Result<T, E> {
        let start = self.queue.len();
        self.queue.extend_from_slice(&header.encode());
        let result = fill(&mut Writer::new(&mut self.queue));
        if result.is_ok() {
            self.patch_length(start);
        } else {
            self.queue.truncate(start);
        }
        result
    }

    /// Queues one frame whose payload `fill` reads from somewhere, up to the count it returns; no frame at all on 0 or an error.
    pub fn frame_from(&mut self, header: Header, fill: impl FnOnce(&mut Vec<u8>) -> io::Result<usize>) -> io::Result<usize> {
        let start = self.queue.len();
        self.queue.extend_from_slice(&header.encode());
        let result = fill(&mut self.queue);
        match result {
            Ok(count) if count > 0 => self.patch_length(start),
            _ => self.queue.truncate(start),
        }
        result
    }

    fn patch_length(&mut self, start: usize) {
        let length = (self.queue.len() - start - HEADER_BYTES) as u32;
        self.queue[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub fn reply(&mut self, stream: u32, fill: impl FnOnce(&mut Writer<'_>)) {
        self.frame(Header::new(stream, kind::REPLY, 0, 0), |payload| {
            payload.u32(0);
            fill(payload);
        });
    }

    pub fn refuse(&mut self, stream: u32, failure: &Failure) {
        self.frame(Header::new(stream, kind::REPLY, 0, 0), |payload| failure.write(payload));
    }

    pub fn event(&mut self, stream: u32, event: u8, fill: impl FnOnce(&mut Writer<'_>)) {
        self.frame(Header::new(stream, kind::EVENT, event, 0), fill);
    }

    pub fn ack(&mut self, stream: u32, channel: u8, consumed: u64, limit: u64) {
        self.frame(Header::new(stream, kind::ACK, channel, consumed), |payload| {
            payload.u64(limit);
        });
    }

    pub fn eof(&mut self, stream: u32, channel: u8, total: u64) {
        self.frame(Header::new(stream, kind::EOF, channel, total), |_| ());
    }

    pub fn close(&mut self, stream: u32) {
        self.frame(Header::new(stream, kind::CLOSE, 0, 0), |_| ());
    }
}

/// An errno and a text for a person; what a REPLY or an error EVENT carries.
#[derive(Debug)]
pub struct Failure {
    pub errno: i32,
    pub message: String,
}

impl Failure {
    pub fn new(errno: i32, message: impl Into<String>) -> Failure {
        Failure { errno, message: message.into() }
    }

    /// `what` failed with `error`: the message reads `what: reason`.
    pub fn of(what: &str, error: &io::Error) -> Failure {
        let errno = error.raw_os_error().unwrap_or(crate::sys::errno::EINVAL);
        Failure { errno, message: format!("{what}: {}", reason(error)) }
    }

    pub fn write(&self, payload: &mut Writer<'_>) {
        payload.u32(self.errno as u32).str(self.message.as_bytes());
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Failure {
        Failure::new(crate::sys::errno::EINVAL, "malformed request")
    }
}

/// The system's words for an error, without Rust's "(os error N)".
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
