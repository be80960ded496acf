//! What is in a shard: its samples, where their images lie, and their labels.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tar::Archive;

use crate::error::EXTENSIONS;
use crate::source::left_out::ending;

/// Unit of a tar archive.
const BLOCK: u64 = 512;
/// Bytes of a class or a description; larger ones are none.
const LARGEST_TEXT: u64 = 1 << 20;

/// What is in a shard.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Scan {
    /// In the order of the shard.
    pub(super) samples: Vec<Scanned>,
    /// Files that belong to no sample, or tell nothing that is used, by kind.
    pub(super) left_out: BTreeMap<String, usize>,
}

impl Scan {
    fn leave_out(&mut self, kind: &str) {
        *self.left_out.entry(kind.to_owned()).or_default() += 1;
    }
}

/// A sample of a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Scanned {
    /// Name of the image in the shard.
    pub(super) name: String,
    /// Where the bytes of the image begin in the shard.
    pub(super) offset: u64,
    /// Bytes of the image.
    pub(super) bytes: u64,
    pub(super) label: Label,
}

/// What a sample says of its class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Label {
    /// Nothing.
    None,
    /// The number of a class.
    Number(u64),
    /// The name of a class.
    Name(String),
    /// Something that is no class: what is wrong with it, as a predicate.
    Wrong(String),
}

/// Reads the headers of a shard of so many bytes, and the small files that tell classes; those in `.json`
/// if a key is given.
///
/// # Errors
/// No whole archive, or one whose files are no samples; as a predicate of the shard.
pub(super) fn scan(mut file: impl Read + Seek, bytes: u64, label_key: Option<&str>) -> Result<Scan, String> {
    if is_gzip(&mut file).map_err(|error| error.to_string())? {
        return Err(format!("is compressed; {UNPACK}"));
    }
    let mut archive = Archive::new(file);
    let mut scanner = Scanner::new(label_key);
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| scanner.broken(&error.to_string()))?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let (kind, path) = (entry.header().entry_type(), entry.path_bytes());
        // Below the shard, whatever folder it was packed from.
        let name = String::from_utf8_lossy(&path).trim_start_matches("./").trim_start_matches('/').to_owned();
        end = offset.checked_add(size).filter(|end| *end <= bytes).ok_or_else(|| scanner.cut_off(&name))?;
        if kind.is_file() {
            scanner.add(Member { name: &name, offset, size }, &mut entry)?;
        } else if !kind.is_dir() && !kind.is_pax_global_extensions() {
            scanner.scan.leave_out(&ending(Path::new(&name)));
        }
    }
    scanner.close()?;
    check_end(archive.into_inner(), end.next_multiple_of(BLOCK), bytes)
        .map_err(|reason| scanner.at_the_end(&reason))?;
    Ok(scanner.scan)
}

fn is_gzip(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(2).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start == [0x1f, 0x8b])
}

/// That an archive ends with zeros alone: it may have been cut off, or others joined to it.
fn check_end(mut file: impl Read + Seek, end: u64, bytes: u64) -> Result<(), String> {
    if bytes < end + BLOCK {
        return Err("ends without the mark of an archive's end".to_owned());
    }
    file.seek(SeekFrom::Start(end)).map_err(|error| error.to_string())?;
    let mut block = [0; 64 * BLOCK as usize];
    loop {
        match file.read(&mut block).map_err(|error| error.to_string())? {
            0 => return Ok(()),
            read if block[..read].iter().any(|byte| *byte != 0) => {
                return Err("goes on behind the archive's end, as archives do that were joined".to_owned());
            }
            _ => {}
        }
    }
}

/// A file of a shard.
#[derive(Clone, Copy)]
struct Member<'a> {
    name: &'a str,
    offset: u64,
    size: u64,
}

/// Puts the files of a shard together to samples.
struct Scanner<'a> {
    label_key: Option<&'a str>,
    scan: Scan,
    keys: HashSet<String>,
    /// The sample whose files are being read.
    open: Option<Open>,
}

/// The files of a sample so far.
#[derive(Default)]
struct Open {
    key: String,
    endings: Vec<String>,
    image: Option<(String, u64, u64)>,
    cls: Option<Label>,
    json: Option<Label>,
}

impl<'a> Scanner<'a> {
    fn new(label_key: Option<&'a str>) -> Self {
        Self { label_key, scan: Scan::default(), keys: HashSet::new(), open: None }
    }

