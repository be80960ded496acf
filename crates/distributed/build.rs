//! Compiles the shim before libtorch's process groups.

fn main() -> Result<(), String> {
    println!("cargo:rerun-if-changed=shim");
    #[cfg(feature = "tch")]
    shim::build()?;
    Ok(())
}

#[cfg(feature = "tch")]
mod shim {
    use std::env;
    use std::path::{Path, PathBuf};

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
            // The headers' warnings are not ours.
            .flag("-isystem")
            .flag(&include)
            .flag("-isystem")
            .flag(include.join("torch/csrc/api/include"));
        let nccl = nccl_headers(torch);
        if let Some(folders) = &nccl {
            build.define("USE_C10D_NCCL", None);
            for folder in folders {
                build.flag("-isystem").flag(folder);
            }
        } else {
            println!(
                "cargo:warning=no NCCL: its headers are not beside {} (docs/distributed.md says which \
                 packages have them); gradients of CUDA devices will go through the host",
                torch.display()
            );
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

    /// Where NCCL's header and those of CUDA that it needs are, if all are there: in the packages of
    /// NVIDIA that lie beside torch in a site-packages folder, or in CUDA_HOME.
    fn nccl_headers(torch: &Path) -> Option<Vec<PathBuf>> {
        println!("cargo:rerun-if-env-changed=CUDA_HOME");
        let nvidia = torch.parent()?.join("nvidia");
        let cuda = env::var("CUDA_HOME").map(PathBuf::from).ok();
        let mut folders = vec![nvidia.join("nccl/include"), nvidia.join("cu13/include")];
        folders.extend(cuda.map(|cuda| cuda.join("include")));
        folders.retain(|folder| folder.is_dir());
        let needed = [
            "nccl.h",
            "cuda.h",
            "cublas_v2.h",
            "cusolverDn.h",
            "cusparse.h",
            "crt/host_config.h",
            "nv/target",
        ];
        needed
            .iter()
            .all(|header| folders.iter().any(|folder| folder.join(header).is_file()))
            .then_some(folders)
    }
}
