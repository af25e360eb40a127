//! An archive taken apart as its bytes arrive.

use super::header;
use super::pax::Overrides;
use super::{padding, Kind, Member, TarError, BLOCK};

/// Most bytes of one extended header.
const MOST_EXTENSION: u64 = 1 << 20;

/// What comes next in an archive.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Member(Member),
    /// Bytes of the last member, a file.
    Data(&'a [u8]),
    /// The last member is complete.
    End,
    /// The archive is complete; what follows is ignored.
    Finish,
}

#[derive(Clone, Copy)]
enum Extension {
    Pax,
    /// For all members that follow.
    Global,
    LongName,
    LongTarget,
}

#[derive(Clone, Copy)]
enum State {
    Header,
    /// An extended header of `size` bytes is gathered.
    Extension { kind: Extension, size: u64 },
    /// A file's bytes.
    Data { left: u64, padding: usize },
    /// Between the last byte of a member or extension and the next block.
    Padding { left: usize, ends_member: bool },
    Finished,
}

/// The parser. Feed it with [`Parser::next`] until that returns `None`.
pub struct Parser {
    state: State,
    /// A header block or an extended header that is not whole yet.
    gathered: Vec<u8>,
    overrides: Overrides,
    /// Of the global header; used where a member has none of its own.
    global: Overrides,
}

impl Parser {
    pub fn new() -> Parser {
        Parser { state: State::Header, gathered: Vec::new(), overrides: Overrides::default(), global: Overrides::default() }
    }

    pub fn finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// Takes bytes off the front of `bytes` up to the next part; `None` when it needs more.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Part<'a>>, TarError> {
        loop {
            let state = self.state;
            match state {
                State::Finished => {
                    *bytes = &[];
                    return Ok(None);
                }
                State::Header if !self.gather(bytes, BLOCK as u64) => return Ok(None),
                State::Header => {
                    if let Some(part) = self.header()? {
                        return Ok(Some(part));
                    }
                }
                State::Extension { size, .. } if !self.gather(bytes, size) => return Ok(None),
                State::Extension { .. } => self.extension()?,
                State::Data { left, padding } => return Ok(self.data(bytes, left, padding)),
                State::Padding { left, ends_member } => {
                    let left = left - take(bytes, left as u64).len();
                    if left > 0 {
                        self.state = State::Padding { left, ends_member };
                        return Ok(None);
                    }
                    self.state = State::Header;
                    if ends_member {
                        return Ok(Some(Part::End));
                    }
                }
            }
        }
    }

    /// Gathers up to `size` bytes; tells whether they are all there.
    fn gather(&mut self, bytes: &mut &[u8], size: u64) -> bool {
        let missing = size - self.gathered.len() as u64;
        self.gathered.extend_from_slice(take(bytes, missing));
        self.gathered.len() as u64 == size
    }

    fn data<'a>(&mut self, bytes: &mut &'a [u8], left: u64, padding: usize) -> Option<Part<'a>> {
        let taken = take(bytes, left);
        let left = left - taken.len() as u64;
        self.state = if left > 0 { State::Data { left, padding } } else { State::Padding { left: padding, ends_member: true } };
        Some(Part::Data(taken)).filter(|_| !taken.is_empty())
    }

    /// Handles a whole header block: a member, the beginning of an extension, or the end.
    fn header(&mut self) -> Result<Option<Part<'static>>, TarError> {
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.gathered);
        self.gathered.clear();
        if block == [0; BLOCK] {
            self.state = State::Finished;
            return Ok(Some(Part::Finish));
        }
        let header::Raw { type_byte, member } = header::decode(&block)?;
        let kind = match type_byte {
            b'x' => Extension::Pax,
            b'g' => Extension::Global,
            b'L' => Extension::LongName,
            b'K' => Extension::LongTarget,
            _ => return self.member(member).map(Some),
        };
        if member.size > MOST_EXTENSION {
            return Err(TarError("an extended header is too large"));
        }
        self.state = State::Extension { kind, size: member.size };
        Ok(None)
    }

    fn member(&mut self, mut member: Member) -> Result<Part<'static>, TarError> {
        let overrides = std::mem::take(&mut self.overrides);
        self.global.apply(&mut member);
        overrides.apply(&mut member);
        if overrides.sparse || self.global.sparse {
            return Err(TarError("sparse files are not supported"));
        }
        if !matches!(member.kind, Kind::File | Kind::Other(_)) {
            member.size = 0;
        }
        let padding = padding(member.size);
        self.state = match member.size {
            0 => State::Padding { left: 0, ends_member: true },
            left => State::Data { left, padding },
        };
        Ok(Part::Member(member))
    }

    /// Handles a whole extended header.
    fn extension(&mut self) -> Result<(), TarError> {
        let gathered = std::mem::take(&mut self.gathered);
        let state = State::Padding { left: padding(gathered.len() as u64), ends_member: false };
        let text = || gathered.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
        if let State::Extension { kind, .. } = std::mem::replace(&mut self.state, state) {
            match kind {
                Extension::Pax => self.overrides.read(&gathered)?,
                Extension::Global => self.global.read(&gathered)?,
                Extension::LongName => self.overrides.path = text(),
                Extension::LongTarget => self.overrides.target = text(),
            }
        }
        Ok(())
    }
}

