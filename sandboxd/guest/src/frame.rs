//! The frame header and the numbers of the protocol (docs/guest-protocol.md, section 2). Pure.

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 20;
/// Most payload bytes in one frame.
pub const MAX_PAYLOAD: usize = 262_144;
/// Bytes a sender may send on a fresh channel before the first ACK.
pub const INITIAL_WINDOW: u64 = 262_144;
/// Version told in HELLO.
pub const PROTOCOL_VERSION: u32 = 1;
/// Bytes of both markers.
pub const MARKER_BYTES: usize = 32;
/// What the host writes before the guest marker when it first meets a guest.
pub const PREAMBLE: &[u8; 16] = b"COVE GUEST V1\r\n\0";

/// Frame types.
pub mod kind {
    pub const HELLO: u8 = 0x01;
    pub const RESET: u8 = 0x02;
    pub const STATE: u8 = 0x03;
    pub const PING: u8 = 0x04;
    pub const PONG: u8 = 0x05;
    pub const OPEN: u8 = 0x10;
    pub const REPLY: u8 = 0x11;
    pub const DATA: u8 = 0x12;
    pub const EOF: u8 = 0x13;
    pub const ACK: u8 = 0x14;
    pub const CONTROL: u8 = 0x15;
    pub const EVENT: u8 = 0x16;
    pub const CLOSE: u8 = 0x17;
}

/// Stream kinds: the channel of an OPEN.
pub mod open {
    pub const PROCESS: u8 = 1;
    pub const CALL: u8 = 2;
    pub const FILE_READ: u8 = 3;
    pub const FILE_WRITE: u8 = 4;
    pub const TAR_EXTRACT: u8 = 5;
    pub const TAR_CREATE: u8 = 6;
    pub const WATCH: u8 = 7;
    pub const DIAL: u8 = 8;
    pub const API: u8 = 16;
}

/// The 20 bytes before every payload; `reserved` is always 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub length: u32,
    pub stream: u32,
    pub kind: u8,
    pub channel: u8,
    pub offset: u64,
}

impl Header {
    /// A header whose length is filled in once the payload is known.
    pub fn new(stream: u32, kind: u8, channel: u8, offset: u64) -> Header {
        Header { length: 0, stream, kind, channel, offset }
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_le_bytes());
        bytes[8] = self.kind;
        bytes[9] = self.channel;
        bytes[12..20].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// Decodes the first 20 of `bytes`; `None` if they are no valid header.
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let header = Header {
            length: u32::from_le_bytes(bytes.get(0..4)?.try_into().ok()?),
            stream: u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?),
            kind: *bytes.get(8)?,
            channel: *bytes.get(9)?,
            offset: u64::from_le_bytes(bytes.get(12..20)?.try_into().ok()?),
        };
        let reserved = &bytes[10..12];
        if header.length as usize > MAX_PAYLOAD || reserved != [0, 0] {
            return None;
        }
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = Header { length: 7, stream: 0x0102_0304, kind: kind::DATA, channel: 2, offset: u64::MAX - 1 };
        assert_eq!(Header::decode(&header.encode()), Some(header));
    }

    #[test]
    fn headers_that_break_a_bound_are_refused() {
        let good = Header { length: MAX_PAYLOAD as u32, ..Header::default() };
        assert!(Header::decode(&good.encode()).is_some());
        let long = Header { length: MAX_PAYLOAD as u32 + 1, ..Header::default() };
        assert!(Header::decode(&long.encode()).is_none());
        let mut reserved = good.encode();
        reserved[11] = 1;
        assert!(Header::decode(&reserved).is_none());
        assert!(Header::decode(&good.encode()[..19]).is_none());
    }
}
