//! The model on the disk, in one file or two.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use prost::Message;

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
    if model.encoded_len() >= inline_limit {
        replace(&name, |file| move_outside(&mut model, &name, file))?;
    }
    replace(path, |file| file.write_all(&model.encode_to_vec()))
}

/// Moves all large tensors of the model into a file.
fn move_outside(model: &mut Model, path: &Path, file: &mut BufWriter<File>) -> io::Result<()> {
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

/// Writes a file beside its place and renames it there, so that a kill leaves the old one or the
/// new one.
fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), OnnxError> {
    let temporary = with_suffix(path, ".tmp");
    let written = File::create(&temporary).and_then(|file| {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        fs::rename(&temporary, path)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        OnnxError::Io { path: path.to_owned(), error }
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
