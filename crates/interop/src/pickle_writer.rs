//! PyTorch files as `torch.save({"model": state_dict})` writes them: an archive of a pickle
//! (protocol 2) and the bytes of every tensor.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use checkpoint::{Entry, StateDict};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::error::InteropError;

/// Writes tensors under the key `model`; `torch.load` reads them with `weights_only=True`.
pub(crate) fn save(weights: &StateDict, path: &Path) -> Result<(), InteropError> {
    let file = File::create(path).map_err(InteropError::io(path))?;
    archive(weights, Target { file, failure: None }).map_err(InteropError::io(path))
}

/// The file of an archive. It takes everything and remembers the first failure, since an archive that is
/// given up for one tries to end itself, and prints that it cannot.
struct Target {
    file: File,
    failure: Option<io::Error>,
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_none() {
            match self.file.write(bytes) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => self.failure = Some(error),
                written => return written,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Target {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

fn archive(weights: &StateDict, target: Target) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(target));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file("checkpoint/data.pkl", stored)?;
    zip.write_all(&pickle(weights)?)?;
    for (name, text) in [("version", "3\n"), ("byteorder", "little")] {
        zip.start_file(format!("checkpoint/{name}"), stored)?;
        zip.write_all(text.as_bytes())?;
    }
    for (key, (_, entry)) in weights.iter().enumerate() {
        zip.start_file(format!("checkpoint/data/{key}"), stored)?;
        for value in &entry.values {
            zip.write_all(&value.to_le_bytes())?;
        }
    }
    let target = zip.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    target.failure.map_or_else(|| target.file.sync_all(), Err)
}

/// `{"model": OrderedDict([(name, tensor), …])}`.
fn pickle(weights: &StateDict) -> io::Result<Vec<u8>> {
    let mut out = Pickle(b"\x80\x02}".to_vec());
    out.text("model");
    out.ordered_dict();
    out.0.push(b'(');
    for (key, (name, entry)) in weights.iter().enumerate() {
        out.text(name);
        out.tensor(key, entry)?;
    }
    // Fills the ordered dict, then the outer one.
    out.0.extend(b"us.");
    Ok(out.0)
}

/// A pickle under construction; the letters are its operations (CPython, `pickletools`).
struct Pickle(Vec<u8>);

impl Pickle {
    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn int(&mut self, value: usize) -> io::Result<()> {
        let value = i32::try_from(value).map_err(|_| io::Error::other("a tensor of 2³¹ elements or more"))?;
        self.0.push(b'J');
        self.0.extend(value.to_le_bytes());
        Ok(())
    }

    fn ints(&mut self, values: &[usize]) -> io::Result<()> {
        self.0.push(b'(');
        values.iter().try_for_each(|value| self.int(*value))?;
        self.0.push(b't');
        Ok(())
    }

    fn ordered_dict(&mut self) {
        self.0.extend(b"ccollections\nOrderedDict\n)R");
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)`.
    fn tensor(&mut self, key: usize, entry: &Entry) -> io::Result<()> {
        self.0.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.0.extend(b"ctorch\nFloatStorage\n");
        self.text(&key.to_string());
        self.text("cpu");
        self.int(entry.values.len())?;
        self.0.extend(b"tQ");
        self.int(0)?;
        self.ints(&entry.shape)?;
        self.ints(&strides(&entry.shape))?;
        self.0.push(b'\x89');
        self.ordered_dict();
        self.0.extend(b"tR");
        Ok(())
    }
}

/// Elements from one index of a dimension to the next, row-major.
fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect()
}
