//! Actions of steps, behind a trait, so that their order can be tested without a model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::graph::Graph;
use super::output::{Evaluated, Gated, Selected, StepOutput, Trained};
use super::report::data::TaskVectors;
use super::row::Row;
use super::schema::{BASE, Candidate, Experiment, Origin, SPECIALIST, Specialist};
use super::state::Record;
use crate::error::Result;
use crate::event::Progress;
use crate::recipe::{ModelReference, RecipeFile};

/// Files and findings that a step leaves.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StepResult {
    /// The files it made, below the output folder.
    pub files: Vec<PathBuf>,
    /// Scores, the chosen recipe, a verdict.
    pub output: StepOutput,
}

/// A model that is evaluated.
#[derive(Debug, Clone)]
pub(crate) enum ModelUnderTest<'a> {
    /// The base model.
    Base,
    /// The base model with a specialist's adapter, or the specialist's own weights.
    Specialist(&'a str),
    /// A merge that is made in memory.
    Merged(&'a Candidate),
    /// A merged model on disk.
    OnDisk(PathBuf),
}

/// Context of a step in its run.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub experiment: &'a Experiment,
    /// Steps and rows.
    pub graph: &'a Graph,
    /// The output folder.
    pub out: &'a Path,
    /// The finished steps that this run depends on, by name.
    pub finished: &'a BTreeMap<String, Record>,
    /// Whether the user asked for this step to be done anew, whatever is left of an earlier time.
    pub forced: bool,
    /// Receiver of events.
    pub progress: Progress<'a>,
}

/// The steps' work. Each method writes below `context.out` and says what it left.
pub(crate) trait StepRunner {
    /// Checks what the experiment's own reader cannot, before anything runs: training settings.
    ///
    /// # Errors
    /// Faults of them.
    fn check(&self, context: Context<'_>) -> Result<()>;

    /// Trains a specialist into `context.specialist_folder(name)`.
    ///
    /// # Errors
    /// Errors of training.
    fn train(&mut self, name: &str, specialist: &Specialist, context: Context<'_>) -> Result<StepResult>;

    /// Writes a merged model into `folder`.
    ///
    /// # Errors
    /// Errors of merging.
    fn merge(&mut self, candidate: &Candidate, folder: &Path, context: Context<'_>) -> Result<StepResult>;

    /// Scores a model on all tasks, or on the validation splits of the seen ones.
    ///
    /// # Errors
    /// Errors of opening, merging or evaluating.
    fn evaluate(
        &mut self,
        row: &str,
        model: &ModelUnderTest<'_>,
        validation: bool,
        context: Context<'_>,
    ) -> Result<StepResult>;

    /// Decides whether a row lost anything against the base.
    ///
    /// # Errors
    /// Results that can't be compared.
    fn gate(&mut self, row: &str, context: Context<'_>) -> Result<StepResult>;

    /// Norms and cosines of the specialists' task vectors.
    ///
    /// # Errors
    /// Adapters that can't be read or compared.
    fn task_vectors(&mut self, context: Context<'_>) -> Result<StepResult>;

    /// Writes the report.
    ///
    /// # Errors
    /// Results that can't be read, files that can't be written.
    fn report(&mut self, context: Context<'_>) -> Result<StepResult>;
}

impl Context<'_> {
    fn output(&self, step: &str) -> Option<&StepOutput> {
        self.finished.get(step).map(|record| &record.outcome)
    }

    /// Evaluation of a finished step: `evaluate ROW` or `validate CANDIDATE`.
    #[must_use]
    pub(crate) fn evaluated(&self, step: &str) -> Option<&Evaluated> {
        match self.output(step)? {
            StepOutput::Evaluated(evaluated) => Some(evaluated),
            _ => None,
        }
    }

    /// The verdict on a row.
    #[must_use]
    pub(crate) fn gated(&self, row: &str) -> Option<&Gated> {
        match self.output(&format!("gate {row}"))? {
            StepOutput::Gated(gated) => Some(gated),
            _ => None,
        }
    }

    /// The selection of a merge.
    #[must_use]
    pub(crate) fn selected(&self, merge: &str) -> Option<&Selected> {
        match self.output(&format!("select {merge}"))? {
            StepOutput::Selected(selected) => Some(selected),
            _ => None,
        }
    }

    /// The training of a specialist.
    #[must_use]
    pub(crate) fn trained(&self, specialist: &str) -> Option<&Trained> {
        match self.output(&format!("train {specialist}"))? {
            StepOutput::Trained(trained) => Some(trained),
            _ => None,
        }
    }

    /// Norms and cosines of the specialists' task vectors.
    #[must_use]
    pub(crate) fn task_vectors(&self) -> Option<&TaskVectors> {
        match self.output("task-vectors")? {
            StepOutput::TaskVectors(vectors) => Some(vectors),
            _ => None,
        }
    }

    /// Folder of a specialist: its adapter's folder, or its model's.
    #[must_use]
    pub(crate) fn specialist_folder(&self, name: &str) -> PathBuf {
        match self.experiment.specialists.get(name).map(|s| &s.origin) {
            Some(Origin::Adapter(folder)) => folder.clone(),
            _ => self.out.join("specialists").join(name),
        }
    }

    /// Folder of a kept merge.
    #[must_use]
    pub(crate) fn merge_folder(&self, row: &str) -> PathBuf {
        self.out.join("merges").join(row)
    }

    /// The recipe of a merge row; `None` for another row, or before its recipe is selected.
    #[must_use]
    pub(crate) fn candidate(&self, row: &Row) -> Option<&Candidate> {
        let Row::Merge { merge, candidate } = row else { return None };
        let chosen = || self.selected(merge).map(|selected| selected.candidate);
        self.experiment.merges.get(merge)?.candidates.get((*candidate).or_else(chosen)?)
    }

    /// The merge recipe of a candidate with real paths in place of names. `base` is the base model's
    /// directory.
    #[must_use]
    pub(crate) fn recipe(&self, candidate: &Candidate, base: &Path) -> RecipeFile {
        candidate.recipe.with_references(|reference| self.placed(reference, base))
    }

    fn placed(&self, reference: &ModelReference, base: &Path) -> ModelReference {
        let adapter = reference.adapter.clone();
        if reference.path == BASE {
            return ModelReference { adapter, ..directory(base) };
        }
        let Some(name) = reference.path.strip_prefix(SPECIALIST) else { return reference.clone() };
        let folder = self.specialist_folder(name);
        if folder.join("adapter_config.json").is_file() {
            directory(base).with_adapter(&folder.display().to_string())
        } else {
            ModelReference { adapter, ..directory(&folder) }
        }
    }
}

fn directory(path: &Path) -> ModelReference {
    ModelReference::directory(&path.display().to_string())
}
