//! The footer of a Parquet file, which says what is in it.

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::chunk::Read;

/// What a file begins and ends with.
const MAGIC: &[u8] = b"PAR1";
/// What a file ends with whose footer is encrypted.
const ENCRYPTED: &[u8] = b"PARE";
/// Bytes behind the footer: its length, and the mark of the end.
const END: u64 = 8;
/// Bytes of a footer at most: lists in memory take a multiple of what they claim.
const LARGEST: u64 = 64 << 20;

/// Reads the footer of a file of so many bytes.
///
/// # Errors
/// No whole Parquet file; as a predicate of it.
pub(super) fn read(bytes: u64, read: Read) -> Result<ParquetMetaData, String> {
    let stretch = |at, bytes| read(at, bytes).map_err(|error| format!("cannot be read: {error}"));
    let least = MAGIC.len() as u64 + END;
    if bytes < least || stretch(0, MAGIC.len())? != MAGIC {
        return Err("is no Parquet file; if it is a pointer of Git LFS, download the file itself".to_owned());
    }
    let end = stretch(bytes - END, END as usize)?;
    let (length, mark) = end.split_at(4);
    if mark == ENCRYPTED {
        return Err("is encrypted, which is not read".to_owned());
    }
    if mark != MAGIC {
        return Err("is cut off: it has no footer; download it again".to_owned());
    }
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    if length > (bytes - least).min(LARGEST) {
        return Err(format!("is damaged: its footer claims {length} bytes; download it again"));
    }
    let footer = stretch(bytes - END - length, length as usize)?;
    let damaged = |error| format!("is damaged: its footer cannot be read ({error}); download it again");
    ParquetMetaDataReader::decode_metadata(&footer).map_err(damaged)
}
