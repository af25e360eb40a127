//! What every stream that is not a process can do.

use crate::context::Context;
use crate::frame::{Header, INITIAL_WINDOW};

/// What becomes of a stream after it handled something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It waits for the next frame or event.
    Wait,
    /// It has more to do: its turn comes again when there is room for output.
    Again,
    /// It is over: CLOSE is sent.
    Close,
    /// It is over and the host knows.
    Done,
}

/// A call in progress, a transfer, a watch or a connection. Dropping it cancels it.
pub trait Stream {
    /// Bytes from the host, valid during the call only.
    fn data(&mut self, _context: &mut Context, header: &Header, _bytes: &[u8]) -> Outcome {
        crate::log!("stream {}: no data expected on channel {}", header.stream, header.channel);
        Outcome::Wait
    }

    fn eof(&mut self, _context: &mut Context, _header: &Header) -> Outcome {
        Outcome::Wait
    }

    /// The host took everything below the header's offset and allows everything below `limit`.
    fn ack(&mut self, _context: &mut Context, _header: &Header, _limit: u64) -> Outcome {
        Outcome::Wait
    }

    /// A descriptor registered under this stream is ready.
    fn ready(&mut self, _context: &mut Context, _channel: u8, _readable: bool, _writable: bool) -> Outcome {
        Outcome::Wait
    }

    /// One slice of work or one frame of bulk data.
    fn work(&mut self, _context: &mut Context) -> Outcome {
        Outcome::Wait
    }
}

/// Flow control of bytes that go to the host.
#[derive(Debug)]
pub struct SendWindow {
    pub offset: u64,
    pub limit: u64,
}

impl SendWindow {
    pub fn new() -> SendWindow {
        SendWindow { offset: 0, limit: INITIAL_WINDOW }
    }

    /// Bytes that may be sent now.
    pub fn room(&self) -> u64 {
        self.limit.saturating_sub(self.offset)
    }

    pub fn allow(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }
}

/// Flow control of bytes that come from the host.
#[derive(Debug)]
pub struct ReceiveWindow {
    consumed: u64,
    acknowledged: u64,
    window: u64,
}

impl ReceiveWindow {
    pub fn new(window: u64) -> ReceiveWindow {
        ReceiveWindow { consumed: 0, acknowledged: 0, window }
    }

    /// Tells the host of a window larger than the initial one.
    pub fn announce(&self, context: &mut Context, stream: u32, channel: u8) {
        context.out.ack(stream, channel, 0, self.window);
    }

    /// Counts bytes as consumed; acknowledges them once that is worth a frame.
    pub fn consume(&mut self, context: &mut Context, header: &Header, count: usize) {
        self.consumed += count as u64;
        if self.consumed - self.acknowledged >= self.window / 2 {
            self.acknowledged = self.consumed;
            context.out.ack(header.stream, header.channel, self.consumed, self.consumed + self.window);
        }
    }
}
