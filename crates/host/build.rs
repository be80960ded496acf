//! Compiles what tch does not bind of libtorch, when the feature `tch` is on.

#[path = "../libtorch_rpath.rs"]
mod libtorch_rpath;

fn main() {
    libtorch_rpath::main();
    #[cfg(feature = "tch")]
    compile_aten();
}

#[cfg(feature = "tch")]
const SOURCES: &[&str] =
    &["aten.cpp", "counter.cpp", "later.cpp", "lists.cpp", "memory.cpp", "staging.cpp", "tf32.cpp"];

#[cfg(feature = "tch")]
fn compile_aten() {
    for file in ["guarded.h"].iter().chain(SOURCES) {
        println!("cargo::rerun-if-changed=src/libtorch/{file}");
    }
    let Some(libtorch) = std::env::var_os("LIBTORCH").map(std::path::PathBuf::from) else {
        println!("cargo::error=LIBTORCH must name a libtorch; scripts/setup_libtorch.sh installs one");
        return;
    };
    let headers = libtorch.join("include");
    if !headers.join("ATen/ATen.h").exists() {
        println!(
            "cargo::error={} has no headers of libtorch; scripts/setup_libtorch.sh installs them",
            headers.display()
        );
        return;
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(&headers)
        .warnings(false)
        // As libtorch itself: some of its classes have other members without.
        .define("NDEBUG", None)
        .files(SOURCES.iter().map(|file| format!("src/libtorch/{file}")))
        .compile("host_aten");
}
