//! What a pickle would call, found without interpreting it.
//!
//! The reader leaves calls that it does not know alone, and forgets those that leave no trace in the
//! result. None is executed either way, but a file with a call that has no business in a checkpoint
//! is one to be warned of.

/// What checkpoints call to rebuild tensors and what else they hold.
const HARMLESS: [&str; 25] = [
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.set",
    "__builtin__.set",
    "collections.Counter",
    "collections.OrderedDict",
    "collections.defaultdict",
    "builtins.dict",
    "builtins.int",
    "int",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.PosixPath",
    "torch.Size",
    "torch.Tensor",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch.device",
    "torch.nn.parameter.Parameter",
];

/// Element types, which pickles name as objects.
const ELEMENT_TYPES: [&str; 10] =
    ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"];

/// Whether a name, module and all, has its place in a checkpoint.
pub(crate) fn is_harmless(name: &str) -> bool {
    let element = ["torch.", "numpy."].iter().find_map(|module| name.strip_prefix(module));
    // `torch.FloatStorage`, `torch.storage.UntypedStorage`.
    let storage = name.strip_prefix("torch.").map(|rest| rest.strip_prefix("storage.").unwrap_or(rest));
    HARMLESS.contains(&name)
        || element.is_some_and(|element| ELEMENT_TYPES.contains(&element))
        || storage.is_some_and(|class| !class.contains('.') && class.ends_with("Storage"))
}

/// The first name in a pickle that has none, as far as the pickle can be followed: to the end of
/// those that `torch.save` writes.
pub(crate) fn foreign(pickle: &[u8]) -> Option<String> {
    let mut rest = pickle;
    while let Some((&operation, after)) = rest.split_first() {
        if let b'c' | b'i' = operation {
            let (module, after) = line(after)?;
            let (name, after) = line(after)?;
            let global = format!("{}.{}", String::from_utf8_lossy(module), String::from_utf8_lossy(name));
            if !is_harmless(&global) {
                return Some(global);
            }
            rest = after;
            continue;
        }
        rest = after.get(argument_length(operation, after)?..)?;
    }
    None
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Bytes of an operation's argument (CPython, `pickletools.opcodes`); none at the end and for what is
/// no operation.
fn argument_length(operation: u8, after: &[u8]) -> Option<usize> {
    let counted = |width: usize| {
        let count = after
            .get(..width)?
            .iter()
            .rev()
            .try_fold(0usize, |n, byte| Some(n.checked_mul(256)? + usize::from(*byte)))?;
        count.checked_add(width)
    };
    Some(match operation {
        b'.' => return None,
        b'K' | b'h' | b'q' | 0x80 | 0x82 => 1,
        b'M' | 0x83 => 2,
        b'J' | b'j' | b'r' | 0x84 => 4,
        b'G' | 0x95 => 8,
        b'F' | b'I' | b'L' | b'S' | b'V' | b'P' | b'g' | b'p' => line(after)?.0.len() + 1,
        b'U' | b'C' | 0x8a | 0x8c => counted(1)?,
        b'T' | b'X' | b'B' | 0x8b => counted(4)?,
        0x8d | 0x8e | 0x96 => counted(8)?,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn a_call_is_found_wherever_it_stands() {
        let hidden = b"\x80\x02}X\x04\x00\x00\x00argscargparse\nNamespace\n)\x81}X\x01\x00\x00\x00xcposix\nsystem\nsbs.";
        assert_eq!(foreign(hidden).as_deref(), Some("posix.system"));
        let text = b"\x80\x02X\x0f\x00\x00\x00cposix\nsystem\nX.";
        assert_eq!(foreign(text), None);
        assert_eq!(foreign(b"\x80\x02ccollections\nOrderedDict\n)R."), None);
        assert_eq!(foreign(b"X\xff\xff\xff\xff"), None);
    }
}
