//! Named tensors: what modules are saved to and loaded from.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

use crate::entry::Entry;
use crate::load_report::LoadReport;
use crate::parameter_names::ParameterNames;
use crate::state_dict_error::StateDictError;

/// Tensors by name, in the order of their names.
///
/// ```
/// use checkpoint::{Entry, StateDict};
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("model.safetensors");
/// let mut dict = StateDict::default();
/// dict.insert("head.bias".to_owned(), Entry { shape: vec![2], values: vec![0.5, -0.5] });
/// dict.save(&file)?;
/// assert_eq!(StateDict::load(&file)?, dict);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

impl StateDict {
    /// The parameters of a module.
    pub fn of_module<M: Module>(module: &M, name: &dyn Fn(&str) -> String) -> Self {
        let mut collect =
            Collect { names: ParameterNames::new(name), gradients: None, found: Self::default() };
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
            Collect { names: ParameterNames::new(name), gradients: Some(gradients), found: Self::default() };
        module.visit(&mut collect);
        collect.found
    }

    /// Gives the parameters of a module these values, wherever name and shape agree.
    pub fn apply_to<M: Module>(&self, module: M, name: &dyn Fn(&str) -> String) -> (M, LoadReport) {
        let report =
            LoadReport { unused: self.names().map(str::to_owned).collect(), ..LoadReport::default() };
        let mut apply = Apply { names: ParameterNames::new(name), dict: self, report };
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

    /// The first tensor by name that holds NaN or infinity, among those that `of_interest` picks, and
    /// how many of its numbers are so.
    pub fn first_non_finite(&self, of_interest: impl Fn(&str) -> bool) -> Option<(&str, usize)> {
        let mut picked = self.iter().filter(|(name, _)| of_interest(name));
        picked.find_map(|(name, entry)| {
            let count = entry.values.iter().filter(|value| !value.is_finite()).count();
            (count > 0).then_some((name, count))
        })
    }

    /// The first tensor by name that holds anything but zeros, among those that `of_interest` picks.
    pub fn first_non_zero(&self, of_interest: impl Fn(&str) -> bool) -> Option<&str> {
        let mut picked = self.iter().filter(|(name, _)| of_interest(name));
        picked.find(|(_, entry)| entry.values.iter().any(|value| *value != 0.0)).map(|(name, _)| name)
    }

    /// Refuses tensors that hold NaN or infinity.
    ///
    /// # Errors
    /// The first of them by name.
    pub fn require_finite(&self) -> Result<(), StateDictError> {
        match self.first_non_finite(|_| true) {
            Some((name, count)) => Err(StateDictError::NotFinite { name: name.to_owned(), count }),
            None => Ok(()),
        }
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct Collect<'a> {
    names: ParameterNames<'a>,
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
    names: ParameterNames<'a>,
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
    use crate::state_dict_error::StateDictError;
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
}
