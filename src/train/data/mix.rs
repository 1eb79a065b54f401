//! Repetitions of each data set in an epoch.

use super::error::DataError;
use super::{PackedRow, TrainingData};
use crate::python::random::PythonRandom;
use crate::rng::stream_key;
use crate::train::data::pack;
use crate::train::recipe::{DatasetRecipe, TrainRecipe};

/// Refuses settings that make no mix, before anything is read.
pub(super) fn check(recipe: &TrainRecipe) -> Result<(), DataError> {
    if recipe.datasets.is_empty() {
        return Err(DataError::NoSets);
    }
    if !(0.0..1.0).contains(&recipe.val_set_size) {
        return Err(DataError::HoldOut { value: recipe.val_set_size });
    }
    if !(recipe.mixing_temperature.is_finite() && recipe.mixing_temperature >= 0.0) {
        return Err(DataError::Temperature { value: recipe.mixing_temperature });
    }
    for dataset in &recipe.datasets {
        let fault = |key, value, message| Err(DataError::Mixing { set: dataset.name.clone(), key, value, message });
        match (dataset.weight, dataset.share) {
            (Some(weight), Some(_)) => {
                return fault("weight", weight, "given beside a `share`; a set has one or the other");
            }
            (Some(weight), None) if !(weight.is_finite() && weight >= 0.0) => {
                return fault("weight", weight, "not 0 or more");
            }
            (None, Some(share)) if !(share > 0.0 && share < 1.0) => {
                return fault("share", share, "not between 0 and 1");
            }
            _ => {}
        }
    }
    let total: f64 = recipe.datasets.iter().filter_map(|dataset| dataset.share).sum();
    if total >= 1.0 { Err(DataError::Shares { total }) } else { Ok(()) }
}

/// Examples of each set in an epoch, by the rules of the [module](super).
pub(super) fn counts(datasets: &[DatasetRecipe], sizes: &[usize], temperature: f64) -> Result<Vec<usize>, DataError> {
    let sets = || datasets.iter().zip(sizes);
    let plain = |dataset: &DatasetRecipe| dataset.weight.is_none() && dataset.share.is_none();
    let all: f64 = sets().filter(|(d, _)| plain(d)).map(|(_, size)| *size as f64).sum();
    let heated = |size: usize| (size as f64).powf(temperature);
    let heat: f64 = sets().filter(|(d, _)| plain(d)).map(|(_, size)| heated(*size)).sum();
    let weighted = sets().map(|(dataset, size)| match (dataset.weight, dataset.share) {
        (Some(weight), _) => weight * *size as f64,
        (None, Some(_)) => 0.0,
        (None, None) if temperature == 1.0 => *size as f64,
        (None, None) => all * heated(*size) / heat,
    });
    let rounded = |target: f64| if target > 0.0 { (target.round() as usize).max(1) } else { 0 };
    let mut counts: Vec<usize> = weighted.map(rounded).collect();
    let others: usize = counts.iter().sum();
    let shares: f64 = datasets.iter().filter_map(|dataset| dataset.share).sum();
    if others == 0 {
        return Err(if shares > 0.0 { DataError::OnlyShares } else { DataError::EmptyMix });
    }
    let whole = others as f64 / (1.0 - shares);
    for (count, dataset) in counts.iter_mut().zip(datasets) {
        if let Some(share) = dataset.share {
            *count = rounded(share * whole);
        }
    }
    Ok(counts)
}

impl TrainingData {
    /// The rows of an epoch (from 0) in the order they are seen: places of [`examples`](Self::examples)
    /// that share a row. The same for the same data, seed and epoch, however often it is computed.
    #[must_use]
    pub fn rows(&self, recipe: &TrainRecipe, epoch: u64) -> Vec<PackedRow> {
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); self.sets.len()];
        for (place, example) in self.examples.iter().enumerate() {
            if let Some(members) = members.get_mut(example.set) {
                members.push(place);
            }
        }
        let stream =
            |purpose: &str, set: &str| PythonRandom::new(stream_key(recipe.seed, &[purpose, set, &epoch.to_string()]));
        let mut order = Vec::new();
        for (index, (members, set)) in members.iter().zip(&self.sets).enumerate() {
            order.extend(drawn(members, set.per_epoch, &mut stream("draw", &index.to_string())));
        }
        let mut random = stream("order", "");
        if recipe.shuffle {
            random.shuffle(&mut order);
        }
        if !recipe.sample_packing {
            return order.into_iter().map(|place| vec![place]).collect();
        }
        let lengths: Vec<usize> =
            order.iter().map(|place| self.examples.get(*place).map_or(0, |example| example.tokens.len())).collect();
        let mut packed = pack::best_fit_decreasing(&lengths, recipe.sequence_len);
        if recipe.shuffle {
            random.shuffle(&mut packed);
        } else {
            // As near to the files' order as packing allows.
            for row in &mut packed {
                row.sort_unstable();
            }
            packed.sort_unstable();
        }
        packed.into_iter().map(|row| row.into_iter().filter_map(|i| order.get(i).copied()).collect()).collect()
    }
}

/// Whole copies, and a draw without replacement for the rest, which keeps the members' order.
fn drawn(members: &[usize], count: usize, random: &mut PythonRandom) -> Vec<usize> {
    if members.is_empty() {
        return Vec::new();
    }
    let mut drawn = members.repeat(count / members.len());
    let mut rest = random.sample(members.len(), count % members.len()).expect("a rest is smaller");
    rest.sort_unstable();
    drawn.extend(rest.into_iter().filter_map(|place| members.get(place)));
    drawn
}
