//! Headers of pages: as much of Thrift's compact protocol as they are written in.
//!
//! The library reads them too, but believes them: what they claim is checked before it takes memory for it.

/// What a page says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u32,
    /// Bytes of the page behind this header.
    pub(super) compressed: u32,
    /// Bytes of the page when it is decompressed.
    pub(super) uncompressed: u32,
    /// Values of a data page, nulls among them: rows, where nothing is repeated.
    pub(super) values: u32,
    /// Bytes of the header itself.
    pub(super) length: usize,
}

/// Kinds of pages.
pub(super) const DATA: u32 = 0;
pub(super) const DICTIONARY: u32 = 2;
pub(super) const DATA_V2: u32 = 3;

/// Types of Thrift's compact protocol.
const I32: u8 = 5;
const STRUCT: u8 = 12;

/// Structures within each other; a header has two.
const DEEPEST: usize = 4;

impl Header {
    /// The header that bytes begin with; none if it is not whole, or is no header.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut page, mut compressed, mut uncompressed, mut values) = (None, None, None, 0);
        let mut thrift = Thrift(bytes);
        thrift.structure(|thrift, id, kind| {
            match (id, kind) {
                (1, I32) => page = Some(thrift.size()?),
                (2, I32) => uncompressed = Some(thrift.size()?),
                (3, I32) => compressed = Some(thrift.size()?),
                // Of a data page of either version.
                (5 | 8, STRUCT) => thrift.structure(|thrift, id, kind| match (id, kind) {
                    (1, I32) => thrift.size().map(|size| values = size),
                    _ => thrift.skip(kind, DEEPEST),
                })?,
                _ => thrift.skip(kind, DEEPEST)?,
            }
            Some(())
        })?;
        let length = bytes.len() - thrift.0.len();
        Some(Self { kind: page?, compressed: compressed?, uncompressed: uncompressed?, values, length })
    }
}

/// Bytes that are yet to be read.
struct Thrift<'a>(&'a [u8]);

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Seven bits a byte, the lowest first; the highest bit says that another byte follows.
    fn variable(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A number whose lowest bit is its sign.
    fn integer(&mut self) -> Option<i64> {
        let value = self.variable()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number that is not negative.
    fn size(&mut self) -> Option<u32> {
        self.integer()?.try_into().ok()
    }

    /// The fields of a structure: number and type of each, whose value `read` takes.
    fn structure(&mut self, mut read: impl FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut id = 0i64;
        loop {
            let byte = self.byte()?;
            let (step, kind) = (byte >> 4, byte & 0xf);
            match (step, kind) {
                (_, 0) => return Some(()),
                (0, _) => id = self.integer()?,
                _ => id = id.checked_add(step.into())?,
            }
            read(self, id, kind)?;
        }
    }

    /// Goes over a value of a type; pages have no lists.
    fn skip(&mut self, kind: u8, deepest: usize) -> Option<()> {
        match kind {
            1 | 2 => Some(()),
            3 => self.byte().map(drop),
            4..=6 => self.variable().map(drop),
            7 => self.skip_bytes(8),
            8 => {
                let bytes = self.variable()?;
                self.skip_bytes(usize::try_from(bytes).ok()?)
            }
            STRUCT if deepest > 0 => self.structure(|thrift, _, kind| thrift.skip(kind, deepest - 1)),
            _ => None,
        }
    }

    fn skip_bytes(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_to_its_end_and_not_beyond() {
        // Data page: 300 bytes, 70 compressed, a checksum, 3 values of some encoding, and statistics.
        let page = [
            0x15, 0, 0x15, 0xd8, 0x04, 0x15, 0x8c, 0x01, 0x15, 0x0f, 0x1c, 0x15, 6, 0x15, 0, 0x15, 6, 0x15,
            6, 0x1c, 0x18, 2, b'a', b'b', 0x16, 2, 0, 0, 0,
        ];
        let expected =
            Header { kind: DATA, compressed: 70, uncompressed: 300, values: 3, length: page.len() };
        assert_eq!(Header::parse(&page), Some(expected));
        let followed = [&page[..], &[0xff; 9]].concat();
        assert_eq!(Header::parse(&followed), Some(expected));
        for cut in 0..page.len() {
            assert_eq!(Header::parse(&page[..cut]), None, "{cut} bytes");
        }
    }

    #[test]
    fn what_is_no_header_is_known() {
        for bytes in
            [&[0xff; 40][..], b"PAR1", &[0x19, 0], &[0x1c; 40], &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf]]
        {
            assert_eq!(Header::parse(bytes), None, "{bytes:?}");
        }
    }
}
