//! ConvNeXt V2, node by node.
//!
//! Between stem and head, values are `[batch, height, width, channels]`: LayerNorm, the linear layers
//! and GRN want channels last, only convolutions want them second. Two things are computed other than
//! the paper writes them, and come to the same but for rounding; onnxruntime then runs Atto at batch 8
//! about a quarter faster than timm's own export:
//!
//! * GRN's γ · (x · n) + β + x is x · (γ · n + 1) + β, one pass over 4C channels less;
//! * its β goes through the linear layer that follows once, when the file is written, and becomes
//!   part of that layer's bias.

use model::ConvNextV2Config;
use model::activation::Activation;
use model::conv::DEPTHWISE_KERNEL;
use model::epsilon::LAYER_NORM as EPSILON;

use crate::onnx::error::OnnxError;
use crate::onnx::graph::{Graph, Side, float, int, ints};

const CHANNELS_LAST: [i64; 4] = [0, 2, 3, 1];
const CHANNELS_SECOND: [i64; 4] = [0, 3, 1, 2];

/// Adds the network that `config` describes.
pub(super) fn build(graph: &mut Graph, config: &ConvNextV2Config) -> Result<(), OnnxError> {
    let free = |name: &str| Side::Free(name.to_owned());
    let pixels = [free("batch"), Side::Fixed(config.num_channels), free("height"), free("width")];
    graph.input("pixel_values", &pixels);
    let constants = Constants::new(graph, config.hidden_act);
    let x = encoder(graph, config, &constants)?;
    let channels = config.last_hidden_size();
    let pooled = graph.node("ReduceMean", "pool", &[&x], &[ints("axes", &[1, 2]), int("keepdims", 0)]);
    if config.num_labels == 0 {
        let stride = config.total_stride();
        let side = |name: &str| Side::Free(format!("{name} / {stride}"));
        transpose(graph, "last_hidden_state", &x, CHANNELS_SECOND);
        norm(graph, ("pooler_output", "norm"), &pooled, channels, config.layer_norm_eps)?;
        let map = [free("batch"), Side::Fixed(channels), side("height"), side("width")];
        graph.output("last_hidden_state", &map);
        graph.output("pooler_output", &[free("batch"), Side::Fixed(channels)]);
        return Ok(());
    }
    let pooled = norm(graph, ("norm", "norm"), &pooled, channels, config.layer_norm_eps)?;
    let weight = graph.parameter("head.weight", &[config.num_labels, channels])?;
    let bias = graph.parameter("head.bias", &[config.num_labels])?;
    graph.node("Gemm", "logits", &[&pooled, &weight, &bias], &[int("transB", 1)]);
    graph.output("logits", &[free("batch"), Side::Fixed(config.num_labels)]);
    Ok(())
}

/// Numbers that every block needs, by their names in the graph.
struct Constants {
    activation: Activation,
    half: String,
    one: String,
    /// √2, or √(2/π) and 0.044715.
    gelu: Vec<String>,
    grn_epsilon: String,
    sites: String,
}

impl Constants {
    fn new(graph: &mut Graph, activation: Activation) -> Self {
        let gelu: &[f64] = match activation {
            Activation::Gelu => &[std::f64::consts::SQRT_2],
            Activation::GeluNew => {
                &[std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2, 0.044715]
            }
            Activation::Relu | Activation::Silu => &[],
        };
        let mut scalar = |name: &str, value: f64| graph.floats(name, &[], &[value as f32]);
        let gelu: Vec<_> =
            gelu.iter().enumerate().map(|(i, value)| scalar(&format!("gelu.{i}"), *value)).collect();
        let half = if gelu.is_empty() { String::new() } else { scalar("half", 0.5) };
        let (one, grn_epsilon) = (scalar("one", 1.0), scalar("grn.epsilon", 1e-6));
        Self { activation, half, one, gelu, grn_epsilon, sites: graph.integers("grn.sites", &[1, 2]) }
    }
}

