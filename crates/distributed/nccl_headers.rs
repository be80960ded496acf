//! Where the headers are that NCCL's process group includes. Part of the build script; its tests are in
//! `tests/nccl_headers.rs`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Headers that `ProcessGroupNCCL.hpp` comes to, each the first of its package to be missed. The
/// packages are those of CUDA 13 and of CUDA 12.
const NEEDED: [(&str, [&str; 2]); 7] = [
    ("nccl.h", ["nvidia-nccl-cu13", "nvidia-nccl-cu12"]),
    ("cuda.h", ["nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12"]),
    ("cublas_v2.h", ["nvidia-cublas", "nvidia-cublas-cu12"]),
    ("cusolverDn.h", ["nvidia-cusolver", "nvidia-cusolver-cu12"]),
    ("cusparse.h", ["nvidia-cusparse", "nvidia-cusparse-cu12"]),
    ("crt/host_config.h", ["nvidia-cuda-crt", "nvidia-cuda-nvcc-cu12"]),
    ("nv/target", ["nvidia-cuda-cccl", "nvidia-cuda-cccl-cu12"]),
];

/// Headers that are nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The release of CUDA that torch was built for, if that can be told.
    cuda: Option<u32>,
    /// Each with its packages.
    headers: Vec<(&'static str, [&'static str; 2])>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.headers.iter().map(|(header, [cuda13, cuda12])| match self.cuda {
            Some(12) => format!("{header} (package {cuda12})"),
            Some(_) => format!("{header} (package {cuda13})"),
            None => format!("{header} (package {cuda13}, or {cuda12} for CUDA 12)"),
        });
        f.write_str(&list.collect::<Vec<_>>().join(", "))
    }
}

/// The folders of headers in the order in which they are searched, if all that is needed is there: of
/// NVIDIA's packages, which lie beside `torch` in a site-packages folder, and of a CUDA toolkit.
pub(crate) fn nccl_headers(torch: &Path, toolkit: Option<&Path>) -> Result<Vec<PathBuf>, Missing> {
    let cuda = cuda_release(torch);
    let mut folders = packages(torch, cuda);
    folders.extend(toolkit.map(|toolkit| toolkit.join("include")));
    // Toolkits of CUDA 13 keep CCCL, and with it nv/target, in a folder of its own.
    folders = folders.into_iter().flat_map(|folder| [folder.join("cccl"), folder]).collect();
    folders.retain(|folder| folder.is_dir());
    let is_nowhere = |header: &str| !folders.iter().any(|folder| folder.join(header).is_file());
    let headers: Vec<_> = NEEDED.into_iter().filter(|(header, _)| is_nowhere(header)).collect();
    if headers.is_empty() { Ok(folders) } else { Err(Missing { cuda, headers }) }
}

/// `nvidia/*/include`. Packages of CUDA 12 have a folder each, those of 13 share `cu13`. Upgrades leave
/// the old ones behind, so a shared folder comes first, and never is that of another release.
fn packages(torch: &Path, cuda: Option<u32>) -> Vec<PathBuf> {
    let nvidia = torch.with_file_name("nvidia");
    let entries = fs::read_dir(nvidia).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let shared = name.strip_prefix("cu").and_then(|release| release.parse::<u32>().ok());
            let suits = shared.is_none() || cuda.is_none() || shared == cuda;
            suits.then(|| (shared.is_none(), name, entry.path().join("include")))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, _, include)| include).collect()
}

/// The number before the point of `cuda: Optional[str] = '13.0'`, as `torch/version.py` says it.
fn cuda_release(torch: &Path) -> Option<u32> {
    let version = fs::read_to_string(torch.join("version.py")).ok()?;
    let line = version.lines().find(|line| line.starts_with("cuda"))?;
    line.split('\'').nth(1)?.split('.').next()?.parse().ok()
}
