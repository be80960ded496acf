//! Compiles the shim before libtorch's process groups.

#[cfg(feature = "tch")]
mod nccl_headers;

fn main() -> Result<(), String> {
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-changed=nccl_headers.rs");
    #[cfg(feature = "tch")]
    shim::build()?;
    Ok(())
}

#[cfg(feature = "tch")]
mod shim {
    use std::env;
    use std::path::{Path, PathBuf};

    use crate::nccl_headers::nccl_headers;

    pub(super) fn build() -> Result<(), String> {
        let lib = PathBuf::from(
            env::var("DEP_TCH_LIBTORCH_LIB").map_err(|_| "torch-sys does not say where libtorch is")?,
        );
        let torch = lib.parent().ok_or("libtorch's lib folder has no parent")?;
        let include = torch.join("include");
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .file("shim/shim.cpp")
            .include("shim")
            .define("USE_C10D_GLOO", None)
            // As libtorch itself: some of its classes have other members without.
            .define("NDEBUG", None)
            // The headers' warnings are not ours.
            .flag("-isystem")
            .flag(&include)
            .flag("-isystem")
            .flag(include.join("torch/csrc/api/include"));
        let nccl = nccl(torch);
        if let Some(folders) = &nccl {
            build.define("USE_C10D_NCCL", None);
            for folder in folders {
                build.flag("-isystem").flag(folder);
            }
        }
        build.try_compile("c10d_shim").map_err(|error| format!("cannot compile shim/shim.cpp: {error}"))?;
        let cuda = nccl.is_some().then_some("torch_cuda");
        for library in ["torch_cpu", "c10"].into_iter().chain(cuda) {
            println!("cargo:rustc-link-lib={library}");
        }
        println!("cargo:rustc-link-search=native={}", lib.display());
        // For the tests of this crate, so that nothing has to be exported.
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
        Ok(())
    }

    /// The folders of NCCL's headers, for a libtorch that computes on GPUs.
    fn nccl(torch: &Path) -> Option<Vec<PathBuf>> {
        println!("cargo:rerun-if-env-changed=CUDA_HOME");
        if !torch.join("lib/libtorch_cuda.so").exists() {
            return None;
        }
        let toolkit = env::var_os("CUDA_HOME").map(PathBuf::from);
        let folders = nccl_headers(torch, toolkit.as_deref());
        let warn = |missing| {
            println!(
                "cargo:warning=no NCCL, so several GPUs cannot train together: missing beside {}, and in CUDA_HOME, \
                 {missing}; scripts/setup_libtorch.sh --cuda installs them (docs/distributed.md)",
                torch.display()
            );
        };
        folders.map_err(warn).ok()
    }
}
