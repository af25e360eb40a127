//! The session with the host: frames in, to whom they belong; resets.

use crate::api::{self, Api};
use crate::calls::{self, handles::Handles, Status};
use crate::context::{Context, Work};
use crate::fields::{Malformed, Reader};
use crate::frame::{kind, open, Header, MARKER_BYTES, MAX_PAYLOAD, PROTOCOL_VERSION};
use crate::output::Failure;
use crate::process::table::Table;
use crate::stream::{Outcome, Stream};
use crate::sys::errno::EINVAL;
use crate::sys::poll::{monotonic_ns, realtime_ns, Ready, Source};
use crate::transfer::{create, dial, extract, read, watch, write};
use std::collections::HashMap;

/// Everything the host can reach.
pub struct Session {
    pub context: Context,
    pub table: Table,
    streams: HashMap<u32, Box<dyn Stream>>,
    handles: Handles,
    /// `None` where the socket could not be made.
    api: Option<Api>,
    /// The host has said the first RESET.
    begun: bool,
}

impl Session {
    pub fn new(context: Context, table: Table, api: Option<Api>) -> Session {
        Session { context, table, streams: HashMap::new(), handles: Handles::default(), api, begun: false }
    }

    /// Begins a session anew: only processes survive.
    pub fn reset(&mut self, host_marker: &[u8; MARKER_BYTES]) {
        self.streams.clear();
        self.handles.clear();
        self.context.work.clear();
        self.context.out.reset(host_marker);
        let processes = self.table.len() as u32;
        self.context.out.frame(Header::new(0, kind::HELLO, 0, 0), |payload| {
            payload.u32(PROTOCOL_VERSION).u32(MAX_PAYLOAD as u32).u32(processes);
        });
        self.table.reset(&mut self.context);
        self.begun = true;
        self.set_api_interest();
    }

    /// Handles one frame. The host is no enemy, but a mistake of its must not end the sandbox: it is logged and passed over.
    pub fn frame(&mut self, header: &Header, payload: &[u8]) {
        if let Err(Malformed) = self.dispatch(header, payload) {
            crate::log!("bad frame: {header:?}");
        }
    }

