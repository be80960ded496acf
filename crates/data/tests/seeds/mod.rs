//! How long property tests go on.

use std::time::{Duration, Instant};

/// Seeds from 0 on: so many, or as many as take `PROPERTY_SECONDS`, for which each property is then tried.
pub(crate) fn seeds(usual: u64) -> impl Iterator<Item = u64> {
    let seconds = std::env::var("PROPERTY_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let (since, time) = (Instant::now(), seconds.map(Duration::from_secs));
    (0..).take_while(move |seed| time.map_or(*seed < usual, |time| since.elapsed() < time))
}
