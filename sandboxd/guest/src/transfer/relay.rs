//! Bytes between the host and a connected socket, in both directions; what DIAL and API streams become.

use crate::context::Context;
use crate::frame::{kind, Header, INITIAL_WINDOW, MAX_PAYLOAD};
use crate::stream::{Outcome, ReceiveWindow, SendWindow, Stream};
use crate::sys::poll::{Watched, IN, OUT};
use crate::sys::{fd, socket};
use std::collections::VecDeque;
use std::io;
use std::os::unix::io::AsRawFd;

/// Most bytes read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Which channel carries which direction.
#[derive(Clone, Copy)]
pub struct Channels {
    pub to_host: u8,
    pub from_host: u8,
}

/// A connected socket on a stream.
pub struct Relay {
    stream: u32,
    channels: Channels,
    socket: Watched,
    sending: SendWindow,
    /// The socket said end of file and the host knows.
    sent_eof: bool,
    /// Bytes of the host that the socket did not take yet.
    waiting: VecDeque<u8>,
    receiving: ReceiveWindow,
    received: u64,
    /// The host sent EOF.
    received_eof: bool,
}

impl Relay {
    /// Takes over a connected, non-blocking socket that is watched under this stream.
    pub fn new(stream: u32, channels: Channels, mut socket: Watched) -> Relay {
        socket.want(IN);
        Relay {
            stream,
            channels,
            socket,
            sending: SendWindow::new(),
            sent_eof: false,
            waiting: VecDeque::new(),
            receiving: ReceiveWindow::new(INITIAL_WINDOW),
            received: 0,
            received_eof: false,
        }
    }

    /// Reads from the socket into a frame, if the host and the queue have room.
    fn read(&mut self, context: &mut Context) -> Outcome {
        if self.sent_eof {
            return Outcome::Wait;
        }
        if self.sending.room() == 0 {
            self.set_interest(false);
            return Outcome::Wait;
        }
        if !context.out.room_for_bulk() {
            self.set_interest(false);
            return Outcome::Again;
        }
        let count = self.sending.room().min(READ_BYTES.min(MAX_PAYLOAD) as u64) as usize;
        let header = Header::new(self.stream, kind::DATA, self.channels.to_host, self.sending.offset);
        let socket = self.socket.as_raw_fd();
        let result = context.out.frame_from(header, |queue| fd::read_append(socket, queue, count));
        self.after_read(context, result, count)
    }

    fn after_read(&mut self, context: &mut Context, result: io::Result<usize>, wanted: usize) -> Outcome {
        match result {
            Ok(0) => {
                self.sent_eof = true;
                context.out.eof(self.stream, self.channels.to_host, self.sending.offset);
                self.set_interest(false);
                self.over()
            }
            Ok(count) => {
                self.sending.offset += count as u64;
                self.set_interest(true);
                if count == wanted {
                    Outcome::Again
                } else {
                    Outcome::Wait
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.set_interest(true);
                Outcome::Wait
            }
            Err(_) => Outcome::Close,
        }
    }

    fn set_interest(&mut self, reading: bool) {
        let interest = if reading { IN } else { 0 } | if self.waiting.is_empty() { 0 } else { OUT };
        self.socket.want(interest);
    }

    /// Writes what waits; `None` if the connection is broken.
    fn write(&mut self, context: &mut Context) -> Option<()> {
        while !self.waiting.is_empty() {
            match fd::write(self.socket.as_raw_fd(), self.waiting.as_slices().0) {
                Ok(count) => {
                    self.waiting.drain(..count);
                    self.acknowledge(context, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        if self.waiting.is_empty() && self.received_eof {
            // The peer may be gone already; then the read side tells.
            drop(socket::end_writing(self.socket.as_raw_fd()));
        }
        Some(())
    }

    fn acknowledge(&mut self, context: &mut Context, count: usize) {
        let header = Header::new(self.stream, kind::ACK, self.channels.from_host, 0);
        self.receiving.consume(context, &header, count);
    }

    /// Closes once both directions have ended.
    fn over(&self) -> Outcome {
        if self.sent_eof && self.received_eof && self.waiting.is_empty() {
            Outcome::Close
        } else {
            Outcome::Wait
        }
    }

    /// Whether reading is not held back by the host's window or the queue.
    fn may_read(&self, context: &Context) -> bool {
        !self.sent_eof && self.sending.room() > 0 && context.out.room_for_bulk()
    }
}

impl Stream for Relay {
    fn data(&mut self, context: &mut Context, header: &Header, bytes: &[u8]) -> Outcome {
        let fits = self.waiting.len() + bytes.len() <= INITIAL_WINDOW as usize;
        if header.channel != self.channels.from_host || header.offset != self.received || self.received_eof || !fits {
            crate::log!("connection {}: {} bytes at {} do not fit", self.stream, bytes.len(), header.offset);
            return Outcome::Close;
        }
        self.received += bytes.len() as u64;
        let mut rest = bytes;
        if self.waiting.is_empty() {
            match fd::write(self.socket.as_raw_fd(), bytes) {
                Ok(count) => {
                    rest = &bytes[count..];
                    self.acknowledge(context, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                Err(_) => return Outcome::Close,
            }
        }
        if !rest.is_empty() {
            self.waiting.extend(rest);
            self.set_interest(self.may_read(context));
        }
        Outcome::Wait
    }

    fn eof(&mut self, context: &mut Context, _header: &Header) -> Outcome {
        self.received_eof = true;
        match self.write(context) {
            Some(()) => self.over(),
            None => Outcome::Close,
        }
    }

    fn ack(&mut self, _context: &mut Context, _header: &Header, limit: u64) -> Outcome {
        self.sending.allow(limit);
        Outcome::Again
    }

    fn ready(&mut self, context: &mut Context, _channel: u8, readable: bool, writable: bool) -> Outcome {
        if writable {
            if self.write(context).is_none() {
                return Outcome::Close;
            }
            self.set_interest(self.may_read(context));
            if self.over() == Outcome::Close {
                return Outcome::Close;
            }
        }
        if readable {
            self.read(context)
        } else {
            Outcome::Wait
        }
    }

    fn work(&mut self, context: &mut Context) -> Outcome {
        self.read(context)
    }
}
