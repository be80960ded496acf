//! An image as evaluation prepares it for a checkpoint of another program, to hold against theirs.
//!
//! `cargo run --release -p interop --example preprocess -- CHECKPOINT IMAGE OUT.safetensors` writes
//! `pixel_values` `[1, C, H, W]`.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use checkpoint::{Entry, StateDict};
use data::{DataConfig, EvalConfig, decode_file, prepare};
use interop::{Allow, Conventions, open};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, image, output] = &arguments[..] else {
        return Err("usage: preprocess CHECKPOINT IMAGE OUT.safetensors".into());
    };
    let conventions = Conventions { recipe: |_| Err("a run of this project, not of another program".into()) };
    let opened = open(Path::new(checkpoint), None, &Allow::default(), &conventions)?;
    let data: DataConfig = opened.recipe.section("data")?.unwrap_or_default();
    let eval: EvalConfig = opened.recipe.section("eval")?.unwrap_or_default();
    let normalize = eval.normalize(&data, opened.network.config.num_channels)?;
    let image = decode_file(Path::new(image), data.decode(opened.network.config.num_channels))?;
    let (values, shape) = prepare(vec![image], &eval.transform(&data), &normalize)?;
    let pixels = ("pixel_values".to_owned(), Entry { shape: shape.to_vec(), values });
    StateDict::from_iter([pixels]).save(Path::new(output))?;
    Ok(())
}
