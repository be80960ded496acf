//! The dictionaries of tensors in a pickle, and a tensor out of its storage.

use std::collections::BTreeMap;

use checkpoint::Entry;
use safetensors::Dtype;

use super::machine::Pickle;
use super::value::{Element, Node, Object, Tensor, Value};

/// Keys from the top of a file down to the tensors of a network.
const DEEPEST: usize = 4;

/// Modules within modules, of one that was saved whole.
const DEEPEST_MODULE: usize = 32;

/// Entries that are looked at: dictionaries may hold each other.
const MOST_ENTRIES: usize = 1 << 18;

/// A dictionary of tensors.
#[derive(Debug)]
pub(crate) struct Group {
    /// The keys that lead to it, joined by points; empty at the top.
    pub(crate) key: String,
    pub(super) tensors: BTreeMap<String, Content>,
}

impl Group {
    /// Names of the tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

#[derive(Debug)]
pub(super) enum Content {
    Tensor(Stored),
    /// A kind of tensor that is not read, by what makes it.
    Unknown(String),
}

/// A tensor that has not been read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) storage: String,
    /// The type, or the name of one that no weight has.
    dtype: Result<Dtype, String>,
    width: usize,
    /// Elements that the storage is said to have, if it has a type.
    len: Option<usize>,
    offset: usize,
    pub(super) shape: Vec<usize>,
    strides: Vec<usize>,
}

/// All dictionaries of tensors, those at the top first.
///
/// # Errors
/// More entries than any checkpoint has.
pub(super) fn groups(pickle: &Pickle) -> Result<Vec<Group>, String> {
    let mut search = Search { pickle, groups: Vec::new(), entries: 0 };
    search.dictionary("", pickle.root, 0)?;
    search.groups.sort_by_key(|group| group.key.matches('.').count());
    Ok(search.groups)
}

struct Search<'a> {
    pickle: &'a Pickle<'a>,
    groups: Vec<Group>,
    entries: usize,
}

