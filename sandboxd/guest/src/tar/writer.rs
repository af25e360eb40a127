//! Members of a new archive.

use super::header;
use super::pax::append_record;
use super::{padding, Kind, Member, BLOCK};

/// Appends a member's header, with a pax header before it where the plain one is too narrow.
pub fn append_header(archive: &mut Vec<u8>, member: &Member) {
    let mut records = Vec::new();
    if !header::text_fits(&member.name) {
        append_record(&mut records, "path", &member.name);
    }
    if !header::text_fits(&member.target) {
        append_record(&mut records, "linkpath", &member.target);
    }
    if !header::numbers_fit(member) {
        let number = |records: &mut Vec<u8>, key, value: i128| append_record(records, key, value.to_string().as_bytes());
        number(&mut records, "size", i128::from(member.size));
        number(&mut records, "uid", i128::from(member.uid));
        number(&mut records, "gid", i128::from(member.gid));
        number(&mut records, "mtime", i128::from(member.mtime_s));
    }
    if !records.is_empty() {
        append_extension(archive, &records);
    }
    archive.extend_from_slice(&header::encode(member, type_byte(member.kind)));
}

fn append_extension(archive: &mut Vec<u8>, records: &[u8]) {
    let size = records.len() as u64;
    let name = b"PaxHeader".to_vec();
    let member = Member { name, kind: Kind::File, mode: 0o644, uid: 0, gid: 0, size, mtime_s: 0, target: Vec::new() };
    archive.extend_from_slice(&header::encode(&member, b'x'));
    archive.extend_from_slice(records);
    archive.resize(archive.len() + padding(size), 0);
}

fn type_byte(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::SymbolicLink => b'2',
        Kind::Directory => b'5',
        Kind::Other(byte) => byte,
    }
}

/// Appends the end of an archive.
pub fn append_end(archive: &mut Vec<u8>) {
    archive.resize(archive.len() + 2 * BLOCK, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::parser::{Parser, Part};

    #[test]
    fn what_does_not_fit_a_plain_header_survives_in_records() {
        let member = Member {
            name: vec![b'n'; 4000],
            kind: Kind::SymbolicLink,
            mode: 0o777,
            uid: 3_000_000,
            gid: u32::MAX - 1,
            size: 0,
            mtime_s: -5,
            target: vec![b't'; 4000],
        };
        let large = Member { kind: Kind::File, size: 1 << 40, ..member.clone() };
        for member in [member, large] {
            let mut archive = Vec::new();
            append_header(&mut archive, &member);
            assert_eq!(Parser::new().next(&mut &archive[..]), Ok(Some(Part::Member(member))));
        }
    }
}
