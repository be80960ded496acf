//! Is it learning? What a run measures of itself while it trains, and what that means.
//!
//! An [`Objective`](crate::Objective) shows its network to an [`Examination`], which measures it on
//! [`Subjects`], the same images all through the run. The loop adds what the [update](LayerUpdates) did, lets
//! [`judge`] say how the run is, and writes all of it as a [`Look`] into the log. A [`HealthReport`] reads it
//! back.

mod collapse;
mod dead;
mod examination;
mod features;
mod knn;
mod layers;
mod measures;
mod plan;
mod report;
mod ridge;
mod section;
mod subjects;
mod verdict;

pub(crate) use layers::Before;
pub(crate) use report::looks_of;

pub use collapse::channel_distances;
pub use dead::Deviations;
pub use examination::{Examination, Examined};
pub use features::{Features, Standardize};
pub use knn::knn;
pub use layers::{LayerUpdates, layer_of};
pub use measures::{Health, Look, Measures};
pub use plan::HealthPlan;
pub use report::HealthReport;
pub use ridge::{ridge_probe, ridge_scores};
pub use section::HealthConfig;
pub use subjects::Subjects;
pub use verdict::{Verdict, judge};
