//! Output bytes that were read from a process and not yet acknowledged by the host. Pure.

use crate::frame::INITIAL_WINDOW;
use std::collections::VecDeque;

/// Most bytes held on one channel, however far the host's limit lies.
const MOST_HELD: u64 = 4 << 20;

/// One output channel's bytes: `base..sent` are with the host, `sent..end` wait; all of them are kept.
#[derive(Debug)]
pub struct Retained {
    bytes: VecDeque<u8>,
    base: u64,
    sent: u64,
    limit: u64,
    /// After a reset nothing is sent before the host has said from where.
    paused: bool,
    /// No byte will follow.
    complete: bool,
    eof_sent: bool,
}

impl Retained {
    pub fn new() -> Retained {
        Retained { bytes: VecDeque::new(), base: 0, sent: 0, limit: INITIAL_WINDOW, paused: false, complete: false, eof_sent: false }
    }

    /// How many more bytes may be taken from the process: the host's limit is also the bound on what is held for it.
    pub fn room(&self) -> usize {
        let window = self.limit.saturating_sub(self.base).min(MOST_HELD);
        window.saturating_sub(self.bytes.len() as u64) as usize
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Lowest offset still held.
    pub fn base(&self) -> u64 {
        self.base
    }

    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Whether everything, EOF included, is with the host.
    pub fn finished(&self) -> bool {
        self.eof_sent && !self.paused
    }

    /// Bytes to send now, at most `most` and in one or two pieces, with their offset. They count as sent.
    pub fn take(&mut self, most: usize) -> Option<(u64, &[u8], &[u8])> {
        let end = self.end().min(self.limit).min(self.sent + most as u64);
        if self.paused || end <= self.sent {
            return None;
        }
        let offset = self.sent;
        let (from, to) = ((offset - self.base) as usize, (end - self.base) as usize);
        self.sent = end;
        let (head, tail) = self.bytes.as_slices();
        let split = head.len();
        Some((offset, &head[from.min(split)..to.min(split)], &tail[from.max(split) - split..to.max(split) - split]))
    }

    /// The total length, once, when all bytes are sent and none will follow.
    pub fn take_eof(&mut self) -> Option<u64> {
        let due = self.complete && !self.eof_sent && !self.paused && self.sent == self.end();
        self.eof_sent |= due;
        due.then_some(self.sent)
    }

    /// The host has everything below `offset` and takes everything below `limit`.
    ///
    /// The first acknowledgement after a reset may lie anywhere: what is held from there on is sent again.
    pub fn acknowledge(&mut self, offset: u64, limit: u64) {
        if self.paused {
            self.paused = false;
            self.sent = offset.clamp(self.base, self.end());
            self.limit = limit;
        } else {
            self.limit = self.limit.max(limit);
        }
        let base = offset.clamp(self.base, self.sent);
        self.bytes.drain(..(base - self.base) as usize);
        self.base = base;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(4096);
        }
    }

    pub fn pause(&mut self) {
        self.paused = true;
        self.eof_sent = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(retained: &mut Retained, most: usize) -> Option<(u64, Vec<u8>)> {
        retained.take(most).map(|(offset, head, tail)| (offset, [head, tail].concat()))
    }

    #[test]
    fn bytes_go_out_once_in_order_and_eof_after_them() {
        let mut retained = Retained::new();
        retained.push(b"hello");
        assert_eq!(taken(&mut retained, 3), Some((0, b"hel".to_vec())));
        retained.complete();
        assert_eq!(retained.take_eof(), None);
        assert_eq!(taken(&mut retained, 9), Some((3, b"lo".to_vec())));
        assert_eq!(taken(&mut retained, 9), None);
        assert_eq!((retained.take_eof(), retained.take_eof()), (Some(5), None));
        assert!(retained.finished());
    }

    #[test]
    fn the_window_bounds_what_is_held_and_the_limit_what_is_sent() {
        let mut retained = Retained::new();
        retained.push(&vec![1; INITIAL_WINDOW as usize]);
        assert_eq!(retained.room(), 0);
        assert_eq!(taken(&mut retained, usize::MAX >> 1).map(|(_, bytes)| bytes.len()), Some(INITIAL_WINDOW as usize));
        retained.acknowledge(100, INITIAL_WINDOW + 10);
        assert_eq!(retained.room(), 10);
        retained.push(&[2; 10]);
        assert_eq!(taken(&mut retained, 1000), Some((INITIAL_WINDOW, vec![2; 10])));
        assert_eq!(taken(&mut retained, 1000), None);
    }

    #[test]
    fn a_limit_out_of_this_world_does_not_fill_the_memory() {
        let mut retained = Retained::new();
        retained.acknowledge(0, u64::MAX);
        assert_eq!(retained.room() as u64, MOST_HELD);
    }

    #[test]
    fn after_a_reset_the_host_says_from_where() {
        let mut retained = Retained::new();
        retained.push(b"0123456789");
        retained.take(8);
        retained.acknowledge(4, 100);
        retained.complete();
        for (asked, offset, bytes) in [(2, 4, &b"456789"[..]), (6, 6, b"6789"), (6, 6, b"6789")] {
            retained.pause();
            assert_eq!((taken(&mut retained, 99), retained.take_eof()), (None, None));
            assert!(!retained.finished());
            retained.acknowledge(asked, 100);
            assert_eq!(taken(&mut retained, 99), Some((offset, bytes.to_vec())));
            assert_eq!(retained.take_eof(), Some(10));
        }
        retained.pause();
        retained.acknowledge(u64::MAX, 100);
        assert_eq!(taken(&mut retained, 99), None);
        assert_eq!((retained.take_eof(), retained.base()), (Some(10), 10));
    }

    #[test]
    fn an_acknowledgement_beyond_what_was_sent_frees_only_that() {
        let mut retained = Retained::new();
        retained.push(b"abc");
        retained.take(1);
        retained.acknowledge(3, 1000);
        assert_eq!(taken(&mut retained, 9), Some((1, b"bc".to_vec())));
    }

    #[test]
    fn pieces_around_the_ring_are_whole() {
        let mut retained = Retained::new();
        let mut expected = 0_u64;
        for round in 0..10_000_u64 {
            retained.push(&(round as u32).to_le_bytes());
            if let Some((offset, bytes)) = taken(&mut retained, 3) {
                assert_eq!(offset, expected);
                for byte in bytes {
                    assert_eq!(byte, ((expected / 4) as u32).to_le_bytes()[(expected % 4) as usize]);
                    expected += 1;
                }
                retained.acknowledge(expected.saturating_sub(round % 7), expected + 100);
            }
        }
    }
}