    fn dispatch(&mut self, header: &Header, payload: &[u8]) -> Result<(), Malformed> {
        match header.kind {
            kind::PING => self.pong(header.offset),
            kind::OPEN => self.open(header, payload),
            kind::DATA => self.data(header, payload),
            kind::EOF => self.eof(header),
            kind::ACK => self.ack(header, payload)?,
            kind::CONTROL => self.table.control(header, payload)?,
            kind::CLOSE => self.close(header.stream),
            kind::REPLY => self.with(header.stream, |_, _| api::replied(payload)),
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn pong(&mut self, token: u64) {
        self.context.out.frame(Header::new(0, kind::PONG, 0, token), |payload| {
            payload.u64(monotonic_ns()).u64(realtime_ns());
        });
    }

    fn open(&mut self, header: &Header, payload: &[u8]) {
        let stream = header.stream;
        if stream == 0 || stream % 2 == 1 || self.streams.contains_key(&stream) || self.table.has_stream(stream) {
            crate::log!("OPEN of stream {stream}, which is not free");
            return;
        }
        let context = &mut self.context;
        match header.channel {
            open::PROCESS => self.table.open(context, stream, payload),
            open::CALL => {
                let (processes, trees) = (self.table.len(), self.table.trees());
                let status = Status { processes, trees, streams: self.streams.len(), handles: self.handles.len() };
                let job = calls::perform(stream, payload, &mut self.handles, &status, context);
                self.keep(stream, job);
            }
            other => match start(context, other, stream, payload) {
                Ok(transfer) => self.keep(stream, Some(transfer)),
                Err(failure) => {
                    context.out.refuse(stream, &failure);
                    context.out.close(stream);
                }
            },
        }
    }

    fn keep(&mut self, stream: u32, job: Option<Box<dyn Stream>>) {
        if let Some(job) = job {
            self.streams.insert(stream, job);
            self.context.work.add(Work::Stream(stream));
        }
    }

    /// Takes in connections of processes in the sandbox.
    fn accept(&mut self) {
        if let Some((stream, relay)) = self.api.as_mut().and_then(|api| api.accept(&mut self.context)) {
            self.streams.insert(stream, relay);
            self.set_api_interest();
        }
    }

    fn set_api_interest(&mut self) {
        let connections = self.streams.keys().filter(|stream| *stream % 2 == 1).count();
        if let Some(api) = &mut self.api {
            api.set_interest(self.begun && connections < api::MOST_CONNECTIONS);
        }
    }

    /// Forgets a stream; a connection's place becomes free.
    fn forget(&mut self, stream: u32) {
        self.streams.remove(&stream);
        if stream % 2 == 1 {
            self.set_api_interest();
        }
    }

    fn data(&mut self, header: &Header, payload: &[u8]) {
        if self.table.has_stream(header.stream) {
            self.table.data(&mut self.context, header, payload);
        } else {
            self.with(header.stream, |stream, context| stream.data(context, header, payload));
        }
    }

    fn eof(&mut self, header: &Header) {
        if self.table.has_stream(header.stream) {
            self.table.eof(header);
        } else {
            self.with(header.stream, |stream, context| stream.eof(context, header));
        }
    }

    fn ack(&mut self, header: &Header, payload: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(payload);
        let limit = reader.u64()?;
        reader.end()?;
        if self.table.has_stream(header.stream) {
            self.table.ack(&mut self.context, header, limit);
        } else {
            self.with(header.stream, |stream, context| stream.ack(context, header, limit));
        }
        Ok(())
    }

    fn close(&mut self, stream: u32) {
        self.table.close(stream);
        self.forget(stream);
    }

    /// Lets a stream do something. Frames for one that is gone crossed with its end.
    fn with(&mut self, number: u32, act: impl FnOnce(&mut dyn Stream, &mut Context) -> Outcome) {
        let outcome = match self.streams.get_mut(&number) {
            Some(stream) => act(stream.as_mut(), &mut self.context),
            None => return,
        };
        match outcome {
            Outcome::Wait => (),
            Outcome::Again => self.context.work.add(Work::Stream(number)),
            Outcome::Close | Outcome::Done => {
                self.forget(number);
                if outcome == Outcome::Close {
                    self.context.out.close(number);
                }
            }
        }
    }

    /// A descriptor of a process or stream is ready.
    pub fn ready(&mut self, ready: Ready) {
        match ready.source {
            Source::Process { key, channel } => self.table.ready(&mut self.context, key, channel, ready),
            Source::Stream { stream, channel } => {
                self.with(stream, |stream, context| stream.ready(context, channel, ready.readable, ready.writable));
            }
            Source::Api => self.accept(),
            _ => (),
        }
    }

    /// Gives everyone who has work one turn, while there is room for what they produce. Tells whether work is left.
    pub fn work(&mut self) -> bool {
        for _ in 0..self.context.work.len() {
            if !self.context.out.room_for_bulk() {
                break;
            }
            match self.context.work.next() {
                Some(Work::Process(key)) => self.table.work(&mut self.context, key),
                Some(Work::Stream(stream)) => self.with(stream, |stream, context| stream.work(context)),
                None => break,
            }
        }
        self.context.work.len() > 0
    }
}

/// Starts a stream that is neither process nor call.
fn start(context: &mut Context, kind: u8, stream: u32, payload: &[u8]) -> Result<Box<dyn Stream>, Failure> {
    match kind {
        open::FILE_READ => read::start(context, stream, payload),
        open::FILE_WRITE => write::start(context, stream, payload),
        open::TAR_EXTRACT => extract::start(context, stream, payload),
        open::TAR_CREATE => create::start(context, stream, payload),
        open::WATCH => watch::start(context, stream, payload),
        open::DIAL => dial::start(context, stream, payload),
        _ => Err(Failure::new(EINVAL, format!("no stream kind {kind}"))),
    }
}
