//! Which networks a file holds, and which of them is meant.
//!
//! A training code saves its network under a key, beside a moving average of it, and under the names
//! of whatever was wrapped around it: `state_dict` → `module.backbone.stem.0.weight`. A network is
//! where a ConvNeXt begins, that is at its stem; what stands before the stem is its prefix.

use std::fmt;

/// Where training codes put the weights, in the order in which they are preferred.
const USUAL_KEYS: [&str; 5] = ["", "model", "state_dict", "model_state_dict", "net"];

/// Words by which averages of weights over a training are known.
const AVERAGES: [&str; 6] = ["ema", "swa", "avg", "average", "averaged", "polyak"];

/// What PyTorch puts into names, anywhere, when it compiles, shards or checkpoints a module.
const WRAPPERS: [&str; 3] = ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."];

/// Keys that a message lists.
const LISTED: usize = 12;

/// The counter that `torch.optim.swa_utils.AveragedModel` keeps beside the network.
const AVERAGE_COUNTER: &str = "n_averaged";

/// Where in a file a network was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The keys that lead to its dictionary, joined by points; empty at the top of the file.
    pub key: String,
    /// What stands before the names of its tensors and was taken off.
    pub prefix: String,
    /// The other networks of the file, as `--key` names them.
    pub others: Vec<String>,
    /// Whether it was taken without having been asked for.
    pub by_default: bool,
}

impl Origin {
    /// How `--key` names it.
    pub fn path(&self) -> String {
        joined(&self.key, &self.prefix)
    }

    /// What a user should know who did not choose among several networks.
    pub fn note(&self) -> Option<String> {
        let others: Vec<_> = self.others.iter().map(|other| quoted(other)).collect();
        (self.by_default && !others.is_empty()).then(|| {
            format!(
                "reads {} of several networks; --key takes another: {}",
                quoted(&self.path()),
                others.join(", ")
            )
        })
    }
}

impl fmt::Display for Origin {
    /// What follows the layout: `, under `state_dict`, without the prefix `module.``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, ", under `{}`", self.key)?;
        }
        if !self.prefix.is_empty() {
            write!(f, ", without the prefix `{}`", self.prefix)?;
        }
        Ok(())
    }
}

fn quoted(path: &str) -> String {
    if path.is_empty() { "that at the top".to_owned() } else { format!("`{path}`") }
}

fn joined(key: &str, prefix: &str) -> String {
    let prefix = without_wrappers(prefix);
    [key, prefix.trim_end_matches('.')]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(".")
}

/// A name without what PyTorch put into it.
pub(crate) fn without_wrappers(name: &str) -> String {
    WRAPPERS.iter().fold(name.to_owned(), |name, wrapper| name.replace(wrapper, ""))
}

/// A dictionary of tensors: its key, and their names.
pub(crate) struct Names<'a> {
    pub(crate) key: &'a str,
    pub(crate) names: Vec<&'a str>,
}

/// A network among the dictionaries of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Which dictionary.
    pub(crate) group: usize,
    /// Before its names, once they are without wrappers.
    prefix: String,
    /// The same as it stands there.
    prefix_there: String,
    /// How `--key` names it.
    path: String,
}

/// Why no network was chosen.
#[derive(Debug, PartialEq)]
pub(crate) enum NoChoice {
    /// There is none, but dictionaries of other tensors, of which this would be taken.
    NoNetwork(usize, Origin),
    /// None under this key, but under these.
    NoSuchKey(Vec<String>),
    /// Several, none of which is the usual one.
    Several(Vec<String>),
}

/// All networks of a file.
pub(crate) fn candidates(groups: &[Names]) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for (group, Names { key, names }) in groups.iter().enumerate() {
        for name in names {
            let plain = without_wrappers(name);
            let Some(prefix) = prefix_of(&plain) else { continue };
            if found.iter().any(|other| other.group == group && other.prefix == prefix) {
                continue;
            }
            let prefix_there = name.strip_suffix(&plain[prefix.len()..]).unwrap_or(prefix);
            found.push(Candidate {
                group,
                prefix: prefix.to_owned(),
                prefix_there: prefix_there.to_owned(),
                path: joined(key, prefix),
            });
        }
    }
    found
}

