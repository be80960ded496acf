//! How many updates parameters have had, known to the device that computes the next.

use super::TensorList;
use super::aten::Number;

/// Counts the updates of parameters that are updated together.
#[derive(Debug)]
pub(crate) struct Clock {
    steps: i64,
    /// Whether the present update is counted already.
    counted: bool,
    /// The same number where ATen's operations ask for it: set once, then counted on the device.
    on_device: Option<Number>,
}

impl Clock {
    /// A clock that stands at so many updates.
    pub(crate) fn at(steps: i64) -> Self {
        Self { steps, counted: false, on_device: None }
    }

    /// Updates, the present one among them once it is counted.
    pub(crate) fn steps(&self) -> i64 {
        self.steps
    }

    /// Whether it stood at so many updates before the present one.
    pub(crate) fn began_at(&self, steps: i64) -> bool {
        self.steps - i64::from(self.counted) == steps
    }

    /// Counts the present update, which these weights are about to have, once.
    pub(crate) fn count(&mut self, weights: &TensorList) {
        if !self.counted {
            (self.counted, self.steps) = (true, self.steps + 1);
            if let Some(number) = &mut self.on_device {
                number.add_one();
            }
        }
        if let (None, TensorList::Aten(weights)) = (&self.on_device, weights) {
            self.on_device = Number::beside(weights, self.steps);
        }
    }

    /// The present update is made.
    pub(crate) fn end_update(&mut self) {
        self.counted = false;
    }

    #[cfg(feature = "tch")]
    pub(super) fn on_device(&self) -> Option<&Number> {
        self.on_device.as_ref()
    }
}
