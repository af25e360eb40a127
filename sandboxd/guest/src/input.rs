//! The host's bytes cut into frames, across reads, lost halves and resets (docs/guest-protocol.md, sections 3 and 4). Pure.

use crate::frame::{kind, Header, HEADER_BYTES, MARKER_BYTES, MAX_PAYLOAD, PREAMBLE};
use crate::marker::Finder;
use std::ops::Range;

/// Most bytes taken by one read.
const READ_BYTES: usize = 1 << 20;
const RESET_BYTES: usize = HEADER_BYTES + MARKER_BYTES;

/// What the parser found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole frame; the payload lies at this range of [`Input::bytes`].
    Frame(Header, Range<usize>),
    /// A guest marker and a RESET frame, which carried this host marker.
    Reset([u8; MARKER_BYTES]),
    /// The host broke the protocol; everything up to its next marker is thrown away.
    Violation,
}

enum State {
    /// Before the first RESET.
    Unmet,
    /// Just after a guest marker.
    Marked,
    Frames,
    /// Out of step until the next marker.
    Lost,
}

enum Cut {
    Frame(Header, Range<usize>),
    /// No header.
    Invalid,
    Incomplete,
    /// A marker came before the frame was complete.
    Marker,
}

/// The read buffer and the parser over it. Payloads are handed out as ranges, never copied.
pub struct Input {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    state: State,
    finder: Finder,
    /// A marker found but not yet reached.
    marker_at: Option<usize>,
    /// No marker begins before this position.
    searched: usize,
    /// The last read took all it was offered, so more may lie in the pipe.
    full: bool,
}

impl Input {
    pub fn new() -> Input {
        Input {
            buffer: vec![0; READ_BYTES + HEADER_BYTES + MAX_PAYLOAD].into_boxed_slice(),
            start: 0,
            end: 0,
            state: State::Unmet,
            finder: Finder::new([0; MARKER_BYTES]),
            marker_at: None,
            searched: 0,
            full: false,
        }
    }