    fn add(&mut self, member: Member, content: &mut impl Read) -> Result<(), String> {
        let Some((key, ending)) = key_and_ending(member.name) else {
            self.scan.leave_out(&ending(Path::new(member.name)));
            return Ok(());
        };
        if self.open.as_ref().is_none_or(|open| open.key != key) {
            self.close()?;
            if !self.keys.insert(key.to_owned()) {
                return Err(format!(
                    "has files of sample `{key}` in two places; those of a sample follow each other, and no \
                     two samples have one name"
                ));
            }
        }
        let open = self.open.get_or_insert_with(|| Open { key: key.to_owned(), ..Open::default() });
        if open.endings.contains(&ending) {
            return Err(format!("has two files `{key}.{ending}`"));
        }
        match &ending[..] {
            "cls" => open.cls = Some(read_small(member, content)?.map_or_else(Label::Wrong, number)),
            "json" => {
                if let Some(key) = self.label_key {
                    let text = read_small(member, content)?;
                    open.json = Some(text.map_or_else(Label::Wrong, |text| labelled(&text, key)));
                }
            }
            "txt" => {}
            image if EXTENSIONS.contains(&image) => {
                let is_array = |name: &str| name.to_lowercase().ends_with(".npy");
                match &open.image {
                    // An array beside a picture is what somebody has computed of it.
                    Some(_) if image == "npy" => self.scan.leave_out(".npy"),
                    Some((other, ..)) if !is_array(other) => {
                        let (other, name) = (other, member.name);
                        return Err(format!("has two images in sample `{key}`: {other} and {name}"));
                    }
                    other => {
                        if other.is_some() {
                            self.scan.leave_out(".npy");
                        }
                        open.image = Some((member.name.to_owned(), member.offset, member.size));
                    }
                }
            }
            _ => self.scan.leave_out(&format!(".{ending}")),
        }
        open.endings.push(ending);
        Ok(())
    }

    /// Takes the sample whose files were read last. Files that tell nothing and have no image are no
    /// sample.
    fn close(&mut self) -> Result<(), String> {
        let Some(Open { key, endings, image, cls, json }) = self.open.take() else { return Ok(()) };
        match image {
            Some((name, offset, bytes)) => {
                let label = cls.or(json).unwrap_or(Label::None);
                self.scan.samples.push(Scanned { name, offset, bytes, label });
            }
            None if endings.iter().any(|ending| matches!(&ending[..], "cls" | "json" | "txt")) => {
                let (found, known) = (endings.join(", ."), EXTENSIONS.join(", "));
                return Err(format!("has no image in sample `{key}`, only .{found}; images end in {known}"));
            }
            None => {}
        }
        Ok(())
    }

    fn cut_off(&self, name: &str) -> String {
        // The files before it may be a whole sample.
        let is_before = |open: &&Open| {
            open.image.is_some() && key_and_ending(name).is_none_or(|(key, _)| key != open.key)
        };
        let last = self.open.as_ref().filter(is_before).map(|open| &open.key[..]).or(self.last());
        format!("is cut off within `{name}`; {}download it again", last_whole(last))
    }

    fn at_the_end(&self, reason: &str) -> String {
        format!("{reason}; {}download it again, or pack it anew", last_whole(self.last()))
    }

    /// What a header means that cannot be read.
    fn broken(&self, reason: &str) -> String {
        match (&self.open, self.scan.samples.len()) {
            (None, 0) => format!("is no tar archive ({reason})"),
            _ => format!("is damaged or cut off ({reason}); {}download it again", last_whole(self.last())),
        }
    }

    fn last(&self) -> Option<&str> {
        self.scan.samples.last().and_then(|sample| key_and_ending(&sample.name)).map(|(key, _)| key)
    }
}

fn last_whole(key: Option<&str>) -> String {
    key.map_or_else(String::new, |key| format!("the last whole sample is `{key}`; "))
}

/// What to do with a compressed shard.
pub(super) const UNPACK: &str = "images are read where they lie, so unpack it first";

/// Key and ending of a file, as WebDataset takes them: up to the first dot of the base name, and what
/// follows. None for hidden files and those without an ending.
pub(super) fn key_and_ending(name: &str) -> Option<(&str, String)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.').filter(|dot| *dot > 0)?;
    Some((&name[..dot], name[dot + 1..].to_lowercase()))
}

/// A small file's text; of a larger one, or one that is no text, what is wrong.
fn read_small(member: Member, content: &mut impl Read) -> Result<Result<String, String>, String> {
    if member.size > LARGEST_TEXT {
        return Ok(Err(format!("has {} bytes in {}, which is no class", member.size, member.name)));
    }
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(bytes).map_err(|_| format!("has no text in {}", member.name)))
}

/// The label that a `.cls` file holds.
fn number(text: String) -> Label {
    let text = text.trim();
    text.parse()
        .map_or_else(|_| Label::Wrong(format!("has `{}` as its class, no number", few(text))), Label::Number)
}

/// The label that a `.json` file holds.
fn labelled(text: &str, key: &str) -> Label {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else {
        return Label::Wrong("has a .json file that is no JSON".to_owned());
    };
    match value.get(key) {
        None | Some(serde_json::Value::Null) => Label::None,
        Some(serde_json::Value::String(name)) if !name.trim().is_empty() => Label::Name(name.clone()),
        Some(other) => match other.as_u64() {
            Some(number) => Label::Number(number),
            None => Label::Wrong(format!("has {} as its {key}, no class", few(&other.to_string()))),
        },
    }
}

/// The beginning of a text, for a message.
fn few(text: &str) -> String {
    text.chars().take(40).collect()
}
