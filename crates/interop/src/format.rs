//! The formats that networks go out in.

use std::fmt;

/// What [`export`](crate::export) writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For Hugging Face transformers: `AutoModelForImageClassification`, `ConvNextV2Model`.
    Transformers,
    /// For `timm.create_model("local-dir:DIR", pretrained=True)`.
    Timm,
    /// For the official code: `checkpoint.pth`, and the dense names as `model.safetensors`.
    Official,
    /// For onnxruntime and the like: `model.onnx`.
    Onnx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transformers => "transformers",
            Self::Timm => "timm",
            Self::Official => "official",
            Self::Onnx => "onnx",
        }
    }
}
