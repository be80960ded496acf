//! The machine that a pickle is a program for, without the part that runs anything.
//!
//! Tensors and dictionaries are built; every other call leaves an object that holds its name alone.

use std::collections::HashMap;

use super::globals::is_dangerous;
use super::value::{Element, Global, Node, Object, Span, Storage, Tensor, Value};

/// Values that a pickle may make. A checkpoint has some ten thousand; each takes up to a hundred
/// bytes, whatever the file claims.
const MOST_VALUES: usize = 1 << 22;

/// As in PyTorch.
const MOST_DIMENSIONS: usize = 64;

/// Why a pickle is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It breaks off or makes no sense.
    Damaged(String),
    /// It names what runs something.
    Dangerous(String),
}

fn damaged<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(reason.into()))
}

/// A pickle that was read to its end.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    pub(super) root: Value,
    /// The byte after its last.
    pub(super) end: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that starts at a byte.
    ///
    /// # Errors
    /// It is damaged or dangerous.
    pub(super) fn read(bytes: &'a [u8], start: usize) -> Result<Self, Fault> {
        let machine = Machine {
            bytes,
            at: start,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            nodes: Vec::new(),
            made: 0,
        };
        machine.run()
    }

    pub(super) fn text(&self, span: Span) -> &'a str {
        text(self.bytes, span)
    }

    pub(super) fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(index),
            _ => None,
        }
    }

    pub(super) fn object(&self, value: Value) -> Option<&Object> {
        match self.node(value)? {
            Node::Object(object) => Some(object),
            _ => None,
        }
    }

    /// A text, or a number as one.
    pub(super) fn key(&self, value: Value) -> Option<String> {
        match value {
            Value::Text(text) => Some(self.text(text).to_owned()),
            Value::Int(number) => Some(number.to_string()),
            Value::Opaque | Value::Node(_) => None,
        }
    }

    /// All storages that anything is made of.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// A class as Python prints it.
    pub(super) fn name(&self, global: Global) -> String {
        format!("{}.{}", self.text(global.module), self.text(global.name))
    }
}

/// Text that is not UTF-8 is no name of anything that is looked for.
fn text(bytes: &[u8], span: Span) -> &str {
    bytes.get(span.start..span.end).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("\u{fffd}")
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Height of the stack at every open mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    nodes: Vec<Node>,
    /// Values so far.
    made: usize,
}

