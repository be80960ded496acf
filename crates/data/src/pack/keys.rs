//! The names of images in shards.

use std::collections::HashSet;
use std::path::Path;

use crate::error::EXTENSIONS;
use crate::image_list::name_below;
use crate::source::{ImageSource, Split};

/// A name for each image of a part, no two the same: that below the data folder, without its ending, the
/// folder of the part and the shard that it comes from. Its last component has no dot, where an ending would
/// begin.
pub(super) fn keys(images: &dyn ImageSource, root: &Path, split: Option<Split>) -> Vec<String> {
    let mut taken = HashSet::with_capacity(images.len());
    let free = |key: String| {
        let others = (2..).map(|number| format!("{key}_{number}"));
        let free = [key.clone()].into_iter().chain(others).find(|key| !taken.contains(key));
        let key = free.unwrap_or(key);
        taken.insert(key.clone());
        key
    };
    let names = (0..images.len()).map(|index| name_below(root, &images.name(index)));
    names.map(|name| key(&name, split)).map(free).collect()
}

fn key(name: &str, split: Option<Split>) -> String {
    let parts = name.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    let mut parts: Vec<&str> = parts.filter(|part| !part.to_lowercase().ends_with(".tar")).collect();
    if parts.len() > 1 && split.is_some() && Split::named(parts[0]) == split {
        parts.remove(0);
    }
    let last = parts.pop().unwrap_or("image");
    let stem = match last.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && is_image_ending(ending) => stem,
        _ => last,
    };
    let stem = stem.replace('.', "_");
    parts.push(&stem);
    parts.join("/")
}

/// Whether files that end so are read as images.
pub(super) fn is_image_ending(ending: &str) -> bool {
    EXTENSIONS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_recognisable() {
        for (name, split, right) in [
            ("cat/001.jpg", None, "cat/001"),
            ("train/cat/IMG.2021.JPG", Some(Split::Train), "cat/IMG_2021"),
            ("Training/1.png", Some(Split::Train), "1"),
            ("val/1.png", Some(Split::Train), "val/1"),
            ("v1.0/a.b/x.jpeg", None, "v1.0/a.b/x"),
            ("train-000003.tar/cat/7.webp", Some(Split::Train), "cat/7"),
            ("train[12]", Some(Split::Train), "train[12]"),
            ("data/train-00000-of-00002.parquet:4", None, "data/train-00000-of-00002_parquet:4"),
            ("/home/photos/../x.jpg", None, "home/photos/x"),
        ] {
            assert_eq!(key(name, split), right);
        }
    }
}
