//! What a pickle describes, as far as weights need it.

/// A stretch of the pickle's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A value: small ones as they are, others by their place among the [`Node`]s, so that one that
/// occurs twice is kept once and a circle is no danger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// What no tensor is made of: fractions, bytes, objects that are nothing but a call.
    Opaque,
    /// A whole number or a truth value.
    Int(i64),
    /// A text, as it stands in the pickle.
    Text(Span),
    Node(usize),
}

/// A value with parts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// A tuple, list or set.
    Sequence(Vec<Value>),
    Object(Object),
    Global(Global),
    Storage(Storage),
    Tensor(Tensor),
}

/// A class or function by its module and name; never looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Global {
    pub(super) module: Span,
    pub(super) name: Span,
}

/// A dictionary, or an object of any class with what was put into it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Object {
    /// None for a plain or ordered dictionary.
    pub(super) class: Option<Global>,
    /// Keys and values, in the order in which they were set.
    pub(super) items: Vec<(Value, Value)>,
    /// Its attributes.
    pub(super) state: Option<Value>,
    /// Whether it was made of the bytes of a tensor: a kind of tensor that is not known here.
    pub(super) holds_storage: bool,
}

/// Bytes outside the pickle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Storage {
    /// Its name in the file, a text or a number.
    pub(super) key: Value,
    /// None where the bytes have no type of their own.
    pub(super) element: Option<Element>,
    /// Elements, or bytes if they have no type.
    pub(super) len: usize,
    /// The first element of a view, in files of early PyTorch.
    pub(super) start: usize,
}

/// Type of the elements of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    /// One that no weight has, by its name and bytes, if they are known.
    Other(Span, usize),
}

impl Element {
    /// Bytes of one; 0 if that is not known.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Other(_, bytes) => bytes,
        }
    }
}

/// A tensor: where its elements lie in a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) element: Element,
    /// First element, counted from the start of the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Elements from one index of a dimension to the next.
    pub(super) strides: Vec<usize>,
}
