//! Named tensors: what modules are saved to and loaded from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use safetensors::{Dtype, SafeTensors, View};

/// One tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// As many elements as the shape says.
    pub values: Vec<f32>,
}

impl Entry {
    /// From little-endian elements; half, double and integers become single precision. None for
    /// other types of element, and where there are more or fewer elements than the shape says.
    pub fn from_le_bytes(shape: Vec<usize>, dtype: Dtype, bytes: &[u8]) -> Option<Self> {
        let elements = shape.iter().try_fold(1usize, |product, side| product.checked_mul(*side))?;
        let values = to_f32(dtype, bytes).filter(|values| values.len() == elements)?;
        Some(Self { shape, values })
    }
}

/// Tensors by name, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateDict(BTreeMap<String, Entry>);

impl FromIterator<(String, Entry)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, Entry)>>(tensors: I) -> Self {
        Self(tensors.into_iter().collect())
    }
}

impl IntoIterator for StateDict {
    type Item = (String, Entry);
    type IntoIter = std::collections::btree_map::IntoIter<String, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Why a file of tensors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDictError {
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Not a whole safetensors file.
    #[error("{} is no complete safetensors file ({reason}); it is damaged or of another format", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// A tensor of a type that is not supported.
    #[error("{}: tensor `{name}` is of type {dtype:?}; supported are F64, F32, F16, BF16 and I64", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
    },
    /// The tensors are those of another network.
    #[error("{0}")]
    Mismatch(String),
}

/// How the names and shapes of a state dict fit a module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadReport {
    /// Parameters that the state dict lacks; they keep their values.
    pub missing: Vec<String>,
    /// Tensors that the module has no parameter for.
    pub unused: Vec<String>,
    /// Name, shape in the module, shape in the state dict; the parameters keep their values.
    pub mismatched: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl LoadReport {
    /// Whether every parameter got its tensor and every tensor its parameter.
    ///
    /// # Errors
    /// Names the first tensor of another shape, and what is missing or unused.
    pub fn require_complete(&self) -> Result<(), StateDictError> {
        let mut problems = Vec::new();
        if let Some((name, expected, found)) = self.mismatched.first() {
            let others = match self.mismatched.len() - 1 {
                0 => String::new(),
                count => format!(" (and {count} more of another shape)"),
            };
            problems.push(format!("`{name}`: expected {expected:?}, found {found:?}{others}"));
        }
        for (what, names) in [("missing", &self.missing), ("not known to this model", &self.unused)] {
            if !names.is_empty() {
                let few: Vec<_> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
                let dots = if names.len() > 3 { ", …" } else { "" };
                problems.push(format!("{} {what}: {}{dots}", names.len(), few.join(", ")));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(StateDictError::Mismatch(problems.join("; "))) }
    }
}

impl StateDict {
    /// The parameters of a module.
    pub fn of_module<M: Module>(module: &M, name: &dyn Fn(&str) -> String) -> Self {
        let mut collect = Collect { names: Names::new(name), gradients: None, found: Self::default() };
        module.visit(&mut collect);
        collect.found
    }

    /// The gradients of a module's parameters; those without one are left out.
    pub fn of_gradients<M: Module>(
        module: &M,
        gradients: &GradientsParams,
        name: &dyn Fn(&str) -> String,
    ) -> Self {
        let mut collect =
            Collect { names: Names::new(name), gradients: Some(gradients), found: Self::default() };
        module.visit(&mut collect);
        collect.found
    }

    /// Gives the parameters of a module these values, wherever name and shape agree.
    pub fn apply_to<M: Module>(&self, module: M, name: &dyn Fn(&str) -> String) -> (M, LoadReport) {
        let report =
            LoadReport { unused: self.names().map(str::to_owned).collect(), ..LoadReport::default() };
        let mut apply = Apply { names: Names::new(name), dict: self, report };
        let module = module.map(&mut apply);
        (module, apply.report)
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: String, entry: Entry) {
        self.0.insert(name, entry);
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All tensors, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes a safetensors file and waits until it is on the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), StateDictError> {
        let io = |error| StateDictError::Io { path: path.to_owned(), error };
        // A single key: with several, their order in the file would vary from run to run.
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let bytes = safetensors::serialize(self.iter(), Some(metadata));
        let bytes = bytes.map_err(|error| io(std::io::Error::other(error.to_string())))?;
        let mut file = File::create(path).map_err(io)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)
    }

    /// Reads a safetensors file; half and double precision become single precision.
    ///
    /// # Errors
    /// A file that is missing, damaged, of another format, or of another type of element.
    pub fn load(path: &Path) -> Result<Self, StateDictError> {
        let bytes =
            std::fs::read(path).map_err(|error| StateDictError::Io { path: path.to_owned(), error })?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|error| StateDictError::Format { path: path.to_owned(), reason: error.to_string() })?;
        tensors
            .iter()
            .map(|(name, view)| {
                let entry = Entry::from_le_bytes(view.shape().to_vec(), view.dtype(), view.data());
                let entry = entry.ok_or_else(|| StateDictError::Type {
                    path: path.to_owned(),
                    name: name.to_owned(),
                    dtype: view.dtype(),
                })?;
                Ok((name.to_owned(), entry))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

// Converts one tensor at a time: no second copy of all of them.
impl View for &Entry {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(&self.values[..])
    }
}

/// Little-endian floats of any width as single precision.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    use burn::tensor::{bf16, f16};
    Some(match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        // Counters, in files of other programs.
        Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect(),
        _ => return None,
    })
}

