//! What run directories hold, as one self-contained page of HTML that people send each other.
//!
//! [`Run::read`] takes what it finds in a run directory, of a run that trains, has ended or has failed, and
//! names what is not there; [`page`] puts runs into one file below [`LIMIT`]. The page asks nothing of any other machine: style, script, data and pictures are inside it.
//! Nothing here computes a network; who has judged one brings a [`Judgement`].

mod curve;
mod error;
mod health;
mod images;
mod jpeg;
mod judgement;
mod page;
mod plan;
mod run;
mod samples;
mod status;
#[cfg(test)]
mod testing;

pub use error::ReportError;
pub use judgement::{Judgement, MOST_MISTAKES, Mistake};
pub use page::{LIMIT, MOST_RUNS, Page, page};
pub use run::{Kind, Run};
