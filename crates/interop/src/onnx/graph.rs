//! A graph that grows node by node.

use std::collections::BTreeSet;

use checkpoint::StateDict;

use crate::onnx::error::OnnxError;
use crate::onnx::proto::{
    Attribute, Dimension, FLOAT, GraphMessage, INT64, Node, Shape, Tensor, TensorType, Type, ValueInfo,
    attribute_type,
};

/// Nodes and initializers so far, and the weights that these come from.
pub(super) struct Graph<'a> {
    weights: &'a StateDict,
    unused: BTreeSet<&'a str>,
    message: GraphMessage,
}

impl<'a> Graph<'a> {
    pub(super) fn new(weights: &'a StateDict) -> Self {
        let message = GraphMessage { name: "convnextv2".into(), ..GraphMessage::default() };
        Self { weights, unused: weights.names().collect(), message }
    }

    /// Values of a weight, which counts as used.
    ///
    /// # Errors
    /// It is missing or has another shape.
    pub(super) fn weight(&mut self, name: &str, shape: &[usize]) -> Result<&'a [f32], OnnxError> {
        let entry = self.weights.get(name).ok_or_else(|| OnnxError::Missing(name.to_owned()))?;
        if entry.shape != shape {
            let (expected, found) = (shape.to_vec(), entry.shape.clone());
            return Err(OnnxError::Shape { name: name.to_owned(), expected, found });
        }
        self.unused.remove(name);
        Ok(&entry.values)
    }

    /// Adds a weight under its own name.
    ///
    /// # Errors
    /// It is missing or has another shape.
    pub(super) fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<String, OnnxError> {
        let values = self.weight(name, shape)?;
        Ok(self.floats(name, shape, values))
    }

    /// Adds a constant tensor; returns its name.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, FLOAT, shape, bytes)
    }

    /// Adds a constant list of integers; returns its name.
    pub(super) fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, INT64, &[values.len()], bytes)
    }

    fn constant(&mut self, name: &str, data_type: i32, shape: &[usize], bytes: Vec<u8>) -> String {
        let dims = shape.iter().map(|side| *side as i64).collect();
        let raw_data = Some(bytes);
        self.message.initializer.push(Tensor {
            dims,
            data_type,
            name: name.to_owned(),
            raw_data,
            ..Tensor::default()
        });
        name.to_owned()
    }

    /// Adds a node whose only output has the node's name; returns it.
    pub(super) fn node(&mut self, op: &str, name: &str, inputs: &[&str], attributes: &[Attribute]) -> String {
        self.message.node.push(Node {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op.to_owned(),
            attribute: attributes.to_vec(),
        });
        name.to_owned()
    }

    pub(super) fn input(&mut self, name: &str, shape: &[Side]) {
        self.message.input.push(value(name, shape));
    }

    pub(super) fn output(&mut self, name: &str, shape: &[Side]) {
        self.message.output.push(value(name, shape));
    }

    /// The whole graph.
    ///
    /// # Errors
    /// Weights that no node uses.
    pub(super) fn finish(self) -> Result<GraphMessage, OnnxError> {
        match self.unused.first() {
            None => Ok(self.message),
            Some(first) => Err(OnnxError::Unused { count: self.unused.len(), first: (*first).to_owned() }),
        }
    }
}

/// One side of an input or output.
pub(super) enum Side {
    Fixed(usize),
    /// Known when the network runs; equal names mean equal sides.
    Free(String),
}

fn value(name: &str, shape: &[Side]) -> ValueInfo {
    let dimension = |side: &Side| match side {
        Side::Fixed(side) => Dimension { dim_value: Some(*side as i64), dim_param: None },
        Side::Free(name) => Dimension { dim_value: None, dim_param: Some(name.clone()) },
    };
    let shape = Some(Shape { dim: shape.iter().map(dimension).collect() });
    let tensor_type = Some(TensorType { elem_type: FLOAT, shape });
    ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type }) }
}

pub(super) fn int(name: &str, value: i64) -> Attribute {
    let r#type = attribute_type::INT;
    Attribute { name: name.to_owned(), i: Some(value), r#type, ..Attribute::default() }
}

pub(super) fn ints(name: &str, values: &[i64]) -> Attribute {
    let r#type = attribute_type::INTS;
    Attribute { name: name.to_owned(), ints: values.to_vec(), r#type, ..Attribute::default() }
}

pub(super) fn float(name: &str, value: f64) -> Attribute {
    let r#type = attribute_type::FLOAT;
    Attribute { name: name.to_owned(), f: Some(value as f32), r#type, ..Attribute::default() }
}
