//! Names of parameters while a module is traversed.

/// The name of the parameter that a traversal is at.
pub struct ParameterNames<'a> {
    path: Vec<String>,
    name: &'a dyn Fn(&str) -> String,
}

impl<'a> ParameterNames<'a> {
    /// Begins at the root of a module; `name` gives the official name of a path.
    pub fn new(name: &'a dyn Fn(&str) -> String) -> Self {
        Self { path: Vec::new(), name }
    }

    /// Goes into a field.
    pub fn enter(&mut self, field: &str) {
        self.path.push(field.to_owned());
    }

    /// Goes back out of it.
    pub fn exit(&mut self) {
        self.path.pop();
    }

    /// The path of the parameter in the module.
    pub fn path(&self) -> String {
        self.path.join(".")
    }

    /// The official name of the parameter.
    pub fn name(&self) -> String {
        (self.name)(&self.path())
    }
}