/// Stem and stages: pixels → the last map, channels last.
fn encoder(graph: &mut Graph, config: &ConvNextV2Config, constants: &Constants) -> Result<String, OnnxError> {
    let sizes = &config.hidden_sizes;
    let stem = Conv { inputs: config.num_channels, outputs: sizes[0], kernel: config.patch_size };
    let x = stem.add(graph, "downsample_layers.0.0", "pixel_values")?;
    let mut x = norm(graph, ("downsample_layers.0.1", "downsample_layers.0.1"), &x, sizes[0], EPSILON)?;
    for (i, (&channels, &depth)) in sizes.iter().zip(&config.depths).enumerate() {
        if i > 0 {
            let name = format!("downsample_layers.{i}");
            let normed = format!("{name}.0");
            x = norm(graph, (&normed, &normed), &x, sizes[i - 1], EPSILON)?;
            x = transpose(graph, &format!("{name}.0.nchw"), &x, CHANNELS_SECOND);
            let conv = Conv { inputs: sizes[i - 1], outputs: channels, kernel: 2 };
            x = conv.add(graph, &format!("{name}.1"), &x)?;
        }
        for j in 0..depth {
            x = block(graph, &format!("stages.{i}.{j}"), &x, channels, constants)?;
        }
    }
    Ok(x)
}

/// A convolution whose stride is its kernel: channels second → channels last.
struct Conv {
    inputs: usize,
    outputs: usize,
    kernel: usize,
}

impl Conv {
    fn add(&self, graph: &mut Graph, name: &str, x: &str) -> Result<String, OnnxError> {
        let Self { inputs, outputs, kernel } = *self;
        let weight = graph.parameter(&format!("{name}.weight"), &[outputs, inputs, kernel, kernel])?;
        let bias = graph.parameter(&format!("{name}.bias"), &[outputs])?;
        let sides = [kernel as i64; 2];
        let attributes = [ints("kernel_shape", &sides), ints("strides", &sides)];
        let y = graph.node("Conv", &format!("{name}.nchw"), &[x, &weight, &bias], &attributes);
        Ok(transpose(graph, name, &y, CHANNELS_LAST))
    }
}

/// The block of the paper's figure 5.
fn block(
    graph: &mut Graph,
    name: &str,
    x: &str,
    channels: usize,
    constants: &Constants,
) -> Result<String, OnnxError> {
    let at = |part: &str| format!("{name}.{part}");
    let y = depthwise(graph, &at("dwconv"), x, channels)?;
    let y = norm(graph, (&at("norm"), &at("norm")), &y, channels, EPSILON)?;
    let bias = graph.parameter(&at("pwconv1.bias"), &[4 * channels])?;
    let y = linear(graph, &at("pwconv1"), &y, [channels, 4 * channels], &bias)?;
    let y = activation(graph, &at("act"), &y, constants);
    let y = grn_without_beta(graph, &at("grn"), &y, 4 * channels, constants)?;
    let bias = bias_with_beta(graph, name, channels)?;
    let y = linear(graph, &at("pwconv2"), &y, [4 * channels, channels], &bias)?;
    Ok(graph.node("Add", name, &[x, &y], &[]))
}

fn depthwise(graph: &mut Graph, name: &str, x: &str, channels: usize) -> Result<String, OnnxError> {
    let kernel = DEPTHWISE_KERNEL;
    let weight = graph.parameter(&format!("{name}.weight"), &[channels, 1, kernel, kernel])?;
    let bias = graph.parameter(&format!("{name}.bias"), &[channels])?;
    let x = transpose(graph, &format!("{name}.input"), x, CHANNELS_SECOND);
    let attributes = [
        int("group", channels as i64),
        ints("kernel_shape", &[kernel as i64; 2]),
        ints("pads", &[(kernel / 2) as i64; 4]),
    ];
    let y = graph.node("Conv", &format!("{name}.nchw"), &[&x, &weight, &bias], &attributes);
    Ok(transpose(graph, name, &y, CHANNELS_LAST))
}

/// x · Wᵀ + b; `bias` is a constant of the graph.
fn linear(
    graph: &mut Graph,
    name: &str,
    x: &str,
    [inputs, outputs]: [usize; 2],
    bias: &str,
) -> Result<String, OnnxError> {
    let weight = graph.weight(&format!("{name}.weight"), &[outputs, inputs])?;
    let transposed: Vec<f32> =
        (0..inputs).flat_map(|i| (0..outputs).map(move |o| weight[o * inputs + i])).collect();
    let weight = graph.floats(&format!("{name}.weight.transposed"), &[inputs, outputs], &transposed);
    let y = graph.node("MatMul", &format!("{name}.product"), &[x, &weight], &[]);
    Ok(graph.node("Add", name, &[&y, bias], &[]))
}

