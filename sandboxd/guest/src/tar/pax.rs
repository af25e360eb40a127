//! pax extended header records: `length key=value\n`.
//!
//! Source: POSIX.1-2017, pax, "pax Extended Header".

use super::{Member, TarError};

/// Values that replace those of the next header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub path: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime_s: Option<i64>,
    /// GNU's sparse files would be unpacked wrongly.
    pub sparse: bool,
}

impl Overrides {
    /// Reads all records of an extended header; unknown keys are passed over.
    pub fn read(&mut self, mut records: &[u8]) -> Result<(), TarError> {
        while !records.is_empty() {
            let (key, value, rest) = split_record(records).ok_or(TarError("a pax record is malformed"))?;
            self.set(key, value)?;
            records = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.target = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            // Fractions of a second are dropped.
            b"mtime" => self.mtime_s = Some(decimal(value.split(|byte| *byte == b'.').next().unwrap_or_default())?),
            _ => self.sparse |= key.starts_with(b"GNU.sparse."),
        }
        Ok(())
    }

    pub fn apply(&self, member: &mut Member) {
        if let Some(path) = &self.path {
            member.name = path.clone();
        }
        if let Some(target) = &self.target {
            member.target = target.clone();
        }
        member.size = self.size.unwrap_or(member.size);
        member.uid = self.uid.unwrap_or(member.uid);
        member.gid = self.gid.unwrap_or(member.gid);
        member.mtime_s = self.mtime_s.unwrap_or(member.mtime_s);
    }
}

fn decimal<T: std::str::FromStr>(value: &[u8]) -> Result<T, TarError> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(TarError("a number in a pax record is not decimal"))
}

/// Key, value, and what follows the first record.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
    let record = records.get(space + 1..length)?;
    let body = record.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &records[length..]))
}

/// Appends one record; its length counts its own digits.
pub fn append_record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_length_survive() {
        for length in (0..120).chain([985, 986, 987, 988, 989, 990, 9_980, 9_990]) {
            let mut records = Vec::new();
            append_record(&mut records, "path", &vec![b'x'; length]);
            append_record(&mut records, "size", b"77");
            let mut found = Overrides::default();
            found.read(&records).unwrap();
            assert_eq!((found.path.map(|path| path.len()), found.size), (Some(length), Some(77)));
        }
    }

    #[test]
    fn values_may_hold_newlines_and_equals_signs() {
        let mut found = Overrides::default();
        found.read(b"15 path=a=\nb\nc\n11 mtime=9\n").unwrap();
        assert_eq!((found.path, found.mtime_s), (Some(b"a=\nb\nc"[..].to_vec()), Some(9)));
    }

    #[test]
    fn malformed_records_are_refused() {
        for records in [&b"x"[..], b"5 a=b", b"99 path=x\n", b"0 a=b\n", b"3 a=b\n", b"8 path x\n", b"9 size=x\n\n", b"-9 path=x\n", b"11 uid=-44\n"] {
            assert!(Overrides::default().read(records).is_err(), "{:?}", String::from_utf8_lossy(records));
        }
    }

    #[test]
    fn times_before_the_epoch_and_fractions() {
        let mut found = Overrides::default();
        found.read(b"15 mtime=-1.55\n").unwrap();
        assert_eq!(found.mtime_s, Some(-1));
    }
}
