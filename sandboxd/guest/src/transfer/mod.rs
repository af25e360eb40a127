//! Streams of bytes between the host and files, archives, sockets; watches (docs/guest-protocol.md, sections 7 and 8).

mod changes;
pub mod create;
pub mod dial;
pub mod extract;
mod place;
pub mod read;
pub mod relay;
mod unpack;
pub mod watch;
pub mod write;

use crate::context::Context;
use crate::output::Failure;
use crate::stream::{Outcome, Stream};

/// A started transfer. Whether it has replied already is up to it.
pub type Start = Result<Box<dyn Stream>, Failure>;

const EVENT_FAILED: u8 = 1;
const EVENT_COMPLETE: u8 = 2;

/// Ends a transfer that failed after its reply.
pub fn fail(context: &mut Context, stream: u32, failure: &Failure) -> Outcome {
    context.out.event(stream, EVENT_FAILED, |payload| failure.write(payload));
    Outcome::Close
}

/// Ends a transfer to the guest: tells what it counted.
pub fn complete(context: &mut Context, stream: u32, count: u64) -> Outcome {
    context.out.event(stream, EVENT_COMPLETE, |payload| {
        payload.u64(count);
    });
    Outcome::Close
}
