//! Build script of every crate that links libtorch when the feature `tch` is on: its programs and
//! tests look for the libraries where they were linked, so that nothing has to be exported.

use std::path::PathBuf;
use std::{env, fs};

pub(crate) fn main() {
    println!("cargo::rerun-if-changed=../libtorch_rpath.rs");
    if env::var_os("CARGO_FEATURE_TCH").is_none() || env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux")
    {
        return;
    }
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else { return };
    // A program in target/release of a checkout that was moved, then the place as it is now.
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../../.libtorch/torch/lib");
    if let Ok(lib) = fs::canonicalize(libtorch.join("lib")) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
}
