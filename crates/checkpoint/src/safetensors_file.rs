//! safetensors files: read through a memory map, written tensor by tensor.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, View};
use serde_json::{Map, Value, json};

use crate::entry::Entry;
use crate::state_dict::StateDict;
use crate::state_dict_error::StateDictError;

/// The header's length is a multiple of this, so that tensors are aligned.
const ALIGNMENT: usize = 8;

impl StateDict {
    /// Writes a safetensors file, one tensor after another without a second copy of all of them, and
    /// waits until it is on the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), StateDictError> {
        let write = || -> std::io::Result<()> {
            let header = self.header();
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(header.as_bytes())?;
            for (_, entry) in self.iter() {
                file.write_all(&View::data(&entry))?;
            }
            file.into_inner()?.sync_all()
        };
        write().map_err(|error| StateDictError::Io { path: path.to_owned(), error })
    }

    /// Names, shapes and places of the tensors as JSON, padded by spaces.
    fn header(&self) -> String {
        let mut tensors = Map::new();
        // A single key: with several, their order in the file would vary from run to run.
        tensors.insert("__metadata__".to_owned(), json!({"format": "pt"}));
        let mut start = 0;
        for (name, entry) in self.iter() {
            let end = start + View::data_len(&entry);
            let place = json!({"dtype": "F32", "shape": entry.shape, "data_offsets": [start, end]});
            tensors.insert(name.to_owned(), place);
            start = end;
        }
        let mut header = Value::Object(tensors).to_string();
        let padded = header.len().next_multiple_of(ALIGNMENT);
        header.extend(std::iter::repeat_n(' ', padded - header.len()));
        header
    }

    /// Reads a safetensors file; half and double precision become single precision. The file is mapped
    /// into memory, not copied, while it is read.
    ///
    /// # Errors
    /// A file that is missing, damaged, of another format, or of another type of element.
    pub fn load(path: &Path) -> Result<Self, StateDictError> {
        let bytes = bytes(path).map_err(|error| StateDictError::Io { path: path.to_owned(), error })?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|error| StateDictError::Format { path: path.to_owned(), reason: error.to_string() })?;
        tensors
            .iter()
            .map(|(name, view)| {
                let entry = Entry::from_le_bytes(view.shape().to_vec(), view.dtype(), view.data());
                let entry = entry.ok_or_else(|| StateDictError::Type {
                    path: path.to_owned(),
                    name: name.to_owned(),
                    dtype: view.dtype(),
                })?;
                Ok((name.to_owned(), entry))
            })
            .collect()
    }
}

/// The bytes of a file: mapped, or read where its file system cannot map.
fn bytes(path: &Path) -> std::io::Result<Box<dyn Deref<Target = [u8]>>> {
    match map(path) {
        Ok(map) => Ok(Box::new(map)),
        Err(_) => Ok(Box::new(std::fs::read(path)?)),
    }
}

fn map(path: &Path) -> std::io::Result<Mmap> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    // SAFETY: the map is only read, by a parser that checks every offset against its length, and is
    // gone when `load` returns. A process that shortens the file in between would make reading end
    // this one by a signal, and so can one that removes it on another machine of a network file system;
    // checkpoints are renamed into place, never rewritten.
    #[allow(unsafe_code, reason = "a mapped file may change beneath the map")]
    unsafe {
        Mmap::map(&file)
    }
}

impl View for &Entry {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(&self.values[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dict() -> StateDict {
        let entry = |n: usize| Entry { shape: vec![n], values: (0..n).map(|i| i as f32 * 0.5).collect() };
        [("b.weight", 3), ("a \"quoted\"", 5), ("empty", 0)]
            .into_iter()
            .map(|(name, n)| (name.to_owned(), entry(n)))
            .collect()
    }

    #[test]
    fn what_is_streamed_is_what_the_format_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        dict().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(
            read.tensor("b.weight").unwrap().data(),
            [0.0f32, 0.5, 1.0].map(f32::to_le_bytes).as_flattened()
        );
        let (length, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(length % ALIGNMENT, 0);
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
        // Only the order within the header differs from what the library writes in one piece.
        let whole =
            safetensors::serialize(dict().iter(), Some([("format".to_owned(), "pt".to_owned())].into()));
        let whole = whole.unwrap();
        assert_eq!((whole.len(), &whole[8 + length..]), (bytes.len(), &bytes[8 + length..]));
        assert_eq!(StateDict::load(&path).unwrap(), dict());
    }

    #[test]
    fn a_mapped_file_that_is_empty_or_a_folder_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty.safetensors");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(StateDict::load(&path), Err(StateDictError::Format { .. })));
        assert!(matches!(StateDict::load(dir.path()), Err(StateDictError::Io { .. })));
    }
}
