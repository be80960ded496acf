//! What a piece of work asks of libtorch.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Operations dispatched by libtorch, not counting those that they call themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operations {
    /// How often each was dispatched, by its name and overload: `aten::add.Tensor`.
    pub by_name: BTreeMap<String, u64>,
    /// Copies to and from the device that nothing waits for.
    pub copies: u64,
}

impl Operations {
    /// All of them.
    pub fn dispatched(&self) -> u64 {
        self.by_name.values().sum()
    }

    /// Those for which a GPU would be waited for: a number or an index is read back, or memory is copied
    /// that is not page-locked.
    pub fn synchronising(&self) -> u64 {
        self.by_name.iter().filter(|(name, _)| synchronises(name)).map(|(_, count)| count).sum()
    }
}

/// Whether an operation makes the processor wait for a GPU. Tch moves tensors to another device from ordinary
/// memory.
fn synchronises(name: &str) -> bool {
    const WAITING: [&str; 11] = [
        "item",
        "_local_scalar_dense",
        "is_nonzero",
        "nonzero",
        "equal",
        "allclose",
        "masked_select",
        "unique_consecutive",
        "_unique2",
        "bincount",
        "to.device",
    ];
    name.strip_prefix("aten::").is_some_and(|name| WAITING.contains(&name))
}

impl AddAssign for Operations {
    fn add_assign(&mut self, other: Self) {
        for (name, count) in other.by_name {
            *self.by_name.entry(name).or_default() += count;
        }
        self.copies += other.copies;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_add_up_and_those_that_wait_are_told_apart() {
        let of = |name: &str, count| Operations { by_name: [(name.to_owned(), count)].into(), copies: 1 };
        let mut all = of("aten::add.Tensor", 2);
        all += of("aten::item", 1);
        all += of("aten::add.Tensor", 3);
        assert_eq!((all.dispatched(), all.synchronising(), all.copies), (6, 1, 3));
        assert_eq!(all.by_name["aten::add.Tensor"], 5);
    }
}
