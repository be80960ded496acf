//! The build script finds NCCL's headers where the packages of both releases of CUDA have them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../nccl_headers.rs"]
mod search;

use std::fs;
use std::path::{Path, PathBuf};

use search::nccl_headers;

const CUDA_13: [&str; 7] = [
    "nccl/include/nccl.h",
    "cu13/include/cuda.h",
    "cu13/include/cublas_v2.h",
    "cu13/include/cusolverDn.h",
    "cu13/include/cusparse.h",
    "cu13/include/crt/host_config.h",
    "cu13/include/nv/target",
];
const CUDA_12: [&str; 7] = [
    "nccl/include/nccl.h",
    "cuda_runtime/include/cuda.h",
    "cublas/include/cublas_v2.h",
    "cusolver/include/cusolverDn.h",
    "cusparse/include/cusparse.h",
    "cuda_nvcc/include/crt/host_config.h",
    "cuda_cccl/include/nv/target",
];

/// A site-packages folder of a release of torch, with these files of NVIDIA's.
fn site(cuda: Option<&str>, nvidia: &[&str]) -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    fs::create_dir(site.path().join("torch")).unwrap();
    if let Some(cuda) = cuda {
        let version =
            format!("__version__ = '2'\ncuda: Optional[str] = '{cuda}'\nhip: Optional[str] = None\n");
        fs::write(site.path().join("torch/version.py"), version).unwrap();
    }
    nvidia.iter().for_each(|file| touch(&site.path().join("nvidia").join(file)));
    site
}

fn touch(file: &Path) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, "").unwrap();
}

/// The folders that are found, below `nvidia`.
fn found(site: &tempfile::TempDir) -> Vec<String> {
    let folders = nccl_headers(&site.path().join("torch"), None).unwrap();
    let nvidia = site.path().join("nvidia");
    folders.iter().map(|folder| folder.strip_prefix(&nvidia).unwrap().display().to_string()).collect()
}

#[test]
fn packages_of_both_releases_have_all_that_is_needed() {
    assert_eq!(found(&site(Some("13.0"), &CUDA_13)), ["cu13/include", "nccl/include"]);
    let twelve = ["cublas", "cuda_cccl", "cuda_nvcc", "cuda_runtime", "cusolver", "cusparse", "nccl"]
        .map(|package| format!("{package}/include"));
    assert_eq!(found(&site(Some("12.8"), &CUDA_12)), twelve);
    // Without version.py, as in a libtorch that is not Python's.
    assert_eq!(found(&site(None, &CUDA_12)), twelve);
}

#[test]
fn packages_that_an_upgrade_left_behind_do_not_come_first() {
    let both = [&CUDA_13[..], &CUDA_12].concat();
    assert_eq!(found(&site(Some("13.0"), &both))[0], "cu13/include");
    // torch for CUDA 12 cannot take the headers of 13, and has its own.
    assert_eq!(found(&site(Some("12.8"), &both)).len(), 7);
}

#[test]
fn what_is_missing_is_named_with_its_package() {
    let message = |cuda, nvidia: &[&str]| {
        let site = site(cuda, nvidia);
        nccl_headers(&site.path().join("torch"), None).unwrap_err().to_string()
    };
    // What torch brings by itself: neither crt nor cccl.
    assert_eq!(
        message(Some("13.0"), &CUDA_13[..5]),
        "crt/host_config.h (package nvidia-cuda-crt), nv/target (package nvidia-cuda-cccl)"
    );
    assert_eq!(message(Some("12.8"), &CUDA_12[..6]), "nv/target (package nvidia-cuda-cccl-cu12)");
    assert_eq!(
        message(None, &CUDA_12[1..]),
        "nccl.h (package nvidia-nccl-cu13, or nvidia-nccl-cu12 for CUDA 12)"
    );
    // torch for CUDA 12 beside the packages of 13 alone.
    assert_eq!(message(Some("12.8"), &CUDA_13).matches("(package").count(), 6);
}

#[test]
fn a_toolkit_has_what_the_packages_lack() {
    let site = site(Some("13.0"), &CUDA_13[..5]);
    let toolkit = tempfile::tempdir().unwrap();
    touch(&toolkit.path().join("include/crt/host_config.h"));
    touch(&toolkit.path().join("include/cccl/nv/target"));
    let folders = nccl_headers(&site.path().join("torch"), Some(toolkit.path())).unwrap();
    let own = |folder: &str| -> PathBuf { toolkit.path().join(folder) };
    assert_eq!(folders[2..], [own("include/cccl"), own("include")]);
}