impl<'a> Machine<'a> {
    /// The letters are those of CPython's `pickletools`.
    fn run(mut self) -> Result<Pickle<'a>, Fault> {
        loop {
            let operation = self.take(1)?.start;
            match self.bytes[operation] {
                b'.' => break,
                // Protocol and frames.
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'N' => self.push(Value::Opaque)?,
                0x88 => self.push(Value::Int(1))?,
                0x89 => self.push(Value::Int(0))?,
                b'K' => self.int(1)?,
                b'M' => self.int(2)?,
                b'J' => self.int(4)?,
                0x8a => self.long(1)?,
                0x8b => self.long(4)?,
                b'I' | b'L' => self.decimal()?,
                b'F' | b'P' => {
                    self.line()?;
                    self.push(Value::Opaque)?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Opaque)?;
                }
                // Numbers that stand for classes, by a list of Python's own.
                code @ 0x82..=0x84 => {
                    self.take([1, 2, 4][usize::from(code - 0x82)])?;
                    self.push(Value::Opaque)?;
                }
                b'U' | 0x8c => self.text(1)?,
                b'T' | b'X' => self.text(4)?,
                0x8d => self.text(8)?,
                b'V' | b'S' => {
                    let line = self.line()?;
                    self.push(Value::Text(self.unquoted(line)))?;
                }
                b'C' => self.bytes(1)?,
                b'B' => self.bytes(4)?,
                0x8e | 0x96 => self.bytes(8)?,
                b'(' => self.mark()?,
                b'0' => self.drop_top()?,
                b'1' => drop(self.pop_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.push(top)?;
                }
                b')' | b']' | 0x8f => self.build(Node::Sequence(Vec::new()))?,
                b't' | b'l' | 0x91 => {
                    let items = self.pop_mark()?;
                    self.build(Node::Sequence(items))?;
                }
                count @ 0x85..=0x87 => {
                    let items = self.pop_many(usize::from(count - 0x84))?;
                    self.build(Node::Sequence(items))?;
                }
                b'}' => self.build(Node::Object(Object::default()))?,
                b'd' => {
                    let items = pairs(&self.pop_mark()?)?;
                    self.build(Node::Object(Object { items, ..Object::default() }))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' | 0x90 => {
                    let items = self.pop_mark()?;
                    self.append(&items)?;
                }
                b's' => {
                    let items = self.pop_many(2)?;
                    self.set_items(&items)?;
                }
                b'u' => {
                    let items = self.pop_mark()?;
                    self.set_items(&items)?;
                }
                b'g' | b'p' => {
                    let line = self.line()?;
                    let index = text(self.bytes, line).parse().map_err(|_| no_sense("a place"))?;
                    self.remember(self.bytes[operation] == b'p', index)?;
                }
                code @ (b'h' | b'q') => {
                    let index = self.number(1)?;
                    self.remember(code == b'q', index)?;
                }
                code @ (b'j' | b'r') => {
                    let index = self.number(4)?;
                    self.remember(code == b'r', index)?;
                }
                0x94 => self.remember(true, self.memo.len() as u64)?,
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                0x93 => match self.pop_many(2)?[..] {
                    [Value::Text(module), Value::Text(name)] => self.global(module, name)?,
                    _ => return damaged("a class whose name is no text"),
                },
                b'i' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let arguments = self.pop_mark()?;
                    self.global(module, name)?;
                    let class = self.pop()?;
                    self.unknown(class, &arguments)?;
                }
                b'o' => {
                    let parts = self.pop_mark()?;
                    let (class, arguments) = parts.split_first().ok_or_else(|| no_sense("an object"))?;
                    self.unknown(*class, arguments)?;
                }
                0x81 => {
                    let parts = self.pop_many(2)?;
                    self.unknown(parts[0], &parts[1..])?;
                }
                0x92 => {
                    let parts = self.pop_many(3)?;
                    self.unknown(parts[0], &parts[1..])?;
                }
                b'R' => {
                    let parts = self.pop_many(2)?;
                    self.reduce(parts[0], parts[1])?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    match self.storage(id) {
                        Some(storage) => self.build(Node::Storage(storage))?,
                        None => self.push(Value::Opaque)?,
                    }
                }
                b'b' => {
                    let state = self.pop()?;
                    if let Value::Node(index) = self.top()?
                        && let Node::Object(object) = &mut self.nodes[index]
                    {
                        object.state = Some(state);
                    }
                }
                other => return damaged(format!("{other:#04x} is no operation of a pickle")),
            }
        }
        let root = self.pop()?;
        Ok(Pickle { bytes: self.bytes, nodes: self.nodes, root, end: self.at })
    }

    /// The next bytes of the pickle.
    fn take(&mut self, count: usize) -> Result<Span, Fault> {
        let span = Span { start: self.at, end: self.at.saturating_add(count) };
        if span.end > self.bytes.len() {
            return damaged("the pickle breaks off");
        }
        self.at = span.end;
        Ok(span)
    }

    /// To the end of the line, without it.
    fn line(&mut self) -> Result<Span, Fault> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return damaged("the pickle breaks off");
        };
        let span = self.take(length + 1)?;
        Ok(Span { end: span.end - 1, ..span })
    }

    /// An unsigned number of so many bytes.
    fn number(&mut self, width: usize) -> Result<u64, Fault> {
        let span = self.take(width)?;
        let bytes = self.bytes[span.start..span.end].iter().rev();
        Ok(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A stretch that is preceded by its length.
    fn counted(&mut self, width: usize) -> Result<Span, Fault> {
        let count = self.number(width)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn push(&mut self, value: Value) -> Result<(), Fault> {
        self.count()?;
        self.stack.push(value);
        Ok(())
    }

    /// Counts what takes memory.
    fn count(&mut self) -> Result<(), Fault> {
        self.count_many(1)
    }

    fn count_many(&mut self, values: usize) -> Result<(), Fault> {
        self.made += values;
        if self.made > MOST_VALUES { damaged(format!("more than {MOST_VALUES} values")) } else { Ok(()) }
    }

    fn build(&mut self, node: Node) -> Result<(), Fault> {
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() - 1))
    }

    fn mark(&mut self) -> Result<(), Fault> {
        self.count()?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn top(&self) -> Result<Value, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(|| no_sense("an operation"))
    }

    fn pop(&mut self) -> Result<Value, Fault> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// As in CPython, a bare mark is discarded like a value.
    fn drop_top(&mut self) -> Result<(), Fault> {
        match self.marks.last() == Some(&self.stack.len()) {
            true => drop(self.marks.pop()),
            false => drop(self.pop()?),
        }
        Ok(())
    }

    /// So many values, the lowest first.
    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count).filter(|rest| *rest >= floor) {
            Some(rest) => Ok(self.stack.split_off(rest)),
            None => damaged("an operation lacks its values"),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, Fault> {
        match self.marks.pop().filter(|mark| *mark <= self.stack.len()) {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => damaged("an operation lacks its values"),
        }
    }

    fn int(&mut self, width: usize) -> Result<(), Fault> {
        let number = self.number(width)?;
        // Of the three only the widest has a sign.
        self.push(Value::Int(if width == 4 { i64::from(number as u32 as i32) } else { number as i64 }))
    }

    /// A number of any length, little-endian with a sign; one too large for 64 bits is no shape.
    fn long(&mut self, width: usize) -> Result<(), Fault> {
        let span = self.counted(width)?;
        let bytes = &self.bytes[span.start..span.end];
        if bytes.len() > 8 {
            return self.push(Value::Opaque);
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(whole)))
    }

    fn decimal(&mut self) -> Result<(), Fault> {
        let line = self.line()?;
        let number = text(self.bytes, line).trim_end_matches(['L', '\r']).parse();
        self.push(number.map_or(Value::Opaque, Value::Int))
    }

    fn text(&mut self, width: usize) -> Result<(), Fault> {
        let span = self.counted(width)?;
        self.push(Value::Text(span))
    }

    fn bytes(&mut self, width: usize) -> Result<(), Fault> {
        self.counted(width)?;
        self.push(Value::Opaque)
    }

    /// A text of protocol 0, whose quotes belong to Python.
    fn unquoted(&self, line: Span) -> Span {
        match &self.bytes[line.start..line.end] {
            [b'\'', .., b'\''] | [b'"', .., b'"'] => Span { start: line.start + 1, end: line.end - 1 },
            _ => line,
        }
    }

    /// Keeps the top value for later, or brings one back.
    fn remember(&mut self, keep: bool, index: u64) -> Result<(), Fault> {
        if keep {
            let top = self.top()?;
            self.count()?;
            self.memo.insert(index, top);
            return Ok(());
        }
        match self.memo.get(&index) {
            Some(value) => self.push(*value),
            None => damaged("a value is used before it is there"),
        }
    }

    fn append(&mut self, items: &[Value]) -> Result<(), Fault> {
        if let Value::Node(index) = self.top()?
            && let Node::Sequence(list) = &mut self.nodes[index]
        {
            list.extend(items);
        }
        Ok(())
    }

    /// Adds to the dictionary, or object that is one, on top; others are passed over.
    fn set_items(&mut self, items: &[Value]) -> Result<(), Fault> {
        let items = pairs(items)?;
        if let Value::Node(index) = self.top()?
            && let Node::Object(object) = &mut self.nodes[index]
        {
            object.items.extend(items);
        }
        Ok(())
    }

    /// Names a class or function; one that runs something ends it all.
    fn global(&mut self, module: Span, name: Span) -> Result<(), Fault> {
        let (in_module, named) = (text(self.bytes, module), text(self.bytes, name));
        if is_dangerous(in_module, named) {
            return Err(Fault::Dangerous(format!("{in_module}.{named}")));
        }
        self.build(Node::Global(Global { module, name }))
    }

    fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(index),
            _ => None,
        }
    }

    fn sequence(&self, value: Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Sequence(items) => Some(items),
            _ => None,
        }
    }

    fn global_at(&self, value: Value) -> Option<Global> {
        match self.node(value)? {
            Node::Global(global) => Some(*global),
            _ => None,
        }
    }

    /// The call of a function with a tuple of arguments.
    fn reduce(&mut self, function: Value, arguments: Value) -> Result<(), Fault> {
        let name = self.global_at(function).map(|g| (text(self.bytes, g.module), text(self.bytes, g.name)));
        let given = self.sequence(arguments).unwrap_or_default().to_vec();
        // One long tuple may be the arguments of many calls.
        self.count_many(given.len())?;
        match name {
            Some(("collections", "OrderedDict")) => {
                let items = given.first().map_or(Ok(Vec::new()), |list| self.listed_pairs(*list))?;
                self.count_many(items.len())?;
                self.build(Node::Object(Object { items, ..Object::default() }))
            }
            Some(("torch._utils", name)) if name.starts_with("_rebuild_tensor") => {
                self.tensor(name, function, &given)
            }
            // A parameter is its data.
            Some(("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")) => {
                self.push(given.first().copied().unwrap_or(Value::Opaque))
            }
            // (function, class, arguments, state) of a tensor of a class of its own.
            Some(("torch._tensor", "_rebuild_from_type_v2")) => {
                let inner = given.first().and_then(|inner| self.global_at(*inner));
                let inner = inner.map(|inner| text(self.bytes, inner.name));
                let arguments = given.get(2).and_then(|inner| self.sequence(*inner)).map(<[Value]>::to_vec);
                match (inner, arguments) {
                    (Some(name), Some(arguments)) => self.tensor(name, function, &arguments),
                    _ => self.unknown(function, &given),
                }
            }
            _ => self.unknown(function, &given),
        }
    }

    /// What a call leaves that is not known: the name.
    fn unknown(&mut self, function: Value, arguments: &[Value]) -> Result<(), Fault> {
        let is_bytes = |value: &Value| matches!(self.node(*value), Some(Node::Storage(_) | Node::Tensor(_)));
        // The calls that make tensors have it among their first.
        let holds_storage = arguments.iter().take(8).any(|value| {
            is_bytes(value) || self.sequence(*value).is_some_and(|inner| inner.iter().take(8).any(is_bytes))
        });
        let class = self.global_at(function);
        self.build(Node::Object(Object { class, holds_storage, ..Object::default() }))
    }

    /// The pairs of a list of pairs, or the items of a dictionary.
    fn listed_pairs(&self, list: Value) -> Result<Vec<(Value, Value)>, Fault> {
        if let Some(Node::Object(object)) = self.node(list) {
            return Ok(object.items.clone());
        }
        let pair = |value: &Value| match self.sequence(*value) {
            Some([key, value]) => Ok((*key, *value)),
            _ => damaged("a dictionary is made of something else than pairs"),
        };
        self.sequence(list).unwrap_or_default().iter().map(pair).collect()
    }

    /// `('storage', class, key, device, length)`, and what of it is seen in files of early PyTorch.
    fn storage(&self, id: Value) -> Option<Storage> {
        let [Value::Text(tag), class, key, _, Value::Int(len), view @ ..] = self.sequence(id)? else {
            return None;
        };
        if text(self.bytes, *tag) != "storage" {
            return None;
        }
        let class = self.global_at(*class)?.name;
        let element = match text(self.bytes, class) {
            "UntypedStorage" => None,
            name => Some(element(name.strip_suffix("Storage")?, class)),
        };
        if !matches!(key, Value::Text(_) | Value::Int(_)) {
            return None;
        }
        let start = match view.first().and_then(|view| self.sequence(*view)) {
            Some([_, Value::Int(offset), _]) => usize::try_from(*offset).ok()?,
            _ => 0,
        };
        Some(Storage { key: *key, element, len: usize::try_from(*len).ok()?, start })
    }

    /// `_rebuild_tensor…(storage, offset, size, stride, …)`; the third version names its type after
    /// two more arguments.
    fn tensor(&mut self, name: &str, function: Value, arguments: &[Value]) -> Result<(), Fault> {
        let third = name == "_rebuild_tensor_v3";
        if !third && !["_rebuild_tensor", "_rebuild_tensor_v2"].contains(&name) {
            return self.unknown(function, arguments);
        }
        let [storage, Value::Int(offset), size, stride, rest @ ..] = arguments else {
            return damaged(format!("`{name}` lacks arguments"));
        };
        let Some(Node::Storage(storage)) = self.node(*storage) else {
            return self.unknown(function, arguments);
        };
        let storage = *storage;
        let element = match third {
            true => rest.get(2).and_then(|class| self.global_at(*class)).map(|class| class.name),
            false => None,
        };
        let element = element.map(|class| element_type(text(self.bytes, class), class));
        let (Some(element), Some(shape), Some(strides), Ok(offset)) =
            (element.or(storage.element), self.sizes(*size), self.sizes(*stride), usize::try_from(*offset))
        else {
            return damaged("a tensor has no type, or a size that is no number");
        };
        if shape.len() != strides.len() {
            return damaged("a tensor has more sizes than strides, or fewer");
        }
        self.count_many(shape.len() + strides.len())?;
        let offset = offset.saturating_add(storage.start);
        let tensor = Tensor { storage, element, offset, shape, strides };
        self.build(Node::Tensor(tensor))
    }

    /// A tuple of numbers, not more than a tensor has dimensions.
    fn sizes(&self, value: Value) -> Option<Vec<usize>> {
        let number = |value: &Value| match value {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        self.sequence(value).filter(|sizes| sizes.len() <= MOST_DIMENSIONS)?.iter().map(number).collect()
    }
}

fn no_sense(what: &str) -> Fault {
    Fault::Damaged(format!("{what} that makes no sense"))
}

fn pairs(items: &[Value]) -> Result<Vec<(Value, Value)>, Fault> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => damaged("a key without a value"),
    }
}

/// The element type of `torch.FloatStorage`, without the ending.
fn element(storage: &str, span: Span) -> Element {
    match storage {
        "Double" => Element::F64,
        "Float" => Element::F32,
        "Half" => Element::F16,
        "BFloat16" => Element::BF16,
        "Long" => Element::I64,
        "Int" => Element::Other(span, 4),
        "Short" => Element::Other(span, 2),
        "Char" | "Byte" | "Bool" => Element::Other(span, 1),
        _ => Element::Other(span, 0),
    }
}

/// The element type that `torch.float32` names.
fn element_type(name: &str, span: Span) -> Element {
    match name {
        "float64" => Element::F64,
        "float32" => Element::F32,
        "float16" => Element::F16,
        "bfloat16" => Element::BF16,
        "int64" => Element::I64,
        _ => Element::Other(span, 0),
    }
}
