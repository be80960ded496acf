//! PyTorch files: a pickle that describes tensors, and their bytes, in one archive.
//!
//! pytorch-reader interprets the few calls that rebuild tensors and executes nothing; files with
//! other calls than checkpoints need are refused before.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;

use checkpoint::{Entry, StateDict};
use pytorch_reader::{DType, PickleValue, PytorchReader};
use safetensors::Dtype;
use zip::ZipArchive;

use crate::error::InteropError;
use crate::pickle_globals;

/// Where training codes put the weights. A moving average (`model_ema`) is never taken for them.
const KEYS: [&str; 2] = ["model", "state_dict"];

/// The largest pickle that is looked through, as pytorch-reader has it.
const LARGEST_PICKLE: u64 = 100 << 20;

/// Whether these are the first bytes of a PyTorch file: an archive or a bare pickle.
pub(crate) fn is_pickle(start: &[u8]) -> bool {
    // The length of a safetensors header may begin with the byte of a pickle; its brace follows.
    start.starts_with(b"PK") || (start.starts_with(&[0x80]) && start.get(8) != Some(&b'{'))
}

/// The tensors under `model` or `state_dict`, or of a bare state dict.
///
/// # Errors
/// A damaged file, a foreign call, no weights, an unsupported type of element.
pub(crate) fn load(path: &Path) -> Result<StateDict, InteropError> {
    let damaged = |reason: String| InteropError::Pickle { path: path.to_owned(), reason };
    let dangerous = |global| InteropError::ForeignGlobal { path: path.to_owned(), global };
    if let Some(global) = pickle_of(path).and_then(|pickle| pickle_globals::foreign(&pickle)) {
        return Err(dangerous(global));
    }
    let value = PytorchReader::read_pickle_data(path, None).map_err(|error| damaged(error.to_string()))?;
    if let Some(global) = foreign(&value) {
        return Err(dangerous(global));
    }
    let key = weights_key(&value).map_err(|keys| InteropError::NoWeights { path: path.to_owned(), keys })?;
    let reader = match key {
        Some(key) => PytorchReader::with_top_level_key(path, key),
        None => PytorchReader::new(path),
    };
    let tensors = reader.map_err(|error| damaged(error.to_string()))?.into_tensors();
    let file_len = fs::metadata(path).map_err(InteropError::io(path))?.len();
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            // A view may repeat its elements without end; a weight of a file is not larger than it.
            if tensor.byte_len() as u64 > file_len {
                let shape = tensor.shape();
                return Err(damaged(format!("`{name}` of shape {shape:?} is larger than the file")));
            }
            let bytes = tensor.read().map_err(|error| damaged(error.to_string()))?;
            let entry = dtype(tensor.dtype())
                .and_then(|dtype| Entry::from_le_bytes(tensor.shape().to_vec(), dtype, &bytes))
                .ok_or_else(|| damaged(format!("`{name}` is of type {:?}, not a float", tensor.dtype())))?;
            Ok((name, entry))
        })
        .collect()
}

/// The first name in a pickle that has no place in a checkpoint.
fn foreign(value: &PickleValue) -> Option<String> {
    match value {
        PickleValue::Unsupported(name) => (!pickle_globals::is_harmless(name)).then(|| name.clone()),
        PickleValue::List(items) => items.iter().find_map(foreign),
        PickleValue::Dict(items) => items.values().find_map(foreign),
        _ => None,
    }
}

/// The pickle of an archive, or the file if it is a bare pickle.
fn pickle_of(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).ok()?;
    let mut start = [0];
    file.read_exact(&mut start).and_then(|()| file.rewind()).ok()?;
    if start == [0x80] {
        file.take(LARGEST_PICKLE).read_to_end(&mut bytes).ok()?;
    } else {
        let mut archive = ZipArchive::new(&file).ok()?;
        let is_pickle = |name: &String| name == "data.pkl" || name.ends_with("/data.pkl");
        let names = archive.file_names().collect::<Result<Vec<_>, _>>().ok()?;
        let name = names.iter().map(ToString::to_string).find(is_pickle)?;
        archive.by_name(&name).ok()?.take(LARGEST_PICKLE).read_to_end(&mut bytes).ok()?;
    }
    Some(bytes)
}

/// The key of the weights, none for a bare state dict; the keys there are if it is neither.
fn weights_key(value: &PickleValue) -> Result<Option<&'static str>, Vec<String>> {
    let PickleValue::Dict(items) = value else { return Err(Vec::new()) };
    if let Some(key) = KEYS.into_iter().find(|key| matches!(items.get(*key), Some(PickleValue::Dict(_)))) {
        return Ok(Some(key));
    }
    let is_tensor =
        |value: &PickleValue| matches!(value, PickleValue::Unsupported(name) if name == "torch.Tensor");
    if items.values().any(is_tensor) {
        return Ok(None);
    }
    let mut keys: Vec<String> = items.keys().map(|key| format!("`{key}`")).collect();
    keys.sort();
    Err(keys)
}

fn dtype(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        _ => return None,
    })
}
