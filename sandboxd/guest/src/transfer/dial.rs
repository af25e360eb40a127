//! DIAL: a connection to a port of the sandbox's own loopback.

use super::relay::{Channels, Relay};
use super::Start;
use crate::context::Context;
use crate::fields::Reader;
use crate::frame::Header;
use crate::output::Failure;
use crate::stream::{Outcome, Stream};
use crate::sys::errno::ECONNREFUSED;
use crate::sys::poll::{Source, Watched, OUT};
use crate::sys::socket::{self, Loopback};
use std::io;
use std::os::unix::io::AsRawFd;

const CHANNELS: Channels = Channels { to_host: 1, from_host: 0 };

/// A dial in progress, then a relay.
struct Dial {
    stream: u32,
    port: u16,
    /// While connecting.
    socket: Option<Watched>,
    /// What is tried if this attempt is refused.
    next: Option<Loopback>,
    relay: Option<Relay>,
}

pub fn start(context: &mut Context, stream: u32, payload: &[u8]) -> Start {
    let mut reader = Reader::new(payload);
    let port = reader.u16()?;
    reader.end()?;
    let mut dial = Dial { stream, port, socket: None, next: Some(Loopback::V6), relay: None };
    if let Err(error) = dial.connect(context, Loopback::V4) {
        dial.refused(context, error)?;
    }
    Ok(Box::new(dial))
}

impl Dial {
    fn connect(&mut self, context: &mut Context, address: Loopback) -> io::Result<()> {
        let (socket, connected) = socket::connect(address, self.port)?;
        let mut socket = context.poller.watch(socket, Source::Stream { stream: self.stream, channel: 0 });
        if connected {
            self.established(context, socket);
        } else {
            socket.want(OUT);
            self.socket = Some(socket);
        }
        Ok(())
    }

    fn established(&mut self, context: &mut Context, socket: Watched) {
        context.out.reply(self.stream, |_| ());
        self.relay = Some(Relay::new(self.stream, CHANNELS, socket));
    }

    /// Tries the other address; the first error is the one worth telling.
    fn refused(&mut self, context: &mut Context, error: io::Error) -> Result<(), Failure> {
        let retried = match self.next.take() {
            Some(address) => self.connect(context, address),
            None => Err(io::Error::from_raw_os_error(ECONNREFUSED)),
        };
        retried.map_err(|_| Failure::of(&format!("port {}", self.port), &error))
    }

    /// The kernel has decided about the connection.
    fn decided(&mut self, context: &mut Context) -> Outcome {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => return Outcome::Wait,
        };
        let failure = match socket::take_error(socket.as_raw_fd()) {
            Ok(()) => {
                self.established(context, socket);
                None
            }
            Err(error) => self.refused(context, error).err(),
        };
        match failure {
            Some(failure) => {
                context.out.refuse(self.stream, &failure);
                Outcome::Close
            }
            None => Outcome::Wait,
        }
    }
}

impl Stream for Dial {
    fn data(&mut self, context: &mut Context, header: &Header, bytes: &[u8]) -> Outcome {
        self.relay.as_mut().map_or(Outcome::Wait, |relay| relay.data(context, header, bytes))
    }

    fn eof(&mut self, context: &mut Context, header: &Header) -> Outcome {
        self.relay.as_mut().map_or(Outcome::Wait, |relay| relay.eof(context, header))
    }

    fn ack(&mut self, context: &mut Context, header: &Header, limit: u64) -> Outcome {
        self.relay.as_mut().map_or(Outcome::Wait, |relay| relay.ack(context, header, limit))
    }

    fn ready(&mut self, context: &mut Context, channel: u8, readable: bool, writable: bool) -> Outcome {
        match &mut self.relay {
            Some(relay) => relay.ready(context, channel, readable, writable),
            None => self.decided(context),
        }
    }

    fn work(&mut self, context: &mut Context) -> Outcome {
        self.relay.as_mut().map_or(Outcome::Wait, |relay| relay.work(context))
    }
}
