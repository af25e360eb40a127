//! Readers and writers of the composite fields of payloads (docs/guest-protocol.md, section 1). Pure.

/// A payload that ends early, has bytes left over, or holds a value that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Key and value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Takes fields from the front of a payload.
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        if count > self.bytes.len() {
            return Err(Malformed);
        }
        let (head, tail) = self.bytes.split_at(count);
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub fn str(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// A list of strings. Nothing is allocated on the word of the count alone.
    pub fn list(&mut self) -> Result<Vec<&'a [u8]>, Malformed> {
        let count = self.u32()?;
        (0..count).map(|_| self.str()).collect()
    }

    pub fn map(&mut self) -> Result<Vec<Pair<'a>>, Malformed> {
        let count = self.u32()?;
        (0..count).map(|_| Ok((self.str()?, self.str()?))).collect()
    }

    /// Ends the payload, which must be consumed.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Appends fields to a payload.
pub struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub fn new(bytes: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { bytes }
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub fn str(&mut self, value: &[u8]) -> &mut Self {
        self.u32(value.len() as u32).raw(value)
    }

    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self
    }

    /// The buffer itself, for a producer that reads straight into it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order_and_the_payload_is_consumed() {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).u8(7).u32(8).u64(9).i64(-10).str(b"ab");
        let mut reader = Reader::new(&bytes);
        assert_eq!((reader.u8(), reader.u32(), reader.u64(), reader.i64()), (Ok(7), Ok(8), Ok(9), Ok(-10)));
        assert_eq!(reader.end(), Err(Malformed));
        assert_eq!(reader.str(), Ok(&b"ab"[..]));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn a_length_or_count_beyond_the_payload_fails_without_allocating() {
        assert_eq!(Reader::new(&u32::MAX.to_le_bytes()).str(), Err(Malformed));
        assert_eq!(Reader::new(&u32::MAX.to_le_bytes()).list(), Err(Malformed));
        assert_eq!(Reader::new(&u32::MAX.to_le_bytes()).map(), Err(Malformed));
        assert_eq!(Reader::new(&[1, 0]).u32(), Err(Malformed));
    }
}
