//! Images to judge a finished network by: never those that it was trained on.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::data_config::DataConfig;
use crate::error::DataError;
use crate::image_list::{Changes, ImageList, few, name_below};
use crate::source::{Format, ImageSource, Labels, Split, Subset, open_labelled, splits};

/// Images of one split, and how they differ from those that the run knew.
pub struct Judged {
    /// The images.
    pub images: Arc<dyn ImageSource>,
    /// The part that they are; none if they are all of data that are not divided.
    pub split: Option<Split>,
    /// What has become of them since the run began, where it listed them.
    pub changes: Changes,
    /// Whether new images are left out, because only the list says which are held out.
    pub new_are_left_out: bool,
    /// Images that were trained on, or look so by file name and size.
    pub trained_on: Vec<String>,
}

impl Judged {
    /// The images of a split, of `path` or of the run's own data; without a split those to validate on,
    /// or all images of other data that are not divided. `list` is what the run knew: it decides where
    /// the data themselves are not divided so.
    ///
    /// # Errors
    /// No such split, none of its images left, or a run that held images out and did not list them.
    pub fn open(
        data: &DataConfig,
        path: Option<&Path>,
        split: Option<Split>,
        list: Option<&ImageList>,
    ) -> Result<Self, DataError> {
        let run_root = data.root().ok();
        let is_own = path.is_none_or(|path| is_same_place(data.path.as_deref(), path));
        let data = match path.filter(|_| !is_own) {
            Some(path) => &DataConfig {
                path: Some(path.to_owned()),
                format: Format::Auto,
                val_csv: None,
                val_fraction: None,
                ..data.clone()
            },
            None => data,
        };
        let (path, root, wanted) = (data.path()?, data.root()?, split.unwrap_or(Split::Val));
        let found = splits(path, data.format)?;
        // Where the images of this part lie apart from those that are trained on.
        let apart = match &data.val_csv {
            Some(csv) if wanted == Split::Val => Some(csv),
            _ if wanted == Split::Test && found.is_empty() => {
                return Err(DataError::NotDivided(path.clone()));
            }
            _ if wanted == Split::Test || wanted == Split::Val && found.contains(&wanted) => Some(path),
            _ => None,
        };
        if let Some(place) = apart {
            let images = open_labelled(place, data.format, wanted, Labels::Required, &data.label_key)?;
            return Ok(Self::whole(images, run_root, root, wanted, list));
        }
        let pool = data.open(Labels::Required)?;
        let shares =
            |list: &ImageList| list.shared_with(run_root, &listed(root, &*pool, Split::Train), root) > 0;
        let knows = |list: &&ImageList| is_own || !found.contains(&Split::Val) && shares(list);
        match list.filter(knows) {
            Some(list) if list.count(Split::Val) > 0 || wanted == Split::Train => {
                Self::as_listed(&pool, root, wanted, list)
                    .ok_or(DataError::NoneLeft { path: path.clone(), split: wanted })
            }
            _ if data.val_fraction.is_some() => Err(DataError::NotRecorded),
            _ if found.contains(&wanted) || found.is_empty() && split.is_none() && !is_own => {
                let split = found.contains(&wanted).then_some(wanted);
                Ok(Self { split, ..Self::whole(pool, run_root, root, wanted, list) })
            }
            _ if found.is_empty() => Err(DataError::NotDivided(path.clone())),
            _ => Err(DataError::no_split(path, wanted, found)),
        }
    }

    /// All images of a source.
    fn whole(
        images: Arc<dyn ImageSource>,
        run_root: Option<&Path>,
        root: &Path,
        split: Split,
        list: Option<&ImageList>,
    ) -> Self {
        let present = listed(root, &*images, split);
        let (mut changes, mut trained_on) = (Changes::default(), Vec::new());
        if let Some(list) = list {
            if list.shared_with(run_root, &present, root) > 0 {
                changes = list.only(split).changes(&present);
            }
            if split != Split::Train {
                trained_on = list.trained_on(run_root, &present, root);
            }
        }
        Self { images, split: Some(split), changes, new_are_left_out: false, trained_on }
    }

    /// Those images of undivided ones that the run had on one side; none if there are none.
    fn as_listed(pool: &Arc<dyn ImageSource>, root: &Path, split: Split, list: &ImageList) -> Option<Self> {
        let is_wanted = |index| list.split(&name_below(root, &pool.name(index))) == Some(split);
        let images = Subset::new(pool, is_wanted);
        let mut changes = list.only(split).changes(&listed(root, &images, split));
        changes.new = list.changes(&listed(root, &**pool, split)).new;
        let judged = Self {
            images: Arc::new(images),
            split: Some(split),
            changes,
            new_are_left_out: true,
            trained_on: Vec::new(),
        };
        (!judged.images.is_empty()).then_some(judged)
    }

    /// What is to be said of the images, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.changes.is_empty() {
            let left_out = if self.new_are_left_out && !self.changes.new.is_empty() {
                "; new ones are left out"
            } else {
                ""
            };
            remarks.push(format!("since the run began: {}{left_out}", self.changes));
        }
        if !self.trained_on.is_empty() {
            remarks.push(format!(
                "{} of them were trained on: {}",
                self.trained_on.len(),
                few(&self.trained_on)
            ));
        }
        let left_out = self.images.left_out();
        if !left_out.is_empty() {
            remarks.push(format!("left out: {left_out}"));
        }
        remarks
    }
}

fn listed(root: &Path, source: &dyn ImageSource, split: Split) -> ImageList {
    let mut list = ImageList::default();
    list.add(root, source, split);
    list
}

/// Whether two names lead to the same place.
fn is_same_place(a: Option<&Path>, b: &Path) -> bool {
    let place = |path: &Path| fs::canonicalize(path).ok();
    // A pattern that names shards is no place.
    a.is_some_and(|a| a == b || (place(a).is_some() && place(a) == place(b)))
}
