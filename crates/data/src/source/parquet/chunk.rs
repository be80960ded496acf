//! A column of a row group: its pages, and the values in them.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::header::{DATA, DATA_V2, DICTIONARY, Header};

/// Bytes in which the header of a page is looked for, the second time where there are long statistics.
const HEADER: [u64; 2] = [256, 64 << 10];
/// Bytes of a page that may be claimed whatever it is compressed to: labels that are all the same take next
/// to nothing.
const UNCHECKED: u64 = 64 << 20;
/// How much more than its compressed size a larger page may be: what gzip reaches.
const RATIO: u64 = 1032;

/// Reads a stretch of a file: where it begins, and its bytes.
pub(super) type Read<'a> = &'a dyn Fn(u64, usize) -> std::io::Result<Vec<u8>>;

/// A column of a row group.
pub(super) struct Chunk {
    column: ColumnChunkMetaData,
    rows: usize,
    start: u64,
    end: u64,
}

/// The pages of a column.
pub(super) struct Pages {
    /// Values that pages refer to.
    dictionary: Option<Place>,
    pub(super) data: Vec<Place>,
}

/// A page.
pub(super) struct Place {
    offset: u64,
    bytes: usize,
    pub(super) first_row: usize,
    pub(super) rows: usize,
}

impl Chunk {
    /// Column number `column` of a row group, in a file of so many bytes.
    ///
    /// # Errors
    /// One that does not lie in the file; as a predicate of the file.
    pub(super) fn new(
        group: &RowGroupMetaData,
        column: usize,
        rows: usize,
        bytes: u64,
    ) -> Result<Self, String> {
        let column = group.columns().get(column).ok_or("is damaged: a row group lacks a column")?.clone();
        // Some writers say 0 where there is no dictionary.
        let dictionary = column.dictionary_page_offset().filter(|offset| *offset > 0);
        let start = column.data_page_offset().min(dictionary.unwrap_or(i64::MAX));
        let (start, length) = (u64::try_from(start).ok(), u64::try_from(column.compressed_size()).ok());
        let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
        match (start, end.filter(|end| *end <= bytes)) {
            (Some(start), Some(end)) => Ok(Self { column, rows, start, end }),
            _ => Err("is damaged: a column lies beyond its end".to_owned()),
        }
    }

    /// Bytes in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Finds the pages, by their headers.
    ///
    /// # Errors
    /// Pages that are not those of this column, in words.
    pub(super) fn pages(&self, read: Read) -> Result<Pages, String> {
        let mut pages = Pages { dictionary: None, data: Vec::new() };
        let (mut at, mut row) = (self.start, 0);
        while at < self.end && row < self.rows {
            let header = self.header(at, read)?;
            let bytes = header.length + header.compressed as usize;
            let place = |rows| Place { offset: at, bytes, first_row: row, rows };
            match header.kind {
                DATA | DATA_V2 => {
                    let rows = header.values as usize;
                    if rows > self.rows - row {
                        return Err("a page claims more rows than there are".to_owned());
                    }
                    pages.data.push(place(rows));
                    row += rows;
                }
                DICTIONARY if pages.dictionary.is_none() => pages.dictionary = Some(place(0)),
                _ => {}
            }
            at += bytes as u64;
        }
        match row == self.rows {
            true => Ok(pages),
            false => Err(format!("its pages hold {row} of {} rows", self.rows)),
        }
    }

    /// The header of a page, whose claims are possible.
    fn header(&self, at: u64, read: Read) -> Result<Header, String> {
        let left = self.end - at;
        for bytes in HEADER {
            let bytes = read(at, bytes.min(left) as usize).map_err(|error| error.to_string())?;
            let Some(header) = Header::parse(&bytes) else { continue };
            let (compressed, uncompressed) = (u64::from(header.compressed), u64::from(header.uncompressed));
            let claimed = self.column.uncompressed_size().try_into().unwrap_or(0);
            let most = (compressed * RATIO).max(UNCHECKED).min(claimed);
            return match compressed <= left - header.length as u64 && uncompressed <= most {
                true => Ok(header),
                false => Err("a page claims a size that it cannot have".to_owned()),
            };
        }
        Err("a page has no header".to_owned())
    }

    /// The values of a page, one a row; none where they are null.
    ///
    /// # Errors
    /// A page that cannot be read, in words.
    pub(super) fn values<T: DataType>(
        &self,
        pages: &Pages,
        page: &Place,
        read: Read,
    ) -> Result<Vec<Option<T::T>>, String> {
        let content = self.page(page, read)?;
        let refers = matches!(content.encoding(), Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY);
        let dictionary = match (&pages.dictionary, refers) {
            (Some(dictionary), true) => Some(self.page(dictionary, read)?),
            (None, true) => return Err("a page refers to values that are not there".to_owned()),
            (_, false) => None,
        };
        let descriptor = self.column.column_descr_ptr();
        let (nullable, present) = (descriptor.max_def_level() > 0, descriptor.max_def_level());
        let queue = Queue(dictionary.into_iter().chain([content]).collect());
        let (rows, levels, values) = caught(|| {
            let (mut levels, mut values) = (Vec::new(), Vec::new());
            let (rows, ..) = ColumnReaderImpl::<T>::new(descriptor, Box::new(queue)).read_records(
                page.rows,
                Some(&mut levels),
                None,
                &mut values,
            )?;
            Ok((rows, levels, values))
        })?;
        if rows != page.rows {
            return Err(format!("a page holds {rows} of {} rows", page.rows));
        }
        let mut values = values.into_iter();
        Ok(match nullable {
            true => {
                levels.into_iter().map(|level| if level == present { values.next() } else { None }).collect()
            }
            false => values.map(Some).collect(),
        })
    }

    /// Reads and decompresses a page.
    fn page(&self, place: &Place, read: Read) -> Result<Page, String> {
        let bytes = Bytes::from(read(place.offset, place.bytes).map_err(|error| error.to_string())?);
        let page = caught(|| {
            // A column of this page alone, so that no other one is read.
            let alone = self.column.clone().into_builder().set_dictionary_page_offset(None);
            let alone =
                alone.set_data_page_offset(0).set_total_compressed_size(place.bytes as i64).build()?;
            SerializedPageReader::new(Arc::new(bytes), &alone, place.rows, None)?.get_next_page()
        });
        page?.ok_or_else(|| "a page is empty".to_owned())
    }
}

/// Calls the library, which panics on some damaged pages, as on a dictionary that claims more values than it
/// has bytes for.
fn caught<T>(call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    // Nothing that a call has changed is used after it has panicked.
    let called = panic::catch_unwind(AssertUnwindSafe(call)).map_err(|_| "a page is damaged".to_owned())?;
    called.map_err(|error| error.to_string())
}

/// Pages in memory, as the library's reader of columns takes them.
struct Queue(VecDeque<Page>);

impl PageReader for Queue {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        Ok(self.0.pop_front())
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        Ok(self.0.front().map(|page| PageMetadata {
            num_rows: None,
            num_levels: Some(page.num_values() as usize),
            is_dict: page.is_dictionary_page(),
        }))
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.0.pop_front();
        Ok(())
    }
}

impl Iterator for Queue {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
