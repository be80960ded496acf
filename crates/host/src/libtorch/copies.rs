//! Weights in the kind that heavy operations compute in: cast once an update, not in every operation.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tch::{Kind, Tensor};

use super::lists;

/// A weight in another kind.
struct Copy {
    /// The weight itself: while it is held, no other tensor lies at its place.
    weight: Tensor,
    copy: Tensor,
    /// The version of the weight that was copied: libtorch counts writes.
    version: i64,
}

/// Copies by the place of their weights in memory.
type Table = HashMap<usize, Copy>;

/// The tables of all [`Copies`] that live.
static TABLES: Mutex<Vec<Weak<Mutex<Table>>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(weight: &Tensor) -> usize {
    weight.data_ptr() as usize
}

/// Copies of the weights that an optimizer updates, which [`in_kind`] finds for as long as this lives.
pub struct Copies(Arc<Mutex<Table>>);

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Copies of {} weights", lock(&self.0).len())
    }
}

impl Default for Copies {
    fn default() -> Self {
        let table = Arc::default();
        let mut tables = lock(&TABLES);
        tables.retain(|table| table.strong_count() > 0);
        tables.push(Arc::downgrade(&table));
        Self(table)
    }
}

impl Copies {
    /// Makes copies of weights that were just updated; where they lie is not written.
    pub fn refresh(&self, weights: &[&Tensor], kind: Kind) {
        let mut table = lock(&self.0);
        let known = |weight: &&Tensor| table.get(&place(weight)).is_some_and(|copy| copy.fits(weight, kind));
        if table.len() != weights.len() || !weights.iter().all(known) {
            let copy = |weight: &&Tensor| {
                let (weight, copy) = (weight.shallow_clone(), weight.to_dtype(kind, false, false));
                (place(&weight), Copy { version: weight.internal_version(), weight, copy })
            };
            *table = weights.iter().map(copy).collect();
            return;
        }
        let copies: Vec<_> = weights.iter().map(|weight| &table[&place(weight)].copy).collect();
        lists::copy(&copies, weights);
        for copy in table.values_mut() {
            copy.version = copy.weight.internal_version();
        }
    }
}

impl Copy {
    fn fits(&self, weight: &Tensor, kind: Kind) -> bool {
        self.copy.kind() == kind && self.weight.size() == weight.size()
    }
}

/// A weight in another kind: the copy that was made of it when it was updated, or a new one where there is
/// none, or none of what it is by now.
pub fn in_kind(weight: &Tensor, kind: Kind) -> Tensor {
    if weight.kind() == kind {
        return weight.shallow_clone();
    }
    for table in lock(&TABLES).iter().filter_map(Weak::upgrade) {
        if let Some(copy) = lock(&table).get(&place(weight))
            && copy.fits(weight, kind)
            && copy.version == weight.internal_version()
        {
            return copy.copy.shallow_clone();
        }
    }
    weight.to_dtype(kind, false, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(value: f32) -> Tensor {
        Tensor::from_slice(&[value, 0.1]).view([2, 1])
    }

    #[test]
    fn a_copy_is_taken_while_it_is_that_of_the_weight() {
        let (low, copies) = (Kind::BFloat16, Copies::default());
        let (mut one, other) = (weight(1.0), weight(2.0));
        let same = |a: &Tensor, b: &Tensor| a.data_ptr() == b.data_ptr();
        assert!(!same(&in_kind(&one, low), &in_kind(&one, low)), "nothing is kept before an update");
        copies.refresh(&[&one, &other], low);
        let copy = in_kind(&one, low);
        assert!(same(&copy, &in_kind(&one.shallow_clone(), low)));
        assert_eq!((copy.kind(), copy.double_value(&[0, 0])), (low, 1.0));
        // Written by somebody who does not tell: not what it is any more.
        let _ = one.fill_(3.0);
        assert_eq!(in_kind(&one, low).double_value(&[0, 0]), 3.0);
        assert!(!same(&copy, &in_kind(&one, low)));
        // Updated: the same memory holds the new values.
        copies.refresh(&[&one, &other], low);
        assert!(same(&copy, &in_kind(&one, low)));
        assert_eq!(copy.double_value(&[0, 0]), 3.0);
        // Other weights, other copies; and none behind the optimizer.
        copies.refresh(&[&other], low);
        assert!(!same(&copy, &in_kind(&one, low)));
        drop(copies);
        assert!(!same(&in_kind(&other, low), &in_kind(&other, low)));
        assert!(same(&in_kind(&one, Kind::Float), &one), "nothing to cast");
    }
}