    /// Where the next read goes. What is still needed is moved to the front first.
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.searched = self.searched.saturating_sub(self.start);
        self.marker_at = self.marker_at.map(|position| position - self.start);
        self.start = 0;
        let end = self.buffer.len().min(self.end + READ_BYTES);
        &mut self.buffer[self.end..end]
    }

    /// Tells that a read of the whole of `space` brought `count` bytes; 0 if the pipe was empty.
    pub fn filled(&mut self, count: usize) {
        self.full = count > 0 && count == (self.buffer.len() - self.end).min(READ_BYTES);
        self.end += count;
    }

    /// Whether the pipe must be read again before the parser can be sure about the last frame.
    pub fn full(&self) -> bool {
        self.full
    }

    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// The next frame or reset in the buffer, `None` when more bytes are needed.
    pub fn next(&mut self) -> Option<Step> {
        loop {
            match self.state {
                State::Unmet => return self.meet(),
                State::Lost => self.skip_to_marker()?,
                State::Marked => match self.cut() {
                    Cut::Incomplete => return None,
                    Cut::Marker => (),
                    Cut::Frame(header, payload) if is_reset(&header) => {
                        self.state = State::Frames;
                        return Some(Step::Reset(array(&self.buffer[payload])));
                    }
                    Cut::Frame(..) | Cut::Invalid => self.state = State::Lost,
                },
                State::Frames => match self.cut() {
                    Cut::Incomplete => return None,
                    Cut::Marker => (),
                    Cut::Frame(header, payload) => return Some(Step::Frame(header, payload)),
                    Cut::Invalid => {
                        self.state = State::Lost;
                        return Some(Step::Violation);
                    }
                },
            }
        }
    }

    /// Looks for preamble, guest marker and RESET; the host may begin again at any byte until all three are whole.
    fn meet(&mut self) -> Option<Step> {
        loop {
            let bytes = &self.buffer[self.start..self.end];
            let found = bytes.windows(PREAMBLE.len()).position(|window| window == PREAMBLE);
            let position = match found {
                Some(position) => position,
                None => {
                    self.start += bytes.len().saturating_sub(PREAMBLE.len() - 1);
                    return None;
                }
            };
            self.start += position;
            let marker_start = self.start + PREAMBLE.len();
            let reset_start = marker_start + MARKER_BYTES;
            if self.end < reset_start + RESET_BYTES {
                return None;
            }
            if let Some(host_marker) = decode_reset(&self.buffer[reset_start..reset_start + RESET_BYTES]) {
                self.finder = Finder::new(array(&self.buffer[marker_start..reset_start]));
                self.start = reset_start + RESET_BYTES;
                self.searched = self.start;
                self.state = State::Frames;
                return Some(Step::Reset(host_marker));
            }
            self.start += 1;
        }
    }

    /// Searches what was not searched yet; returns the end of what belongs before the next marker.
    fn limit(&mut self) -> usize {
        if self.marker_at.is_none() {
            let from = self.searched.max(self.start);
            self.marker_at = self.finder.find(&self.buffer[from..self.end]).map(|position| from + position);
            self.searched = from.max((self.end + 1).saturating_sub(MARKER_BYTES));
        }
        self.marker_at.unwrap_or(self.end)
    }

    /// Drops bytes up to and including the next marker; `None` if it is not there yet.
    fn skip_to_marker(&mut self) -> Option<()> {
        self.start = self.limit().min(self.searched.max(self.start));
        self.pass_marker()
    }

    /// Moves past a marker that was found; `None` if none was.
    fn pass_marker(&mut self) -> Option<()> {
        self.start = self.marker_at.take()? + MARKER_BYTES;
        self.searched = self.start;
        self.state = State::Marked;
        Some(())
    }

    /// Cuts one frame off, or passes the marker that an incomplete one runs into.
    fn cut(&mut self) -> Cut {
        let limit = self.limit();
        let available = &self.buffer[self.start..limit];
        if available.len() >= HEADER_BYTES {
            let header = match Header::decode(available) {
                Some(header) => header,
                // The first bytes of a marker, of which the rest is still to come.
                None if self.finder.partial(available) == available.len() => return Cut::Incomplete,
                None => return Cut::Invalid,
            };
            let payload = self.start + HEADER_BYTES;
            let end = payload + header.length as usize;
            if end <= limit {
                if self.may_run_into_marker(end) {
                    return Cut::Incomplete;
                }
                self.start = end;
                return Cut::Frame(header, payload..end);
            }
        }
        self.pass_marker().map_or(Cut::Incomplete, |()| Cut::Marker)
    }

    /// Whether the tail of a frame that ends at `end` may be the first bytes of a marker whose rest was not read yet.
    ///
    /// The host writes marker and RESET in one atomic write, so only a read that filled the buffer can have cut it.
    fn may_run_into_marker(&self, end: usize) -> bool {
        self.full && self.marker_at.is_none() && end > self.end - self.finder.partial(&self.buffer[self.start..self.end])
    }
}

fn is_reset(header: &Header) -> bool {
    header.kind == kind::RESET && header.length as usize == MARKER_BYTES
}

fn decode_reset(bytes: &[u8]) -> Option<[u8; MARKER_BYTES]> {
    let header = Header::decode(bytes)?;
    if is_reset(&header) && header == (Header { length: header.length, kind: kind::RESET, ..Header::default() }) {
        Some(array(&bytes[HEADER_BYTES..]))
    } else {
        None
    }
}