impl Search<'_> {
    fn dictionary(&mut self, path: &str, value: Value, depth: usize) -> Result<(), String> {
        let Some(object) = self.pickle.object(value) else { return Ok(()) };
        let mut tensors = BTreeMap::new();
        if self.table(object, "_modules").is_some() {
            self.module(object, "", 0, &mut tensors)?;
        } else {
            for (key, value) in self.entries(&object.items)? {
                match self.content(value) {
                    Some(content) => drop(tensors.insert(key, content)),
                    None if depth < DEEPEST => self.dictionary(&joined(path, &key), value, depth + 1)?,
                    None => {}
                }
            }
        }
        if tensors.values().any(|content| matches!(content, Content::Tensor(_))) {
            self.groups.push(Group { key: path.to_owned(), tensors });
        }
        Ok(())
    }

    /// The parameters and buffers of a module that was saved whole, under the names of its state
    /// dictionary.
    fn module(
        &mut self,
        module: &Object,
        path: &str,
        depth: usize,
        tensors: &mut BTreeMap<String, Content>,
    ) -> Result<(), String> {
        for table in ["_parameters", "_buffers"] {
            let items = self.table(module, table).map(|table| table.items.clone()).unwrap_or_default();
            for (name, value) in self.entries(&items)? {
                tensors.extend(self.content(value).map(|content| (joined(path, &name), content)));
            }
        }
        let inner = self.table(module, "_modules").map(|table| table.items.clone()).unwrap_or_default();
        for (name, value) in self.entries(&inner)? {
            if let Some(module) = self.pickle.object(value).filter(|_| depth < DEEPEST_MODULE) {
                self.module(module, &joined(path, &name), depth + 1, tensors)?;
            }
        }
        Ok(())
    }

    /// A dictionary among the attributes of an object.
    fn table(&mut self, object: &Object, name: &str) -> Option<&Object> {
        let state = self.pickle.object(object.state?)?;
        // Searching it counts, so that no file takes for ever.
        self.entries += state.items.len();
        let is_it = |key: &Value| matches!(key, Value::Text(text) if self.pickle.text(*text) == name);
        let (_, value) = state.items.iter().rfind(|(key, _)| is_it(key))?;
        self.pickle.object(*value)
    }

    /// Entries by key; of two under the same the later counts.
    fn entries(&mut self, items: &[(Value, Value)]) -> Result<BTreeMap<String, Value>, String> {
        self.entries += items.len();
        match self.entries > MOST_ENTRIES {
            true => Err(format!("more than {MOST_ENTRIES} entries in its dictionaries")),
            false => {
                Ok(items.iter().filter_map(|(key, value)| Some((self.pickle.key(*key)?, *value))).collect())
            }
        }
    }

    fn content(&self, value: Value) -> Option<Content> {
        match self.pickle.node(value)? {
            Node::Tensor(tensor) => Some(Content::Tensor(stored(self.pickle, tensor))),
            Node::Object(Object { class: Some(class), holds_storage: true, .. }) => {
                Some(Content::Unknown(self.pickle.name(*class)))
            }
            _ => None,
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn stored(pickle: &Pickle, tensor: &Tensor) -> Stored {
    let Tensor { storage, element, offset, shape, strides } = tensor.clone();
    Stored {
        storage: pickle.key(storage.key).unwrap_or_default(),
        dtype: match element {
            Element::F64 => Ok(Dtype::F64),
            Element::F32 => Ok(Dtype::F32),
            Element::F16 => Ok(Dtype::F16),
            Element::BF16 => Ok(Dtype::BF16),
            Element::I64 => Ok(Dtype::I64),
            Element::Other(name, _) => Err(pickle.text(name).trim_end_matches("Storage").to_owned()),
        },
        width: element.bytes(),
        len: storage.element.map(|_| storage.len),
        offset,
        shape,
        strides,
    }
}

impl Stored {
    fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, side| product.checked_mul(*side))
    }

    /// Bytes of all elements; none if there is no such number.
    pub(super) fn bytes(&self) -> Option<usize> {
        self.elements()?.checked_mul(self.width)
    }

    /// The tensor out of its storage.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn entry(&self, storage: &[u8]) -> Result<Entry, String> {
        let dtype = match &self.dtype {
            Ok(dtype) => *dtype,
            Err(name) => return Err(format!("is of type {name}, not a float")),
        };
        let bytes = self.gathered(storage).ok_or("reaches beyond its storage")?;
        Entry::from_le_bytes(self.shape.clone(), dtype, &bytes).ok_or_else(|| "has no size".to_owned())
    }

    /// The bytes of the elements in row-major order; none if they reach beyond the storage.
    fn gathered(&self, storage: &[u8]) -> Option<Vec<u8>> {
        let count = self.elements()?;
        if count == 0 {
            return Some(Vec::new());
        }
        let reach =
            self.shape.iter().zip(&self.strides).try_fold(0usize, |reach, (side, stride)| {
                reach.checked_add((side - 1).checked_mul(*stride)?)
            })?;
        let end = self.offset.checked_add(reach)?.checked_add(1)?;
        if end > storage.len() / self.width || self.len.is_some_and(|len| end > len) {
            return None;
        }
        let element = |index: usize| &storage[index * self.width..][..self.width];
        let dense = (0..self.shape.len()).map(|i| self.shape[i + 1..].iter().product::<usize>());
        if dense
            .zip(&self.shape)
            .zip(&self.strides)
            .all(|((dense, side), stride)| *side == 1 || dense == *stride)
        {
            return Some(storage[self.offset * self.width..end * self.width].to_vec());
        }
        let mut bytes = Vec::with_capacity(count * self.width);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..count {
            let at: usize = index.iter().zip(&self.strides).map(|(index, stride)| index * stride).sum();
            bytes.extend(element(self.offset + at));
            // Counts up, the last dimension fastest.
            for (index, side) in index.iter_mut().zip(&self.shape).rev() {
                *index += 1;
                if *index < *side {
                    break;
                }
                *index = 0;
            }
        }
        Some(bytes)
    }
}
