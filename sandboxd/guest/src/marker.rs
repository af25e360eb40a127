//! Search for the guest marker in everything that is read (Horspool's algorithm: about one byte in 32 is looked at). Pure.

use crate::frame::MARKER_BYTES;

/// Finds one marker.
pub struct Finder {
    marker: [u8; MARKER_BYTES],
    /// How far the window may move when its last byte is the index.
    skip: [u8; 256],
}

impl Finder {
    pub fn new(marker: [u8; MARKER_BYTES]) -> Finder {
        let mut skip = [MARKER_BYTES as u8; 256];
        for (position, byte) in marker[..MARKER_BYTES - 1].iter().enumerate() {
            skip[*byte as usize] = (MARKER_BYTES - 1 - position) as u8;
        }
        Finder { marker, skip }
    }

    /// Position of the first whole marker in `bytes`.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let mut position = 0;
        while let Some(window) = bytes.get(position..position + MARKER_BYTES) {
            if window == self.marker {
                return Some(position);
            }
            position += self.skip[window[MARKER_BYTES - 1] as usize] as usize;
        }
        None
    }

    /// Length of the longest end of `bytes` with which a marker may begin; less than a whole marker.
    pub fn partial(&self, bytes: &[u8]) -> usize {
        let longest = bytes.len().min(MARKER_BYTES - 1);
        (1..=longest).rev().find(|length| bytes.ends_with(&self.marker[..*length])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> [u8; MARKER_BYTES] {
        std::array::from_fn(|index| if index == MARKER_BYTES - 1 { 9 } else { index as u8 % 3 })
    }

    #[test]
    fn finds_it_at_every_position_even_after_false_starts() {
        let finder = Finder::new(marker());
        for position in 0..100 {
            let mut bytes: Vec<u8> = marker()[..31].iter().cycle().take(position).copied().collect();
            bytes.extend_from_slice(&marker());
            bytes.extend_from_slice(&[0; 3]);
            assert_eq!(finder.find(&bytes), Some(position));
        }
    }

    #[test]
    fn does_not_find_what_is_not_whole() {
        let finder = Finder::new(marker());
        assert_eq!(finder.find(&marker()[..31]), None);
        assert_eq!(finder.find(&[]), None);
        assert_eq!(finder.find(&[0; 4096]), None);
    }

    #[test]
    fn a_beginning_at_the_end_is_measured() {
        let mut unlike = [0_u8; MARKER_BYTES];
        unlike.iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8 + 1);
        let finder = Finder::new(unlike);
        for length in 0..MARKER_BYTES {
            let bytes = [&[0xff; 9][..], &unlike[..length]].concat();
            assert_eq!(finder.partial(&bytes), length);
        }
    }
}
