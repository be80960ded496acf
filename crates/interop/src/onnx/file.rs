//! The model on the disk, in one file or two.

use std::ffi::OsString;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use whole::{NewFile, Unwritten};

use crate::onnx::error::OnnxError;
use crate::onnx::proto::{EXTERNAL, Model, StringEntry, Tensor};

/// Smaller tensors stay inside, where tools that know no external data expect shapes and axes.
const SMALLEST_OUTSIDE: usize = 1024;
/// A page, so that runtimes can map tensors into memory.
const ALIGNMENT: u64 = 4096;

/// Writes a model; one of `inline_limit` bytes and more keeps its weights in `<path>.data`.
pub(super) fn save(mut model: Model, path: &Path, inline_limit: usize) -> Result<(), OnnxError> {
    let named = path.file_name().is_some() && !path.is_dir();
    let name = named.then(|| with_suffix(path, ".data")).ok_or_else(|| OnnxError::Name(path.to_owned()))?;
    let mut outside = None;
    if model.encoded_len() >= inline_limit {
        let mut file = NewFile::create(&name)?;
        let moved = move_outside(&mut model, &name, &mut file).and_then(|()| file.sync());
        moved.map_err(Unwritten::at(&name))?;
        outside = Some(file);
    }
    let mut file = NewFile::create(path)?;
    file.write_all(&model.encode_to_vec()).and_then(|()| file.sync()).map_err(Unwritten::at(path))?;
    outside.map_or(Ok(()), NewFile::finish)?;
    Ok(file.finish()?)
}

/// Moves all large tensors of the model into a file.
fn move_outside(model: &mut Model, path: &Path, file: &mut NewFile) -> io::Result<()> {
    let location = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let initializers = model.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    for tensor in initializers {
        let Some(bytes) = tensor.raw_data.take_if(|bytes| bytes.len() >= SMALLEST_OUTSIDE) else { continue };
        let end = file.stream_position()?;
        let offset = end.next_multiple_of(ALIGNMENT);
        file.write_all(&vec![0; (offset - end) as usize])?;
        file.write_all(&bytes)?;
        point_outside(tensor, &location, offset, bytes.len());
    }
    Ok(())
}

fn point_outside(tensor: &mut Tensor, location: &str, offset: u64, length: usize) {
    let entry = |key: &str, value: String| StringEntry { key: key.to_owned(), value };
    tensor.data_location = Some(EXTERNAL);
    tensor.external_data = vec![
        entry("location", location.to_owned()),
        entry("offset", offset.to_string()),
        entry("length", length.to_string()),
    ];
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
