//! `train-cli init`: from a folder of images to configurations that suit it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use data::transform::Raster;
use data::{DataConfig, Format, ImageSource, Labels, Split, Task, splits};
use rayon::prelude::*;

use crate::args::InitArgs;
use crate::output::out;
use crate::suited::{Found, HELD_OUT, Labelled, fine_tuning, pretraining};

/// Images that are looked at.
const SAMPLE: usize = 32;

pub(crate) fn run(args: &InitArgs) -> Result<()> {
    let path =
        args.data.to_str().with_context(|| format!("{}: the name is not UTF-8", args.data.display()))?;
    let data = DataConfig { path: Some(args.data.clone()), ..DataConfig::default() };
    let images = data.open(Labels::Ignored)?;
    let (side, unreadable) = usual_side(&images)?;
    let found = Found {
        path: Some(path.to_owned()),
        images: images.len(),
        side,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let labelled = data
        .open(Labels::Required)
        .map_err(anyhow::Error::from)
        .and_then(|images| labels(&args.data, &*images));
    let name = match &args.name {
        Some(name) if name.is_empty() || name.contains(is_odd) => {
            bail!("--name {name:?}: names have letters, digits, - and _; --out names the folder")
        }
        Some(name) => name.clone(),
        None => name_of(&args.data),
    };
    let out = args.out.as_deref().unwrap_or(Path::new(""));
    let [first, second] = ["pretrain", "finetune"].map(|kind| out.join(format!("{name}_{kind}.toml")));
    for file in [&first, &second] {
        if file.exists() && !args.overwrite {
            bail!("{} exists; --overwrite replaces it, --name or --out choose another one", file.display());
        }
    }
    out!("images       {}, usually of {} pixels or more a side", found.images, found.side);
    if unreadable > 0 {
        out!("unreadable   {unreadable} of the {} that were tried", found.images.min(SAMPLE));
    }
    let mut files = vec![(&*first, pretraining(&shown(&first), &found))];
    match &labelled {
        Ok((words, labelled)) => {
            out!("labels       {words}");
            let run = format!("runs/{name}_pretrain");
            files.push((&*second, fine_tuning(&shown(&second), &run, &found, labelled)));
        }
        Err(reason) => {
            out!("labels       none, so there is no configuration for fine-tuning: {reason:#}");
        }
    }
    write(&files)?;
    out!("next         train-cli pretrain --config {}", shown(&first));
    if labelled.is_ok() {
        out!("then         train-cli finetune --config {}", shown(&second));
    }
    Ok(())
}

/// The median of the shorter sides of some images, of those that can be read, and how many cannot.
fn usual_side(images: &Arc<dyn ImageSource>) -> Result<(usize, usize)> {
    let count = images.len().min(SAMPLE);
    let sides: Vec<_> = (0..count)
        .into_par_iter()
        .map(|index| {
            let (width, height) = images.get(index * images.len() / count)?.image.dimensions();
            Ok(width.min(height) as usize)
        })
        .collect();
    let (mut readable, mut unreadable) = (Vec::new(), None);
    for side in sides {
        match side {
            Ok(side) => readable.push(side),
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    let damaged = count - readable.len();
    readable.sort_unstable();
    match (readable.get(readable.len() / 2), unreadable) {
        (Some(side), _) => Ok((*side, damaged)),
        (None, Some::<data::DataError>(error)) => {
            Err(error).context(
            "none of the images that were tried can be read as a picture (docs/data.md has a configuration for \
             images of other channels)",
        )
        }
        (None, None) => bail!("there are no images"),
    }
}

/// What there is to learn, in words and in numbers.
fn labels(path: &Path, images: &dyn ImageSource) -> Result<(String, Labelled)> {
    let names = images.classes();
    let of_class = images.task() == Task::Class;
    if let (true, [only]) = (of_class, names) {
        bail!("{only} is the only class, which leaves nothing to tell apart");
    }
    let is_divided = splits(path, Format::Auto)?.contains(&Split::Val);
    // As fine-tuning will divide them.
    let data = DataConfig {
        path: Some(path.to_owned()),
        val_fraction: (!is_divided).then_some(HELD_OUT),
        ..DataConfig::default()
    };
    let trained = data.open_divided(0, None)?.training.len();
    let mut counts = vec![0; names.len()];
    (0..images.len()).filter_map(|index| images.label(index)).for_each(|class| counts[class as usize] += 1);
    let largest = counts.iter().max().copied().unwrap_or(0);
    let smallest = counts.iter().min().copied().unwrap_or(0);
    let words = match images.task() {
        Task::Class => format!("{} classes of {smallest} to {largest} images", names.len()),
        Task::Labels => format!("{} classes, any number an image", names.len()),
        Task::Numbers => format!("{} numbers an image", names.len()),
    };
    let labelled = Labelled {
        trained,
        extremes: of_class.then_some([largest, smallest]),
        is_divided,
        has_classes: images.task() != Task::Numbers,
    };
    Ok((words, labelled))
}

/// The name of a folder or file, as a name of files and runs.
fn name_of(data: &Path) -> String {
    // A pattern of shards is no path.
    let path = fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let stem = stem.map_or("images".into(), |stem| stem.to_string_lossy());
    stem.replace(is_odd, "_")
}

/// Whether a character may not be in a name of files and runs.
fn is_odd(c: char) -> bool {
    !c.is_alphanumeric() && !"-_".contains(c)
}

/// A file as a command in a shell names it.
fn shown(file: &Path) -> String {
    let name = file.display().to_string();
    let is_plain = name.chars().all(|c| c.is_alphanumeric() || "-_./~".contains(c));
    if is_plain { name } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

fn write(files: &[(&Path, String)]) -> Result<()> {
    for folder in files.iter().filter_map(|(file, _)| file.parent()) {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    whole::write_all(files.iter().map(|(file, text)| (*file, text.as_bytes())))?;
    files.iter().for_each(|(file, _)| out!("written      {}", file.display()));
    Ok(())
}
