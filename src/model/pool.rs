//! Packed weights of a checkpoint that several decoders share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::compute::nn::{PackedMatrix, WeightDtype};

/// Weights that were packed for one decoder and serve the next ones as they are: those that no adapter changes.
/// The checkpoint must not change meanwhile.
#[derive(Debug, Default)]
pub struct WeightPool(Mutex<BTreeMap<Weight, Arc<PackedMatrix>>>);

/// Identity of a weight: a checkpoint's module from a row on, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Weight {
    root: PathBuf,
    module: String,
    first_row: usize,
    rows: usize,
    precision: WeightDtype,
}

impl WeightPool {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Weight, Arc<PackedMatrix>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows of a module's weight: as they were packed before, or else by `pack`.
    pub(super) fn matrix(
        &self,
        root: &Path,
        module: &str,
        [first_row, rows]: [usize; 2],
        precision: WeightDtype,
        pack: impl FnOnce() -> PackedMatrix,
    ) -> Arc<PackedMatrix> {
        let weight = Weight { root: root.to_owned(), module: module.to_owned(), first_row, rows, precision };
        if let Some(packed) = self.lock().get(&weight) {
            return Arc::clone(packed);
        }
        // Not under the lock: layers are packed side by side.
        let packed = Arc::new(pack());
        Arc::clone(self.lock().entry(weight).or_insert(packed))
    }

    /// Bytes of the weights.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().values().map(|packed| packed.bytes() as u64).sum()
    }

    /// Lets go of them.
    pub fn clear(&self) {
        self.lock().clear();
    }
}
