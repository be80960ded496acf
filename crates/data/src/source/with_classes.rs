//! A source whose classes are numbered as another's.

use std::collections::HashMap;
use std::sync::Arc;

use burn_dataset::Dataset;

use crate::error::DataError;
use crate::image_list::normal;
use crate::source::{ImageSource, LeftOut, Sample, Stored, Target, Task, decoded};

struct WithClasses {
    source: Arc<dyn ImageSource>,
    classes: Vec<String>,
    /// New index of every class of the source.
    index: Vec<usize>,
}

/// Numbers the classes of a source as `classes` does, so that a network trained on these
/// understands its labels; it may have fewer of them. Names are the same if they look the same, whatever
/// their normal form in Unicode.
///
/// # Errors
/// A class that is not among `classes`, or, of numbers, one that is missing.
pub fn with_classes(
    source: Arc<dyn ImageSource>,
    classes: &[String],
) -> Result<Arc<dyn ImageSource>, DataError> {
    if source.classes() == classes {
        return Ok(source);
    }
    // Of two of the same name the first.
    let known: HashMap<String, usize> =
        classes.iter().enumerate().rev().map(|(at, class)| (normal(class), at)).collect();
    let find = |class: &String| {
        let unknown = || DataError::UnknownClass { class: class.clone(), known: classes.len() };
        known.get(&normal(class)).copied().ok_or_else(unknown)
    };
    let index = source.classes().iter().map(find).collect::<Result<Vec<_>, _>>()?;
    if source.task() == Task::Numbers
        && let Some((_, missing)) = classes.iter().enumerate().find(|(known, _)| !index.contains(known))
    {
        return Err(DataError::MissingNumber(missing.clone()));
    }
    Ok(renumbered(source, classes, index))
}

/// The source with other classes; `index`: which of them each of its own is.
pub(super) fn renumbered(
    source: Arc<dyn ImageSource>,
    classes: &[String],
    index: Vec<usize>,
) -> Arc<dyn ImageSource> {
    Arc::new(WithClasses { source, classes: classes.to_vec(), index })
}

impl WithClasses {
    fn renumber(&self, target: Target) -> Target {
        match target {
            Target::None => Target::None,
            Target::Class(class) => Target::Class(self.index[class as usize] as u32),
            Target::Values(old) => {
                let mut values = vec![0.0; self.classes.len()];
                old.into_iter().zip(&self.index).for_each(|(value, class)| values[*class] = value);
                Target::Values(values)
            }
        }
    }
}

impl Dataset<Sample, DataError> for WithClasses {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.source.len()
    }
}

impl ImageSource for WithClasses {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn task(&self) -> Task {
        self.source.task()
    }

    fn left_out(&self) -> LeftOut {
        self.source.left_out()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.source.label(index).map(|class| self.index[class as usize] as u32)
    }

    fn target(&self, index: usize) -> Target {
        self.renumber(self.source.target(index))
    }

    fn name(&self, index: usize) -> String {
        self.source.name(index)
    }

    fn shards(&self) -> Option<Vec<usize>> {
        self.source.shards()
    }

    fn bytes(&self, index: usize) -> u64 {
        self.source.bytes(index)
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        self.source.read(index)
    }
}
