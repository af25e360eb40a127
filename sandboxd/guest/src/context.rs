//! What every part of the guest shares: the output queue, the poller, the list of streams with work, a scratch buffer.

use crate::output::Output;
use crate::sys::poll::Poller;
use std::collections::{HashSet, VecDeque};
use std::io;

const SCRATCH_BYTES: usize = 64 << 10;

/// Something that has bulk frames to send or a long task to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// By the process's key.
    Process(u32),
    Stream(u32),
}

/// A queue that holds each entry once and serves them in turn.
#[derive(Default)]
pub struct WorkQueue {
    order: VecDeque<Work>,
    queued: HashSet<Work>,
}

impl WorkQueue {
    pub fn add(&mut self, work: Work) {
        if self.queued.insert(work) {
            self.order.push_back(work);
        }
    }

    pub fn next(&mut self) -> Option<Work> {
        let work = self.order.pop_front()?;
        self.queued.remove(&work);
        Some(work)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Forgets the streams; processes survive a reset.
    pub fn clear(&mut self) {
        self.order.clear();
        self.queued.clear();
    }
}

/// Passed to whoever handles a frame or an event.
pub struct Context {
    pub out: Output,
    pub poller: Poller,
    pub work: WorkQueue,
    /// For bytes that are copied or dropped at once.
    pub scratch: Box<[u8]>,
}

impl Context {
    pub fn new() -> io::Result<Context> {
        Ok(Context {
            out: Output::default(),
            poller: Poller::new()?,
            work: WorkQueue::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
        })
    }
}
