//! Configuration: one TOML file is one experiment.
//!
//! A [`section!`] says of each key its type, its default, which values are allowed, what it means, and
//! whether it may differ when a run goes on, in one place. From that come the type itself, its checks, and the page that documents it
//! ([`document`]). An experiment is a struct of sections that implements [`Config`]; its `Default`
//! holds what differs from the defaults of the sections. [`parse`] lays a file over these defaults.
//!
//! ```
//! use config::{Config, SectionDoc, SettingError, section};
//!
//! section! {
//!     /// How fast to learn.
//!     pub struct Optim: "optim" {
//!         /// Learning rate.
//!         lr: f64 = 1e-3, "0 or more" => |lr| *lr >= 0.0;
//!         /// Norm that gradients are clipped to.
//!         clip: Option<f64> = None;
//!     }
//!     on resume { fixed: clip; said: lr; }
//! }
//!
//! #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Experiment {
//!     optim: Optim,
//! }
//!
//! impl Config for Experiment {
//!     fn check(&self) -> Result<(), SettingError> {
//!         config::Section::check(&self.optim)
//!     }
//!
//!     fn sections(&self) -> Vec<SectionDoc> {
//!         vec![SectionDoc::of(&self.optim)]
//!     }
//! }
//!
//! let experiment: Experiment = config::parse("[optim]\nclip = 1.0\n", &[]).unwrap();
//! assert_eq!((experiment.optim.lr, experiment.optim.clip), (1e-3, Some(1.0)));
//! let error = config::parse::<Experiment>("", &["optim.lr=-1.0".to_owned()]).unwrap_err();
//! assert_eq!(error.to_string(), "optim.lr must be 0 or more, found -1.0");
//! ```

mod difference;
mod document;
mod error;
mod kind;
mod parse;
mod section;

pub use difference::{Change, changes};
pub use document::{SectionDoc, document};
pub use error::SettingError;
pub use parse::{Config, load, load_stored, load_text, parse, read, to_toml};
pub use section::{Field, OnResume, Section, check_field, in_toml};