/// The name of the parameter that a traversal is at.
pub(crate) struct Names<'a> {
    path: Vec<String>,
    name: &'a dyn Fn(&str) -> String,
}

impl<'a> Names<'a> {
    pub(crate) fn new(name: &'a dyn Fn(&str) -> String) -> Self {
        Self { path: Vec::new(), name }
    }

    pub(crate) fn enter(&mut self, field: &str) {
        self.path.push(field.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.path.pop();
    }

    /// Path in the module.
    pub(crate) fn path(&self) -> String {
        self.path.join(".")
    }

    /// Official name.
    pub(crate) fn name(&self) -> String {
        (self.name)(&self.path())
    }
}

struct Collect<'a> {
    names: Names<'a>,
    /// Collect these instead of the parameters.
    gradients: Option<&'a GradientsParams>,
    found: StateDict,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, field: &str, _container: &str) {
        self.names.enter(field);
    }

    fn exit_module(&mut self, _field: &str, _container: &str) {
        self.names.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.gradients {
            None => Some(param.val()),
            Some(gradients) => gradients.get::<D>(param.id),
        };
        if let Some(tensor) = tensor {
            self.found.insert(self.names.name(), entry(tensor));
        }
    }
}

/// A tensor's shape and values, read back from its device.
fn entry<const D: usize>(tensor: Tensor<D>) -> Entry {
    let shape = tensor.dims().to_vec();
    let values = tensor.into_data().convert::<f32>().try_into_vec();
    Entry { shape, values: values.expect("data was just converted to f32") }
}

struct Apply<'a> {
    names: Names<'a>,
    dict: &'a StateDict,
    report: LoadReport,
}

