//! The `[health]` section of a configuration.

use config::section;

section! {
    /// What a run measures of itself while it trains, beside its loss.
    pub struct HealthConfig: "health" {
        /// Whether anything is measured.
        enabled: bool = true;
        /// Epochs between two looks; if left out, the fewest at which looking costs less than 2 % of
        /// training. The end of a run is always looked at.
        every_epochs: Option<u64> = None, "at least 1 (or left out)" => |epochs| *epochs != Some(0);
        /// Images whose loss and features are measured, at most: of those held out where there are any.
        images: usize = 64, "at least 1" => |images| *images > 0;
        /// Labelled images for the two probes, at most: half of them to fit, half to judge. If left out 1,000
        /// where 20,000 images or more are trained on, and 200 of fewer; 0 leaves the probes out.
        probe_images: Option<usize> = None;
        /// Share of the training images that pretraining holds out, where the data have no part `val`. If
        /// left out 0.01 of 5,000 images or more, and none of fewer; 0 holds none out.
        val_fraction: Option<f64> = None, "from 0 to less than 1"
            => |share| share.is_none_or(|share| (0.0..1.0).contains(&share));
    }
    on resume {
        fixed: val_fraction;
        said: images, probe_images;
        free: enabled, every_epochs;
    }
}

/// Training images from which on more are probed unasked, and how many are of fewer and of more.
const PROBED: (usize, [usize; 2]) = (20_000, [200, 1000]);
/// Images from which on some are held out unasked.
const MANY: usize = 5000;
/// The share of them that is.
const USUAL_SHARE: f64 = 0.01;

impl HealthConfig {
    /// Images for the probes where so many are trained on.
    pub(crate) fn probed_of(&self, images: usize) -> usize {
        let (many, [few, more]) = PROBED;
        self.probe_images.unwrap_or(if images < many { few } else { more })
    }

    /// The share of so many training images that is held out; 0 for none.
    pub fn share_of(&self, images: usize) -> f64 {
        match self.val_fraction {
            Some(share) => share,
            None if self.enabled && images >= MANY => USUAL_SHARE,
            None => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Section;

    #[test]
    fn few_images_are_all_trained_on() {
        let share = |config: &HealthConfig, images| config.share_of(images);
        let usual = HealthConfig::default();
        assert_eq!([share(&usual, 4999), share(&usual, 5000)], [0.0, 0.01]);
        let never = HealthConfig { val_fraction: Some(0.0), ..HealthConfig::default() };
        let stated = HealthConfig { val_fraction: Some(0.2), ..HealthConfig::default() };
        assert_eq!([share(&never, 9000), share(&stated, 10)], [0.0, 0.2]);
        let off = HealthConfig { enabled: false, ..HealthConfig::default() };
        assert_eq!(share(&off, 9000), 0.0);
        let probed = HealthConfig { probe_images: Some(7), ..HealthConfig::default() };
        assert_eq!([usual.probed_of(19_999), usual.probed_of(20_000), probed.probed_of(1)], [200, 1000, 7]);
        let all = HealthConfig { val_fraction: Some(1.0), ..HealthConfig::default() };
        assert!(all.check().unwrap_err().to_string().contains("health.val_fraction must be from 0"));
    }
}
