//! Names that a pickle has no business to mention.
//!
//! Nothing that a pickle names is looked up here, so an unknown class is no danger: it is passed over.
//! Python would call it, and a file that names what runs programs, code or other pickles was made to
//! do harm: it is refused wherever the name stands.

/// Modules of which everything is refused.
const MODULES: [&str; 46] = [
    "os",
    "posix",
    "nt",
    "sys",
    "subprocess",
    "_posixsubprocess",
    "commands",
    "popen2",
    "pty",
    "shutil",
    "socket",
    "_socket",
    "importlib",
    "_frozen_importlib",
    "imp",
    "runpy",
    "zipimport",
    "pkgutil",
    "ctypes",
    "_ctypes",
    "cffi",
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "code",
    "codeop",
    "pdb",
    "bdb",
    "timeit",
    "cProfile",
    "profile",
    "webbrowser",
    "http",
    "urllib",
    "urllib2",
    "requests",
    "ftplib",
    "smtplib",
    "telnetlib",
    "pip",
    "operator",
    "_operator",
    "torch.hub",
    "torch.utils.cpp_extension",
];

/// Functions of other modules.
const FUNCTIONS: [&str; 8] = [
    "torch.load",
    "torch.serialization.load",
    "types.FunctionType",
    "types.CodeType",
    "numpy.load",
    "numpy.f2py.compile",
    "joblib.load",
    "functools.reduce",
];

/// Names of functions that are refused whatever module they come through.
const ANYWHERE: [&str; 22] = [
    "system",
    "popen",
    "Popen",
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "__import__",
    "import_module",
    "getattr",
    "setattr",
    "delattr",
    "globals",
    "breakpoint",
    "runstring",
    "run_path",
    "run_module",
    "check_output",
    "check_call",
    "loads",
    "loadPkl",
];

/// Whether a module and a name in it are one of those.
pub(super) fn is_dangerous(module: &str, name: &str) -> bool {
    let is_in = |path: &str, module: &str| {
        path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let full = format!("{module}.{name}");
    // Python follows the dots of a name, so that a harmless module leads to another: `os.system` of
    // `logging`.
    let inner = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    let mut inner = inner.map(|start| &name[start..]);
    let last = name.rsplit('.').next().unwrap_or(name);
    // An escape hides a name from who reads the file.
    full.contains('\\')
        || ANYWHERE.contains(&last)
        || FUNCTIONS.contains(&&full[..])
        || MODULES.iter().any(|module| is_in(&full, module))
        || inner.any(|path| MODULES.iter().any(|module| is_in(path, module) && path != *module))
}

#[cfg(test)]
mod tests {
    use super::is_dangerous;

    fn split(full: &str) -> (&str, &str) {
        full.split_once(' ').unwrap()
    }

    #[test]
    fn what_runs_something_is_known_by_its_name() {
        for full in [
            "posix system",
            "os path.join",
            "nt system",
            "builtins eval",
            "builtins getattr",
            "__builtin__ execfile",
            "subprocess Popen",
            "torch.hub load",
            "torch hub.load",
            "torch load",
            "logging os.execv",
            "numpy.testing._private.utils runstring",
            "operator attrgetter",
            "\\u006fs name",
            "importlib import_module",
        ] {
            let (module, name) = split(full);
            assert!(is_dangerous(module, name), "{full}");
        }
    }

    #[test]
    fn classes_of_checkpoints_are_no_danger() {
        for full in [
            "collections OrderedDict",
            "torch._utils _rebuild_tensor_v2",
            "torch.torch_version TorchVersion",
            "pathlib._local PosixPath",
            "pathlib WindowsPath",
            "datetime datetime",
            "lightning.fabric.utilities.data AttributeDict",
            "argparse Namespace",
            "numpy._core.multiarray scalar",
            "_codecs encode",
            "functools partial",
            "project.code Config",
            "__main__ Trainer.Options",
            "omegaconf.dictconfig DictConfig",
        ] {
            let (module, name) = split(full);
            assert!(!is_dangerous(module, name), "{full}");
        }
    }
}