/// What stands before the names of a network of which this is a tensor of the stem.
fn prefix_of(name: &str) -> Option<&str> {
    // `convnextv2.` and `encoder.` are in the names that their layouts give.
    let stems: [(&str, &[&str]); 3] = [
        ("embeddings.patch_embeddings.", &["convnextv2.", "convnext."]),
        ("stem.0.", &[]),
        ("downsample_layers.0.0.", &["encoder."]),
    ];
    stems.iter().find_map(|(stem, own)| {
        let at = name.rfind(stem)?;
        let (before, leaf) = (&name[..at], &name[at + stem.len()..]);
        let whole = (before.is_empty() || before.ends_with('.')) && !leaf.contains('.');
        let prefix = own.iter().find_map(|own| before.strip_suffix(own)).unwrap_or(before);
        (whole && (prefix.is_empty() || prefix.ends_with('.'))).then_some(prefix)
    })
}

/// The network that is meant: that of a key, or the usual one.
///
/// # Errors
/// There is none, or there are several.
pub(crate) fn choose(
    candidates: &[Candidate],
    groups: &[Names],
    key: Option<&str>,
) -> Result<(usize, Origin), NoChoice> {
    if candidates.is_empty() && !groups.is_empty() {
        let dictionary = |(group, names): (usize, &Names)| Candidate {
            group,
            prefix: String::new(),
            prefix_there: String::new(),
            path: names.key.to_owned(),
        };
        let dictionaries: Vec<_> = groups.iter().enumerate().map(dictionary).collect();
        let (chosen, origin) = choose(&dictionaries, groups, key)?;
        return Err(NoChoice::NoNetwork(chosen, origin));
    }
    let paths = |of: &[usize]| of.iter().take(LISTED).map(|index| quoted(&candidates[*index].path)).collect();
    let all: Vec<usize> = (0..candidates.len()).collect();
    let meant: Vec<usize> = match key {
        None => all.clone(),
        Some(key) => asked_for(candidates, key),
    };
    if meant.is_empty() {
        return Err(NoChoice::NoSuchKey(paths(&all)));
    }
    let plain: Vec<usize> = meant.iter().copied().filter(|i| !is_average(&candidates[*i].path)).collect();
    let rank = |index: usize| rank(groups[candidates[index].group].key);
    let preferred = if plain.is_empty() { meant } else { plain };
    let best = preferred.iter().map(|index| rank(*index)).min();
    let best: Vec<usize> = preferred.into_iter().filter(|index| Some(rank(*index)) == best).collect();
    let &[chosen] = &best[..] else { return Err(NoChoice::Several(paths(&best))) };
    let Candidate { group, prefix_there, .. } = &candidates[chosen];
    let others = candidates.iter().enumerate().filter(|(index, _)| *index != chosen);
    let origin = Origin {
        key: groups[*group].key.to_owned(),
        prefix: prefix_there.clone(),
        others: others.map(|(_, other)| other.path.clone()).collect(),
        by_default: key.is_none(),
    };
    Ok((chosen, origin))
}

/// The networks that a key names: that of the whole path, or those whose path has it in it.
fn asked_for(candidates: &[Candidate], key: &str) -> Vec<usize> {
    let of = |is_it: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..candidates.len()).filter(|index| is_it(&candidates[*index].path)).collect()
    };
    let exact = of(&|path| path == key);
    match exact.is_empty() && !key.is_empty() {
        true => of(&|path| format!(".{path}.").contains(&format!(".{key}."))),
        false => exact,
    }
}

/// The place of a key among the usual ones, by its first part.
fn rank(key: &str) -> usize {
    let first = key.split('.').next().unwrap_or_default();
    USUAL_KEYS.iter().position(|usual| *usual == first).unwrap_or(USUAL_KEYS.len())
}

fn is_average(path: &str) -> bool {
    path.split(|c: char| !c.is_alphanumeric()).any(|word| AVERAGES.contains(&word))
}

