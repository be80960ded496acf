//! Folders of images with a table that says what they are, as Hugging Face's `ImageFolder` reads them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DataError;
use crate::source::left_out::ending;
use crate::source::listing::Listing;
use crate::source::split::divisions;
use crate::source::table::{Columns, Rows, Table, damaged};
use crate::source::{ImageFolder, ImageSource, Labels, Split};

const NAMES: [&str; 2] = ["metadata.csv", "metadata.jsonl"];

/// A table that lies with the images of a folder.
struct Metadata {
    path: PathBuf,
    rows: Rows,
}

/// Opens a folder of images, which is `root` itself or the part of it that is a split.
///
/// A `metadata.csv` or `metadata.jsonl` in the folder, or else in `root`, that says what images show is what
/// counts, whatever folders they lie in, and images that it does not list are left out. One that says
/// nothing of that kind, such as captions alone, changes nothing: the folders are the classes. Hugging Face
/// drops the classes of folders wherever such a file is (`drop_labels`), which would leave nothing to learn
/// here.
///
/// # Errors
/// Those of [`Table`] and [`ImageFolder`], and two such tables.
pub(in crate::source) fn open_folder(
    root: &Path,
    folder: &Path,
    split: Split,
    labels: Labels,
) -> Result<Arc<dyn ImageSource>, DataError> {
    let own = Metadata::find(folder)?;
    let found = if own.is_none() && folder != root { Metadata::find(root)? } else { own };
    Ok(match found {
        Some(metadata) if Columns::are_in(&metadata.rows.header) => {
            if folder != root && metadata.path.parent() == Some(root) {
                metadata.refuse_rows_of_no_part(root)?;
            }
            let is_whole = folder == root;
            let is_divided = metadata.rows.header.iter().any(|name| name == "split");
            let (table, unlisted) = metadata.table(folder, is_whole.then_some(split), labels)?;
            // Where classes do not matter, the images that have none count as well.
            if labels == Labels::Ignored && unlisted > 0 && !(is_whole && is_divided) {
                return Ok(Arc::new(ImageFolder::open(folder, labels)?));
            }
            Arc::new(table)
        }
        Some(metadata) => Arc::new(ImageFolder::open(folder, labels).map_err(|error| match error {
            // The table may have been meant to say it.
            DataError::NoClasses(_) => metadata.refusal().unwrap_or(error),
            error => error,
        })?),
        None => Arc::new(ImageFolder::open(folder, labels)?),
    })
}

/// The splits that the table of a folder divides its images into; none if there is no such table.
///
/// # Errors
/// Tables that cannot be used.
pub(in crate::source) fn splits(folder: &Path) -> Result<Vec<Split>, DataError> {
    match Metadata::find(folder)? {
        Some(metadata) if Columns::are_in(&metadata.rows.header) => Table::splits(&metadata.path),
        _ => Ok(Vec::new()),
    }
}

impl Metadata {
    fn find(folder: &Path) -> Result<Option<Self>, DataError> {
        let mut found = NAMES.map(|name| folder.join(name)).into_iter().filter(|path| path.is_file());
        match (found.next(), found.next()) {
            (Some(path), None) => Ok(Some(Self { rows: Rows::read(&path)?, path })),
            (Some(path), Some(other)) => Err(DataError::TwoTables([path, other])),
            (None, _) => Ok(None),
        }
    }

    /// The rows of images in a folder. Without a split the folder is one, whatever the table says.
    /// And the number of images that it does not list.
    fn table(self, folder: &Path, split: Option<Split>, labels: Labels) -> Result<(Table, usize), DataError> {
        let Self { path, mut rows } = self;
        let damaged = |reason| DataError::Damaged { path: path.clone(), reason };
        let columns = Columns::find(&rows.header, labels).map_err(damaged)?;
        let place = path.parent().unwrap_or(Path::new(""));
        let columns = if split.is_some() {
            columns.refuse_unnamed_splits(&rows.header, &rows.rows).map_err(damaged)?;
            columns
        } else {
            // Rows that name nothing are reported with the others.
            let is_here = |name: &str| place.join(name).starts_with(folder);
            rows.rows.retain(|row| columns.image(row).map_or(true, is_here));
            columns.without_splits()
        };
        let mut table = Table::new(&path, &rows, &columns, split.unwrap_or(Split::Train), labels)?;
        let mut listing = Listing::read(folder)?;
        table.left_out.add_all(listing.left_out());
        if path.starts_with(folder) {
            table.left_out.subtract(&ending(&path));
        }
        let listed = rows.rows.iter().filter_map(|row| columns.image(row).ok());
        let listed: HashSet<_> = listed.map(|name| place.join(name)).collect();
        let mut unlisted = listing.take_images(folder);
        unlisted.retain(|image| !listed.contains(&image.path));
        for image in &unlisted {
            table.left_out.add(format!("{} that the table does not list", ending(&image.path)), 1);
        }
        Ok((table, unlisted.len()))
    }

    /// Refuses a row of a divided data set that lies in none of its parts, which nobody would miss.
    fn refuse_rows_of_no_part(&self, root: &Path) -> Result<(), DataError> {
        let refused = |reason| DataError::Damaged { path: self.path.clone(), reason };
        let columns = Columns::find(&self.rows.header, Labels::Ignored).map_err(refused)?;
        let parts = divisions(root)?;
        for row in &self.rows.rows {
            let Ok(name) = columns.image(row) else { continue };
            let image = root.join(name);
            if !parts.iter().any(|(_, folder)| image.starts_with(folder)) {
                return Err(damaged(
                    &self.path,
                    row.line,
                    format!("{name} lies in none of the parts of the data"),
                ));
            }
        }
        Ok(())
    }

    /// Why the table does not say what images show.
    fn refusal(&self) -> Option<DataError> {
        let reason = Columns::find(&self.rows.header, Labels::Required).err()?;
        Some(DataError::Damaged { path: self.path.clone(), reason })
    }
}
