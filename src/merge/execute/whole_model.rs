//! The search for thresholds of task vectors that are trimmed as a whole: rounds over all of their tensors.

use super::executor::{Executor, Piece, next_batch, pieces};
use super::trim::{WholeModelSearch, WholeModelThresholds};
use crate::error::Result;
use crate::merge::methods::{Reduction, Sparsify};
use crate::merge::plan::TensorJob;

impl Executor<'_> {
    /// Thresholds of task vectors that are trimmed as a whole.
    pub(super) fn whole_model_thresholds(&self) -> Result<WholeModelThresholds> {
        let mut wanted: Vec<(usize, f64)> = Vec::new();
        let mut searched: Vec<&TensorJob> = Vec::new();
        for job in self.plan.jobs.iter().filter(|job| !job.verbatim) {
            let Reduction::Sparsify { rules, .. } = &job.reduction else { continue };
            for (rule, input) in rules.iter().zip(job.parameters.tuned()) {
                if let Sparsify::LargestOfModel { density } = rule {
                    let key = (job.inputs[input].model, *density);
                    if !wanted.contains(&key) {
                        wanted.push(key);
                    }
                    if searched.last().is_none_or(|last| last.output != job.output) {
                        searched.push(job);
                    }
                }
            }
        }
        let mut thresholds = WholeModelThresholds::default();
        let Some(first) = searched.first() else { return Ok(thresholds) };
        let mut searches: Vec<Option<WholeModelSearch>> = wanted
            .iter()
            .map(|(model, density)| {
                let elements = searched.iter().filter(|j| j.inputs.iter().any(|i| i.model == *model));
                let elements = elements.map(|j| j.parameters.elements()).sum();
                Some(WholeModelSearch::new(*density, elements, first.parameters.precision))
            })
            .collect();
        while searches.iter().any(Option::is_some) {
            self.whole_model_round(&searched, &wanted, &searches)?;
            for ((model, density), search) in wanted.iter().zip(&mut searches) {
                if let Some(key) = search.as_mut().and_then(WholeModelSearch::next_round) {
                    thresholds.insert(*model, *density, key);
                    *search = None;
                }
            }
        }
        Ok(thresholds)
    }

    /// Shows every chunk to the searches that go on. Batch by batch: what a fault mapped besides the chunks
    /// themselves is then given back before it grows with the model.
    fn whole_model_round(
        &self,
        searched: &[&TensorJob],
        wanted: &[(usize, f64)],
        searches: &[Option<WholeModelSearch>],
    ) -> Result<()> {
        let mut rest = searched;
        while !rest.is_empty() {
            let (batch, later) = next_batch(rest);
            rest = later;
            let pieces: Vec<Piece> = batch.iter().enumerate().flat_map(|(i, job)| pieces(i, job)).collect();
            self.each_window(batch, &pieces, |piece, scratch| {
                let job = batch[piece.job];
                let chunk = self.inputs(job, piece.index, &piece.range, &mut scratch.adapted)?;
                for ((model, _), search) in wanted.iter().zip(searches) {
                    let input = job.inputs.iter().position(|i| i.model == *model);
                    if let (Some(input), Some(search)) = (input, search) {
                        search.visit(self.backend, chunk.delta(input));
                    }
                }
                self.release(job, &piece.range);
                Ok(())
            })?;
            self.release_all(batch);
        }
        Ok(())
    }
}