/// Takes up to `most` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], most: u64) -> &'a [u8] {
    let (head, tail) = bytes.split_at((bytes.len() as u64).min(most) as usize);
    *bytes = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::writer;

    fn member(name: &[u8], kind: Kind, size: u64) -> Member {
        Member { name: name.to_vec(), kind, mode: 0o644, uid: 7, gid: 8, size, mtime_s: 9, target: Vec::new() }
    }

    /// What an archive says when it comes in pieces of `size`.
    fn parse(archive: &[u8], size: usize) -> Result<Vec<String>, TarError> {
        let mut parser = Parser::new();
        let mut found: Vec<String> = Vec::new();
        let mut contents = Vec::new();
        for mut piece in archive.chunks(size) {
            while let Some(part) = parser.next(&mut piece)? {
                match part {
                    Part::Member(member) => found.push(String::from_utf8_lossy(&member.name).into_owned()),
                    Part::Data(bytes) => contents.extend_from_slice(bytes),
                    Part::End => found.push(format!("{} bytes", std::mem::take(&mut contents).len())),
                    Part::Finish => found.push("finish".to_owned()),
                }
            }
            assert!(piece.is_empty());
        }
        Ok(found)
    }

    fn archive() -> Vec<u8> {
        let mut bytes = Vec::new();
        let long = [b'n'; 300];
        for (name, size) in [(&b"empty"[..], 0), (b"small", 5), (b"block", 512), (&long, 513)] {
            writer::append_header(&mut bytes, &member(name, Kind::File, size));
            bytes.resize(bytes.len() + size as usize + padding(size), b'x');
        }
        writer::append_header(&mut bytes, &member(b"directory/", Kind::Directory, 0));
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    #[test]
    fn every_cut_gives_the_same_parts() {
        let whole = parse(&archive(), usize::MAX).unwrap();
        assert_eq!(whole[..6], ["empty", "0 bytes", "small", "5 bytes", "block", "512 bytes"]);
        assert_eq!((whole[6].len(), &whole[7..]), (300, &["513 bytes", "directory/", "0 bytes", "finish"].map(String::from)[..]));
        for size in 1..1100 {
            assert_eq!(parse(&archive(), size).unwrap(), whole, "pieces of {size}");
        }
    }

    #[test]
    fn a_truncated_archive_is_never_finished() {
        let bytes = archive();
        for length in 0..bytes.len() - 2 * BLOCK {
            assert!(parse(&bytes[..length], 4096).map_or(true, |found| !found.contains(&"finish".to_owned())));
        }
    }

    #[test]
    fn gnu_names_and_global_values_apply_and_the_nearer_wins() {
        let mut bytes = Vec::new();
        let extension = |bytes: &mut Vec<u8>, type_byte: u8, content: &[u8]| {
            let size = content.len() as u64;
            bytes.extend_from_slice(&header::encode(&member(b"././@LongLink", Kind::File, size), type_byte));
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len() + padding(size), 0);
        };
        extension(&mut bytes, b'g', b"9 uid=99\n9 gid=98\n");
        extension(&mut bytes, b'L', b"long\0");
        extension(&mut bytes, b'x', b"9 uid=11\n");
        bytes.extend_from_slice(&header::encode(&member(b"short", Kind::File, 0), b'0'));
        let mut parser = Parser::new();
        let expected = Member { uid: 11, gid: 98, ..member(b"long", Kind::File, 0) };
        assert_eq!(parser.next(&mut &bytes[..]), Ok(Some(Part::Member(expected))));
    }

    #[test]
    fn a_name_cut_at_a_slash_is_no_directory() {
        let name = [&[b'x'; 99][..], b"/", b"file"].concat();
        let mut bytes = Vec::new();
        writer::append_header(&mut bytes, &member(&name, Kind::File, 3));
        assert_eq!(Parser::new().next(&mut &bytes[..]), Ok(Some(Part::Member(member(&name, Kind::File, 3)))));
    }

    #[test]
    fn monstrous_extensions_and_noise_are_refused() {
        let huge = header::encode(&member(b"x", Kind::File, MOST_EXTENSION + 1), b'x');
        assert!(parse(&huge, 512).is_err());
        assert!(parse(&[b'x'; BLOCK], 512).is_err());
    }

    #[test]
    fn the_size_of_a_directory_or_link_means_nothing() {
        let block = header::encode(&member(b"d/", Kind::Directory, 4096), b'5');
        assert_eq!(parse(&block, 512).unwrap(), ["d/", "0 bytes"]);
    }
}
