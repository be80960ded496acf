//! The configurations of `configs/`, inside the program, so that it works without a checkout.

/// A configuration that the program brings.
pub(crate) struct Bundled {
    /// Its name: that of the file, without folder and ending.
    pub(crate) name: &'static str,
    /// The file.
    pub(crate) text: &'static str,
}

macro_rules! bundled {
    ($($name:literal)*) => {
        &[$(Bundled {
            name: $name,
            text: include_str!(concat!("../../../configs/", $name, ".toml")),
        }),*]
    };
}

/// All of them, in the order in which people meet them.
pub(crate) const ALL: &[Bundled] = bundled![
    "quickstart"
    "finetune_quickstart"
    "fcmae_custom"
    "finetune_custom"
    "fcmae_atto"
    "fcmae_femto"
    "fcmae_pico"
    "fcmae_nano"
    "fcmae_tiny"
    "fcmae_base"
    "fcmae_large"
    "fcmae_huge"
    "finetune_atto"
    "finetune_femto"
    "finetune_pico"
    "finetune_nano"
    "finetune_tiny"
    "finetune_base"
    "finetune_base_384"
    "finetune_large"
    "finetune_huge"
    "cifar10/pretrain"
    "cifar10/finetune"
    "cifar10/scratch"
];

/// What a short name is short for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meant {
    /// A configuration for pretraining: `atto` is `fcmae_atto`.
    Pretraining,
    /// One for fine-tuning: `atto` is `finetune_atto`.
    FineTuning,
    /// Either; the whole name comes first, then pretraining.
    Either,
}

impl Bundled {
    /// The configuration of a name, or of a short name.
    pub(crate) fn find(name: &str, meant: Meant) -> Option<&'static Self> {
        let (pretrain, finetune) = (format!("fcmae_{name}"), format!("finetune_{name}"));
        let candidates: &[&str] = match meant {
            Meant::Pretraining => &[&pretrain, name],
            Meant::FineTuning => &[&finetune, name],
            Meant::Either => &[name, &pretrain, &finetune],
        };
        candidates.iter().find_map(|name| ALL.iter().find(|bundled| bundled.name == *name))
    }

    /// The first sentence of the file.
    pub(crate) fn headline(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_configuration_of_the_folder_is_in_the_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let mut found = BTreeSet::new();
        for prefix in ["", "cifar10/"] {
            for entry in std::fs::read_dir(folder.join(prefix)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                found.extend(name.strip_suffix(".toml").map(|name| format!("{prefix}{name}")));
            }
        }
        assert_eq!(ALL.iter().map(|bundled| bundled.name.to_owned()).collect::<BTreeSet<_>>(), found);
        for bundled in ALL {
            assert!(bundled.headline().len() > 20, "{} has no headline", bundled.name);
        }
    }

    #[test]
    fn short_names_mean_what_the_command_does() {
        let find = |name, meant| Bundled::find(name, meant).map(|bundled| bundled.name);
        assert_eq!(find("atto", Meant::Pretraining), Some("fcmae_atto"));
        assert_eq!(find("atto", Meant::FineTuning), Some("finetune_atto"));
        assert_eq!(find("quickstart", Meant::Pretraining), Some("quickstart"));
        assert_eq!(find("quickstart", Meant::FineTuning), Some("finetune_quickstart"));
        assert_eq!(find("base_384", Meant::Either), Some("finetune_base_384"));
        assert_eq!(find("fcmae_base", Meant::FineTuning), Some("fcmae_base"));
        assert_eq!(find("attos", Meant::Either), None);
    }
}
