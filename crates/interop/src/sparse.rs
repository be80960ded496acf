//! The layout of the official pretraining code, which runs on MinkowskiEngine.
//!
//! A kernel of k×k sites is one matrix per offset, and offset = column·k + row (official
//! `remap_checkpoint_keys`).

use checkpoint::Entry;

/// Whether only the sparse code gives such a name.
pub(crate) fn is_sparse(name: &str) -> bool {
    let in_encoder = ["downsample_layers.", "stages."].iter().any(|p| without_prefix(name).starts_with(p));
    in_encoder && (name.ends_with(".kernel") || name.contains(".ln.") || name.contains(".linear."))
}

/// Training checkpoints hold the encoder under `encoder.`.
pub(crate) fn without_prefix(name: &str) -> &str {
    name.strip_prefix("encoder.").unwrap_or(name)
}

/// A tensor of a sparse checkpoint as the dense code has it. The decoder is dense already.
pub(crate) fn to_dense(name: &str, entry: Entry) -> (String, Entry) {
    let name = without_prefix(name);
    if let Some(layer) = name.strip_suffix(".kernel") {
        return (format!("{layer}.weight"), dense_kernel(entry));
    }
    let name = name.replace(".ln.", ".").replace(".linear.", ".");
    let entry = if name.ends_with(".bias") { as_vector(entry) } else { entry };
    (name, entry)
}

/// A tensor of the encoder as the sparse code has it; the others are the same in both.
pub(crate) fn from_dense(name: &str, entry: &Entry) -> (String, Entry) {
    let parts: Vec<&str> = name.split('.').collect();
    let (layer, entry) = match parts[..] {
        // The stem is dense in both.
        ["downsample_layers", "0", ..] => (name.to_owned(), entry.clone()),
        ["downsample_layers", i, "0", leaf] => (format!("downsample_layers.{i}.0.ln.{leaf}"), entry.clone()),
        ["downsample_layers", i, "1", leaf] => convolution(&format!("downsample_layers.{i}.1"), leaf, entry),
        ["stages", i, j, "dwconv", leaf] => convolution(&format!("stages.{i}.{j}.dwconv"), leaf, entry),
        ["stages", i, j, "norm", leaf] => (format!("stages.{i}.{j}.norm.ln.{leaf}"), entry.clone()),
        ["stages", i, j, linear @ ("pwconv1" | "pwconv2"), leaf] => {
            (format!("stages.{i}.{j}.{linear}.linear.{leaf}"), entry.clone())
        }
        ["stages", _, _, "grn", _] => (name.to_owned(), as_row(entry)),
        _ => return (name.to_owned(), entry.clone()),
    };
    (format!("encoder.{layer}"), entry)
}

fn convolution(layer: &str, leaf: &str, entry: &Entry) -> (String, Entry) {
    match leaf {
        "weight" => (format!("{layer}.kernel"), sparse_kernel(entry)),
        _ => (format!("{layer}.{leaf}"), as_row(entry)),
    }
}

fn as_row(entry: &Entry) -> Entry {
    Entry { shape: vec![1, entry.values.len()], values: entry.values.clone() }
}

fn as_vector(mut entry: Entry) -> Entry {
    if let [1, channels] = entry.shape[..] {
        entry.shape = vec![channels];
    }
    entry
}

/// `[k², in, out]` → `[out, in, k, k]` and, depthwise, `[k², C]` → `[C, 1, k, k]`; other shapes stay
/// as they are, to be refused by name.
fn dense_kernel(entry: Entry) -> Entry {
    let (offsets, inputs, outputs) = match entry.shape[..] {
        [offsets, inputs, outputs] => (offsets, inputs, outputs),
        [offsets, channels] => (offsets, 1, channels),
        _ => return entry,
    };
    let side = offsets.isqrt();
    if side * side != offsets || entry.values.is_empty() {
        return entry;
    }
    let mut values = Vec::with_capacity(entry.values.len());
    for output in 0..outputs {
        for input in 0..inputs {
            for site in 0..offsets {
                let offset = transposed(site, side);
                values.push(entry.values[(offset * inputs + input) * outputs + output]);
            }
        }
    }
    Entry { shape: vec![outputs, inputs, side, side], values }
}

/// The inverse of [`dense_kernel`].
fn sparse_kernel(entry: &Entry) -> Entry {
    let [outputs, inputs, side, _] = entry.shape[..] else { return entry.clone() };
    let sites = side * side;
    let mut values = Vec::with_capacity(entry.values.len());
    for offset in 0..sites {
        let site = transposed(offset, side);
        for input in 0..inputs {
            for output in 0..outputs {
                values.push(entry.values[(output * inputs + input) * sites + site]);
            }
        }
    }
    let depthwise = inputs == 1;
    let shape = if depthwise { vec![sites, outputs] } else { vec![sites, inputs, outputs] };
    Entry { shape, values }
}

/// Row-major ↔ column-major.
fn transposed(index: usize, side: usize) -> usize {
    index % side * side + index / side
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_down_the_columns() {
        // Two inputs, one output, 2×2: offset o of input i holds 10·o + i.
        let values = [0.0, 1.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0].to_vec();
        let sparse = Entry { shape: vec![4, 2, 1], values };
        let dense = dense_kernel(sparse.clone());
        assert_eq!(dense.shape, [1, 2, 2, 2]);
        assert_eq!(dense.values, [0.0, 20.0, 10.0, 30.0, 1.0, 21.0, 11.0, 31.0]);
        assert_eq!(sparse_kernel(&dense), sparse);
    }
}
