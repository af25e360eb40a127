//! One 512-byte header block.
//!
//! Source: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format" (base-256 numbers).

use super::{Kind, Member, TarError, BLOCK};
use std::ops::Range;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const TARGET: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;

/// A header as it stands, before extensions. `type_byte` tells extensions from members.
pub struct Raw {
    pub type_byte: u8,
    pub member: Member,
}

/// Decodes a block that is not all zeros.
pub fn decode(block: &[u8; BLOCK]) -> Result<Raw, TarError> {
    if number(&block[CHECKSUM])? != u64::from(checksum(block)) {
        return Err(TarError("a header's checksum is wrong"));
    }
    let type_byte = block[TYPE];
    let member = Member {
        name: name(block),
        kind: Kind::File,
        mode: number(&block[MODE])? as u32 & 0o7777,
        uid: number(&block[UID])? as u32,
        gid: number(&block[GID])? as u32,
        size: number(&block[SIZE])?,
        mtime_s: signed_number(&block[MTIME])?,
        target: until_nul(&block[TARGET]).to_vec(),
    };
    Ok(Raw { type_byte, member: Member { kind: kind(type_byte, &member.name), ..member } })
}

/// A file whose name ends in a slash is how archives older than ustar tell a directory; in newer ones the name may just be cut there.
fn kind(type_byte: u8, name: &[u8]) -> Kind {
    match type_byte {
        0 if name.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::SymbolicLink,
        b'5' => Kind::Directory,
        other => Kind::Other(other),
    }
}

fn name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[NAME]);
    let prefix = until_nul(&block[PREFIX]);
    // GNU archives keep other things where ustar has the prefix.
    if prefix.is_empty() || &block[MAGIC] != b"ustar\x0000" {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// All bytes added up, the checksum field as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(block) - sum(&block[CHECKSUM]) + CHECKSUM.len() as u32 * u32::from(b' ')
}

fn number(field: &[u8]) -> Result<u64, TarError> {
    u64::try_from(signed_number(field)?).map_err(|_| TarError("a number in a header is negative"))
}

/// Octal digits between spaces and NULs, or, with the highest bit set, big-endian two's complement.
fn signed_number(field: &[u8]) -> Result<i64, TarError> {
    if field[0] & 0x80 != 0 {
        return base_256(field);
    }
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let digits = field.iter().skip_while(|byte| blank(byte)).take_while(|byte| !blank(byte));
    digits.copied().try_fold(0, |value, digit| match digit {
        b'0'..=b'7' => Ok(value * 8 + i64::from(digit - b'0')),
        _ => Err(TarError("a number in a header is not octal")),
    })
}

fn base_256(field: &[u8]) -> Result<i64, TarError> {
    let negative = field[0] & 0x40 != 0;
    let start = if negative { -1 } else { i64::from(field[0] & 0x3f) };
    let value = field[1..].iter().try_fold(start, |value, byte| value.checked_mul(256).map(|value| value | i64::from(*byte)));
    value.ok_or(TarError("a number in a header is too large"))
}

/// Encodes a header; what does not fit its field must be said in pax records before it.
pub fn encode(member: &Member, type_byte: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put_text(&mut block[NAME], &member.name);
    put_octal(&mut block[MODE], u64::from(member.mode));
    put_octal(&mut block[UID], u64::from(member.uid));
    put_octal(&mut block[GID], u64::from(member.gid));
    put_octal(&mut block[SIZE], member.size);
    put_octal(&mut block[MTIME], u64::try_from(member.mtime_s).unwrap_or(0));
    put_text(&mut block[TARGET], &member.target);
    block[TYPE] = type_byte;
    block[MAGIC].copy_from_slice(b"ustar\x0000");
    let sum = checksum(&block);
    block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let count = text.len().min(field.len());
    field[..count].copy_from_slice(&text[..count]);
}

/// Octal with a NUL behind; a value that is too large is left 0.
fn put_octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    let value = if fits_octal(value, width) { value } else { 0 };
    field[..width].copy_from_slice(format!("{value:0width$o}").as_bytes());
}

fn fits_octal(value: u64, digits: usize) -> bool {
    value >> (3 * digits) == 0
}

/// Whether the ids and the size of a member fit its header.
pub fn numbers_fit(member: &Member) -> bool {
    let ids = fits_octal(u64::from(member.uid), 7) && fits_octal(u64::from(member.gid), 7);
    ids && fits_octal(member.size, 11) && u64::try_from(member.mtime_s).map_or(false, |mtime| fits_octal(mtime, 11))
}

/// Whether a name or target fits its field.
pub fn text_fits(text: &[u8]) -> bool {
    text.len() <= NAME.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            name: b"a/b".to_vec(),
            kind: Kind::File,
            mode: 0o4755,
            uid: 1000,
            gid: 100,
            size: 0o1234567,
            mtime_s: 1_700_000_000,
            target: Vec::new(),
        }
    }

    #[test]
    fn a_header_survives() {
        let raw = decode(&encode(&member(), b'0')).ok().unwrap();
        assert_eq!((raw.type_byte, raw.member), (b'0', member()));
    }

    #[test]
    fn every_changed_byte_breaks_the_checksum() {
        let block = encode(&member(), b'0');
        for position in (0..BLOCK).filter(|position| !CHECKSUM.contains(position)) {
            let mut broken = block;
            broken[position] ^= 0x11;
            assert!(decode(&broken).is_err(), "{position}");
        }
    }

    #[test]
    fn numbers_in_all_their_shapes() {
        assert_eq!(signed_number(b"0000755\0"), Ok(0o755));
        assert_eq!(signed_number(b"   755 \0"), Ok(0o755));
        assert_eq!(signed_number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(signed_number(b"\x80\0\0\0\0\0\0\0\0\x02\0\0"), Ok(0x20000));
        assert_eq!(signed_number(&[0xff; 12]), Ok(-1));
        assert_eq!(number(&[0xff; 12]), Err(TarError("a number in a header is negative")));
        assert!(signed_number(b"12x45678").is_err());
        assert!(signed_number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn the_prefix_counts_only_in_ustar() {
        let mut block = encode(&member(), b'0');
        block[PREFIX][..3].copy_from_slice(b"pre");
        let sum = checksum(&block);
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(decode(&block).ok().unwrap().member.name, b"pre/a/b");
        block[MAGIC].copy_from_slice(b"ustar  \0");
        let sum = checksum(&block);
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(decode(&block).ok().unwrap().member.name, b"a/b");
    }
}