impl ModuleMapper for Apply<'_> {
    fn enter_module(&mut self, field: &str, _container: &str) {
        self.names.enter(field);
    }

    fn exit_module(&mut self, _field: &str, _container: &str) {
        self.names.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.names.name();
        let Some(entry) = self.dict.get(&name) else {
            self.report.missing.push(name);
            return param;
        };
        self.report.unused.retain(|unused| *unused != name);
        let expected = param.dims().to_vec();
        if expected != entry.shape {
            self.report.mismatched.push((name, expected, entry.shape.clone()));
            return param;
        }
        param.map(|old| {
            let data = TensorData::new(entry.values.clone(), entry.shape.clone());
            Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Toy, name};
    use burn::tensor::Device;

    #[test]
    fn a_module_survives_a_round_trip_through_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, device) = (dir.path().join("a.safetensors"), Device::flex());
        let saved = StateDict::of_module(&Toy::new(1.0, &device), &name);
        assert_eq!(saved.names().collect::<Vec<_>>(), ["toy.a.0.w", "toy.a.1.w", "toy.b"]);
        saved.save(&path).unwrap();
        let first = std::fs::read(&path).unwrap();
        saved.save(&path).unwrap();
        assert_eq!(first, std::fs::read(&path).unwrap());
        let (toy, report) = StateDict::load(&path).unwrap().apply_to(Toy::new(5.0, &device), &name);
        report.require_complete().unwrap();
        assert_eq!(StateDict::of_module(&toy, &name), saved);
    }

    /// Id and `requires_grad` of every parameter.
    #[derive(Default)]
    struct Identity(Vec<(u64, bool)>);

    impl ModuleVisitor for Identity {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push((param.id.val(), param.is_require_grad()));
        }
    }

    #[test]
    fn loading_changes_neither_ids_nor_what_is_frozen() {
        let device = Device::flex().autodiff();
        let identity = |toy: &Toy| {
            let mut identity = Identity::default();
            toy.visit(&mut identity);
            identity.0
        };
        let dict = StateDict::of_module(&Toy::new(1.0, &device), &name);
        for (toy, trained) in [(Toy::new(5.0, &device), true), (Toy::new(5.0, &device).no_grad(), false)] {
            let before = identity(&toy);
            let (toy, _) = dict.apply_to(toy, &name);
            assert_eq!(identity(&toy), before);
            assert!(before.iter().all(|(_, found)| *found == trained));
        }
    }

    #[test]
    fn what_does_not_fit_is_named_and_left_alone() {
        let device = Device::flex();
        let mut dict = StateDict::of_module(&Toy::new(1.0, &device), &name);
        dict.insert("toy.b".into(), Entry { shape: vec![7], values: vec![0.0; 7] });
        dict.insert("other".into(), Entry { shape: vec![1], values: vec![0.0] });
        dict.0.remove("toy.a.1.w");
        let fresh = Toy::new(5.0, &device);
        let before = StateDict::of_module(&fresh, &name);
        let (toy, report) = dict.apply_to(fresh, &name);
        let message = report.require_complete().unwrap_err().to_string();
        assert!(message.contains("`toy.b`: expected [3], found [7]"), "{message}");
        assert!(message.contains("1 missing: `toy.a.1.w`") && message.contains("`other`"), "{message}");
        let after = StateDict::of_module(&toy, &name);
        assert_eq!(after.get("toy.b"), before.get("toy.b"));
        assert_eq!(after.get("toy.a.0.w"), dict.get("toy.a.0.w"));
    }

    #[test]
    fn damaged_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        StateDict::of_module(&Toy::new(1.0, &Device::flex()), &name).save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for damaged in [&bytes[..bytes.len() - 4], &bytes[..20], b"not a tensor file"] {
            std::fs::write(&path, damaged).unwrap();
            let error = StateDict::load(&path).unwrap_err();
            assert!(matches!(error, StateDictError::Format { .. }), "{error}");
            assert!(error.to_string().contains("a.safetensors"), "{error}");
        }
    }

    #[test]
    fn half_precision_becomes_single() {
        assert_eq!(to_f32(Dtype::BF16, &[0x80, 0x3f]), Some(vec![1.0]));
        assert_eq!(to_f32(Dtype::F16, &[0x00, 0xc0]), Some(vec![-2.0]));
        assert_eq!(to_f32(Dtype::F64, &0.5f64.to_le_bytes()), Some(vec![0.5]));
        assert_eq!(to_f32(Dtype::U8, &[0; 8]), None);
    }
}