fn activation(graph: &mut Graph, name: &str, x: &str, constants: &Constants) -> String {
    let Constants { activation, half, one, gelu, .. } = constants;
    let at = |part: &str| format!("{name}.{part}");
    // The order of the nodes is PyTorch's, which is what runtimes look for to fuse them.
    let bend = match activation {
        Activation::Relu => return graph.node("Relu", name, &[x], &[]),
        Activation::Silu => {
            let gate = graph.node("Sigmoid", &at("gate"), &[x], &[]);
            return graph.node("Mul", name, &[x, &gate], &[]);
        }
        Activation::Gelu => {
            let scaled = graph.node("Div", &at("scaled"), &[x, &gelu[0]], &[]);
            graph.node("Erf", &at("erf"), &[&scaled], &[])
        }
        Activation::GeluNew => {
            let square = graph.node("Mul", &at("square"), &[x, x], &[]);
            let cube = graph.node("Mul", &at("cube"), &[&square, x], &[]);
            let cube = graph.node("Mul", &at("cube.scaled"), &[&cube, &gelu[1]], &[]);
            let sum = graph.node("Add", &at("sum"), &[x, &cube], &[]);
            let scaled = graph.node("Mul", &at("scaled"), &[&sum, &gelu[0]], &[]);
            graph.node("Tanh", &at("tanh"), &[&scaled], &[])
        }
    };
    let raised = graph.node("Add", &at("raised"), &[&bend, one], &[]);
    let doubled = graph.node("Mul", &at("doubled"), &[x, &raised], &[]);
    graph.node("Mul", name, &[&doubled, half], &[])
}

/// x · (γ · n + 1), where n is a channel's L2 norm over sites, divided by the mean of these norms
/// over channels.
fn grn_without_beta(
    graph: &mut Graph,
    name: &str,
    x: &str,
    channels: usize,
    constants: &Constants,
) -> Result<String, OnnxError> {
    let at = |part: &str| format!("{name}.{part}");
    let gamma = graph.parameter(&at("gamma"), &[1, 1, 1, channels])?;
    // Not ReduceL2, for which onnxruntime has no vectorised kernel.
    let square = graph.node("Mul", &at("square"), &[x, x], &[]);
    let sum = graph.node("ReduceSum", &at("sum"), &[&square, &constants.sites], &[int("keepdims", 1)]);
    let norm = graph.node("Sqrt", &at("norm"), &[&sum], &[]);
    let mean = graph.node("ReduceMean", &at("mean"), &[&norm], &[ints("axes", &[-1]), int("keepdims", 1)]);
    let divisor = graph.node("Add", &at("divisor"), &[&mean, &constants.grn_epsilon], &[]);
    let response = graph.node("Div", &at("response"), &[&norm, &divisor], &[]);
    let scaled = graph.node("Mul", &at("scaled"), &[&response, &gamma], &[]);
    let factor = graph.node("Add", &at("factor"), &[&scaled, &constants.one], &[]);
    Ok(graph.node("Mul", name, &[x, &factor], &[]))
}

/// The bias of a block's second linear layer, plus what the layer makes of GRN's β.
fn bias_with_beta(graph: &mut Graph, block: &str, channels: usize) -> Result<String, OnnxError> {
    let inputs = 4 * channels;
    let beta = graph.weight(&format!("{block}.grn.beta"), &[1, 1, 1, inputs])?;
    let weight = graph.weight(&format!("{block}.pwconv2.weight"), &[channels, inputs])?;
    let bias = graph.weight(&format!("{block}.pwconv2.bias"), &[channels])?;
    let rows = weight.chunks_exact(inputs);
    let dot = |row: &[f32]| -> f64 { row.iter().zip(beta).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum() };
    let sums: Vec<f32> = bias.iter().zip(rows).map(|(b, row)| (f64::from(*b) + dot(row)) as f32).collect();
    Ok(graph.floats(&format!("{block}.pwconv2.bias.with_beta"), &[channels], &sums))
}

/// LayerNorm over the last side; `(name, weights)` are those of its output and its parameters.
fn norm(
    graph: &mut Graph,
    (name, weights): (&str, &str),
    x: &str,
    channels: usize,
    epsilon: f64,
) -> Result<String, OnnxError> {
    let weight = graph.parameter(&format!("{weights}.weight"), &[channels])?;
    let bias = graph.parameter(&format!("{weights}.bias"), &[channels])?;
    let attributes = [int("axis", -1), float("epsilon", epsilon)];
    Ok(graph.node("LayerNormalization", name, &[x, &weight, &bias], &attributes))
}

fn transpose(graph: &mut Graph, name: &str, x: &str, order: [i64; 4]) -> String {
    graph.node("Transpose", name, &[x], &[ints("perm", &order)])
}
