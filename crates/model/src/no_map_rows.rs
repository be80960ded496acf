//! Stands in for [`MapRows`] in builds without libtorch.

/// Nothing: only libtorch's kernels need to know where tokens lie.
#[derive(Debug, Clone, Default)]
pub(crate) struct MapRows {}