impl Candidate {
    /// The name of one of its tensors without its prefix. None for a tensor of another network of
    /// the same dictionary; an error for one that is of none.
    pub(crate) fn name_in(&self, name: &str, candidates: &[Candidate]) -> Result<Option<String>, ()> {
        let plain = without_wrappers(name);
        let owners = candidates.iter().filter(|other| other.group == self.group);
        let owner =
            owners.filter(|other| plain.starts_with(&other.prefix)).max_by_key(|other| other.prefix.len());
        match owner {
            None if name == AVERAGE_COUNTER => Ok(None),
            None => Err(()),
            Some(owner) if owner == self => Ok(Some(plain[self.prefix.len()..].to_owned())),
            Some(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups<'a>(of: &[(&'a str, &[&'a str])]) -> Vec<Names<'a>> {
        of.iter().map(|(key, names)| Names { key, names: names.to_vec() }).collect()
    }

    fn chosen(of: &[(&str, &[&str])], key: Option<&str>) -> Result<Origin, NoChoice> {
        let groups = groups(of);
        choose(&candidates(&groups), &groups, key).map(|(_, origin)| origin)
    }

    #[test]
    fn what_stands_before_the_stem_is_the_prefix() {
        for (name, prefix) in [
            ("stem.0.weight", ""),
            ("module.stem.0.weight", "module."),
            ("_orig_mod.module.backbone.stem.0.bias", "_orig_mod.module.backbone."),
            ("model.encoder.stem.0.weight", "model.encoder."),
            ("net.downsample_layers.0.0.weight", "net."),
            ("encoder.downsample_layers.0.0.weight", ""),
            ("module.encoder.downsample_layers.0.0.weight", "module."),
            ("convnextv2.embeddings.patch_embeddings.weight", ""),
            ("model.convnextv2.embeddings.patch_embeddings.weight", "model."),
            ("encoder.embeddings.patch_embeddings.weight", "encoder."),
            ("module.stem._orig_mod.0.weight", "module."),
        ] {
            let origin = chosen(&[("", &[name])], None).unwrap();
            assert_eq!(origin.prefix, prefix, "{name}");
        }
        for name in ["xstem.0.weight", "stem.0.conv.weight", "head.weight"] {
            assert!(matches!(chosen(&[("", &[name])], None), Err(NoChoice::NoNetwork(0, _))), "{name}");
        }
    }

    #[test]
    fn the_network_comes_before_its_average() {
        let stem: &[&str] = &["stem.0.weight"];
        let path = |of: &[(&str, &[&str])], key| chosen(of, key).map(|origin| origin.path());
        let timm = [("state_dict_ema", stem), ("state_dict", stem)];
        let origin = chosen(&timm, None).unwrap();
        assert_eq!((&origin.key[..], &origin.others[..]), ("state_dict", &["state_dict_ema".to_owned()][..]));
        assert!(origin.note().unwrap().contains("--key takes another: `state_dict_ema`"));
        let asked = chosen(&timm, Some("state_dict_ema")).unwrap();
        assert_eq!((&asked.key[..], asked.note()), ("state_dict_ema", None));
        assert_eq!(path(&[("model_ema", stem)], None), Ok("model_ema".into()));
        assert_eq!(path(&[("state_dict", stem), ("model", stem)], None), Ok("model".into()));
        let lightning: &[&str] = &["model.stem.0.weight", "model_ema.module.stem.0.weight"];
        assert_eq!(path(&[("state_dict", lightning)], None), Ok("state_dict.model".into()));
        let averaged = path(&[("state_dict", lightning)], Some("model_ema"));
        assert_eq!(averaged, Ok("state_dict.model_ema.module".into()));
        let twins: &[&str] = &["student.stem.0.weight", "teacher.stem.0.weight"];
        let several = NoChoice::Several(vec!["`student`".into(), "`teacher`".into()]);
        assert_eq!(path(&[("", twins)], None), Err(several));
        assert_eq!(path(&[("", twins)], Some("teacher")), Ok("teacher".into()));
        let none = NoChoice::NoSuchKey(vec!["`state_dict_ema`".into(), "`state_dict`".into()]);
        assert_eq!(path(&timm, Some("ema")), Err(none));
    }

    #[test]
    fn of_other_tensors_the_usual_ones_are_named() {
        let none = chosen(&[("state_dict_ema", &["weight"]), ("state_dict", &["weight"])], None);
        let Err(NoChoice::NoNetwork(1, origin)) = none else { panic!("{none:?}") };
        assert_eq!(origin.others, ["state_dict_ema"]);
        let none = chosen(&[("state_dict", &["weight"])], Some("model"));
        assert_eq!(none, Err(NoChoice::NoSuchKey(vec!["`state_dict`".into()])));
    }

    #[test]
    fn tensors_of_other_networks_and_of_none_are_told_apart() {
        let groups = groups(&[(
            "",
            &[
                "model.stem.0.weight",
                "ema.stem.0.weight",
                "model.head.fc.bias",
                "criterion.weight",
                "n_averaged",
            ],
        )]);
        let candidates = candidates(&groups);
        let names: Vec<_> =
            groups[0].names.iter().map(|name| candidates[0].name_in(name, &candidates)).collect();
        let own = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(names, [own("stem.0.weight"), Ok(None), own("head.fc.bias"), Err(()), Ok(None)]);
    }
}