fn array(bytes: &[u8]) -> [u8; MARKER_BYTES] {
    let mut marker = [0; MARKER_BYTES];
    marker.copy_from_slice(bytes);
    marker
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: [u8; MARKER_BYTES] = *b"the-guest-marker-of-thirty-two-b";
    const HOST: [u8; MARKER_BYTES] = *b"the-hosts-marker-of-thirty-two-b";

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let header = Header { length: payload.len() as u32, kind, ..Header::default() };
        [&header.encode()[..], payload].concat()
    }

    fn hello() -> Vec<u8> {
        [&PREAMBLE[..], &GUEST, &frame(kind::RESET, &HOST)].concat()
    }

    fn reset() -> Vec<u8> {
        [&GUEST[..], &frame(kind::RESET, &HOST)].concat()
    }

    /// What comes out when `bytes` are read in pieces of `size`, each read ending with an empty pipe.
    fn parse(bytes: &[u8], size: usize) -> Vec<String> {
        let mut input = Input::new();
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            input.space()[..piece.len()].copy_from_slice(piece);
            input.filled(piece.len());
            while let Some(step) = input.next() {
                found.push(match step {
                    Step::Frame(_, payload) => String::from_utf8_lossy(input.bytes(payload)).into_owned(),
                    Step::Reset(marker) => format!("reset {}", marker == HOST),
                    Step::Violation => "violation".to_owned(),
                });
            }
        }
        found
    }

    #[test]
    fn every_cut_of_the_stream_gives_the_same_steps() {
        let stream = [hello(), frame(kind::DATA, b"one"), frame(kind::PING, b""), reset(), frame(kind::DATA, b"two")].concat();
        for size in 1..stream.len() {
            assert_eq!(parse(&stream, size), ["reset true", "one", "", "reset true", "two"], "pieces of {size}");
        }
    }

    #[test]
    fn a_frame_cut_by_a_reset_is_discarded_at_every_length() {
        let cut = frame(kind::DATA, &[b'x'; 40]);
        for length in 0..cut.len() {
            let stream = [hello(), frame(kind::DATA, b"one"), cut[..length].to_vec(), reset(), frame(kind::DATA, b"two")].concat();
            assert_eq!(parse(&stream, stream.len()), ["reset true", "one", "reset true", "two"], "cut at {length}");
        }
    }

    #[test]
    fn the_host_may_begin_again_before_it_was_understood() {
        for length in (0..PREAMBLE.len() + MARKER_BYTES + HEADER_BYTES).chain([hello().len()]) {
            let stream = [hello()[..length].to_vec(), hello(), frame(kind::DATA, b"one")].concat();
            for size in [1, 7, stream.len()] {
                let found = parse(&stream, size);
                let last = found.len() - 2;
                assert_eq!(found[last..], ["reset true", "one"], "cut at {length}, pieces of {size}");
            }
        }
    }

    #[test]
    fn nonsense_is_skipped_up_to_the_next_marker() {
        let stream = [hello(), vec![0xff; 5000], reset(), frame(kind::DATA, b"two")].concat();
        for size in [1, 31, 64, stream.len()] {
            assert_eq!(parse(&stream, size), ["reset true", "violation", "reset true", "two"]);
        }
    }

    #[test]
    fn a_marker_without_reset_is_ignored_up_to_the_next_one() {
        let stream = [hello(), GUEST.to_vec(), frame(kind::DATA, b"no"), GUEST.to_vec(), reset(), frame(kind::DATA, b"two")].concat();
        assert_eq!(parse(&stream, stream.len()), ["reset true", "reset true", "two"]);
    }

    #[test]
    fn a_frame_is_held_back_while_its_tail_may_be_a_marker_cut_by_a_full_read() {
        let mut input = Input::new();
        let start = hello();
        input.space()[..start.len()].copy_from_slice(&start);
        input.filled(start.len());
        assert_eq!(input.next(), Some(Step::Reset(HOST)));
        // A full read that ends 10 bytes into a marker, with a frame that lacks just those 10 bytes.
        let size = input.space().len();
        let filler = frame(kind::DATA, &vec![0; size - 2 * HEADER_BYTES - 100 - 10 - HEADER_BYTES * 4 - 3 * MAX_PAYLOAD]);
        let large = frame(kind::DATA, &vec![0; MAX_PAYLOAD]);
        let cut = frame(kind::DATA, &[b'x'; 110]);
        let empty = frame(kind::PING, b"");
        let bytes = [filler, large.clone(), large.clone(), large, empty, cut[..cut.len() - 10].to_vec(), GUEST[..10].to_vec()].concat();
        assert_eq!(bytes.len(), size);
        input.space().copy_from_slice(&bytes);
        input.filled(size);
        for _ in 0..5 {
            assert!(matches!(input.next(), Some(Step::Frame(..))));
        }
        assert_eq!(input.next(), None);
        assert!(input.full());
        let rest = [&GUEST[10..], &frame(kind::RESET, &HOST)].concat();
        input.space()[..rest.len()].copy_from_slice(&rest);
        input.filled(rest.len());
        assert_eq!(input.next(), Some(Step::Reset(HOST)));
    }

    #[test]
    fn a_tail_like_a_marker_is_a_frame_once_the_pipe_is_empty() {
        let mut input = Input::new();
        let bytes = [hello(), frame(kind::DATA, &GUEST[..31])].concat();
        input.space()[..bytes.len()].copy_from_slice(&bytes);
        input.filled(bytes.len());
        input.next();
        assert!(matches!(input.next(), Some(Step::Frame(..))));
    }
}
