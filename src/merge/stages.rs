//! Running a recipe file: one document, or several that build on each other.
//!
//! A string in a document that equals another document's `name:` stands for that document's
//! result. All documents are planned before anything is written, later ones on the planned results
//! of earlier ones; then each is run, intermediate results going to a hidden directory beside the
//! output.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::plan::options::MergeOptions;
use super::plan::{MergePlan, plan, plan_with};
use crate::compute::merge::MergeKernels;
use crate::error::{Diagnose, ErrorKind, Result};
use crate::event::{Event, Progress};
use crate::merge::execute::executor::{ExecuteOptions, execute};
use crate::merge::execute::input_digests::InputDigests;
use crate::merge::execute::non_finite::{NonFinite, NonFiniteError};
use crate::merge::output::files::{FileRecord, copied_files, write_companions};
use crate::merge::output::input_records::{input_files, records};
use crate::merge::output::lock::{LOCK_FILE, Lock, locked_stage, stage_plan};
use crate::merge::output::report::{MergeReport, PlanReport};
use crate::merge::plan::sources::{Model, Resolver};
use crate::recipe::schema::TokenizerSource;
use crate::recipe::{Assembly, Diagnostics, ModelReference, Recipe, RecipeFile};
use crate::storage::file_name;
use crate::storage::hash::HashAlgorithm;
use crate::storage::publish::{WriteError, check_target, refuse_inputs};
use crate::storage::staging::StagingDir;
use crate::storage::unchanged::FileStamps;

/// A planned recipe file.
#[derive(Debug)]
pub(crate) struct PlannedRecipe<'a> {
    /// The recipes.
    pub file: &'a RecipeFile,
    /// Documents in execution order, by index into the file's recipes; the last is the output.
    pub order: Vec<usize>,
    /// Their plans, in the same order. Stages after the first may rest on planned inputs.
    pub plans: Vec<MergePlan>,
    /// Rendered warnings.
    pub warnings: Vec<String>,
    /// Those of them that `--quiet` does not hide.
    pub alerts: Vec<String>,
}

impl PlannedRecipe<'_> {
    /// Sends every warning.
    pub(crate) fn warn(&self, progress: Progress<'_>) {
        for warning in &self.warnings {
            if self.alerts.contains(warning) { progress.alert(warning) } else { progress.warn(warning) }
        }
    }

    /// The plans as data.
    #[must_use]
    pub(crate) fn report(&self, threads: usize) -> PlanReport {
        let stages = self.order.iter().zip(&self.plans).map(|(&document, plan)| {
            stage_plan(plan, self.file.recipes()[document].name.as_ref().map(|n| n.value.as_str()), threads)
        });
        PlanReport { stages: stages.collect(), warnings: self.warnings.clone() }
    }
}

/// Plans all documents of a recipe. Nothing is written.
///
/// # Errors
/// [`RecipeError`](crate::yaml::RecipeError) with every problem found.
pub(crate) fn plan_recipe<'a>(
    file: &'a RecipeFile,
    resolver: &Resolver,
    options: &MergeOptions,
) -> Result<PlannedRecipe<'a>> {
    let mut diagnostics = file.diagnostics().clone().with_lenient(options.lenient);
    let order = execution_order(file.recipes(), &mut diagnostics);
    let mut resolver = Resolver { cache: resolver.cache.clone(), stages: resolver.stages.clone() };
    let mut plans = Vec::new();
    for &document in &order {
        let recipe = &file.recipes()[document];
        let planned = plan(recipe, &resolver, options, &mut diagnostics);
        if let (Some(planned), Some(name)) = (&planned, &recipe.name) {
            resolver.stages.insert(name.value.clone(), planned.result());
        }
        match planned {
            Some(planned) => plans.push(planned),
            // What builds on a broken stage would only repeat its faults.
            None => break,
        }
    }
    diagnostics.check()?;
    if let Some(&document) = order.get(plans.len()) {
        // Every reason for having no plan was noted above; this is the one that was not.
        return Err(Unplanned::new(&file.recipes()[document]).into());
    }
    let (warnings, alerts) = (diagnostics.warnings(), diagnostics.alerts());
    Ok(PlannedRecipe { file, order, plans, warnings, alerts })
}

/// The documents in an order in which each comes after what it uses; the output comes last.
/// Documents that the output does not need are left out with a warning.
fn execution_order(recipes: &[Recipe], diagnostics: &mut Diagnostics) -> Vec<usize> {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unnamed = None;
    for (i, recipe) in recipes.iter().enumerate() {
        match &recipe.name {
            Some(name) if names.insert(&name.value, i).is_some() => {
                diagnostics.error(name.span, format!("two documents are named `{}`", name.value));
            }
            Some(name) if name.value.starts_with('.') || file_name::fault(&name.value).is_some() => {
                let why = file_name::fault(&name.value).unwrap_or_else(|| "it begins with a dot".to_owned());
                diagnostics.error_help(
                    name.span,
                    format!("`{}` can't be a document's name: {why}", name.value.escape_debug()),
                    "it has to be usable as a file name",
                );
            }
            None if unnamed.replace(i).is_some() => {
                diagnostics.error_help(
                    recipe.span,
                    "more than one document has no `name`",
                    "only the document that makes the output may be without one",
                );
            }
            _ => {}
        }
    }
    let Some(output) = unnamed.or_else(|| recipes.len().checked_sub(1)) else { return Vec::new() };
    let mut order = Vec::new();
    let mut open = Vec::new();
    visit(output, recipes, &names, &mut open, &mut order, diagnostics);
    for (i, recipe) in recipes.iter().enumerate().filter(|(i, _)| !order.contains(i)) {
        if let Some(name) = recipe.name.as_ref().filter(|_| i != output) {
            diagnostics.warning(name.span, format!("document `{}` is not used and not run", name.value), None);
        }
    }
    order
}

fn visit(
    document: usize,
    recipes: &[Recipe],
    names: &BTreeMap<&str, usize>,
    open: &mut Vec<usize>,
    order: &mut Vec<usize>,
    diagnostics: &mut Diagnostics,
) {
    if order.contains(&document) {
        return;
    }
    if open.contains(&document) {
        let span = recipes[document].name.as_ref().map(|n| n.span);
        diagnostics.error(span, "the documents depend on each other in a circle");
        return;
    }
    open.push(document);
    for reference in references(&recipes[document]) {
        if let Some(&needed) = names.get(reference.to_string().as_str()) {
            visit(needed, recipes, names, open, order, diagnostics);
        }
    }
    open.pop();
    order.push(document);
}

fn references(recipe: &Recipe) -> BTreeSet<&ModelReference> {
    let mut references: BTreeSet<&ModelReference> = recipe.sources().map(|s| &s.model.value).collect();
    references.extend(recipe.base_model.as_ref().map(|b| &b.value));
    if let Assembly::Slices(slices) = &recipe.assembly {
        references.extend(slices.iter().filter_map(|s| s.base_model.as_ref()).map(|b| &b.value));
    }
    if let Some(TokenizerSource::Model(model)) = recipe.tokenizer.as_ref().map(|t| &t.value) {
        references.insert(model);
    }
    references
}

/// Merges what a recipe says and publishes the result at `target`.
///
/// # Errors
/// Recipe, input and write errors; the target is then as it was.
pub(crate) fn merge(
    file: &RecipeFile,
    target: &Path,
    options: &MergeOptions,
    backend: &dyn MergeKernels,
    progress: Progress<'_>,
) -> Result<MergeReport> {
    let started = Instant::now();
    let resolver = Resolver::from_environment();
    let planned = plan_recipe(file, &resolver, options)?;
    let mut warnings = planned.warnings.clone();
    planned.warn(progress);
    let inputs = input_paths(&planned, options)?;
    let kept = (options.keep_intermediates && planned.order.len() > 1).then(|| intermediates_target(target));
    for target in [target].into_iter().chain(kept.as_deref()) {
        refuse_inputs(target, &inputs)?;
        check_target(target, options.force)?;
    }
    // Made before the inputs are read, which may take minutes: a place that can't be written is found out at once.
    let staging = StagingDir::create(target, options.force)?;
    let mut copied = FileStamps::default();
    for plan in &planned.plans {
        copied_files(plan, options)?.iter().for_each(|path| copied.take(path));
    }
    let mut lock = Lock::new(options, file.text());
    let hashed = match options.hash {
        Some(algorithm) => {
            let files = input_files(&planned.plans, options)?;
            let digests = InputDigests::begin(files.values().cloned(), algorithm, progress)?;
            Some((files, digests))
        }
        None => None,
    };
    let mut run = StageRun {
        options,
        backend,
        progress,
        resolver,
        inputs: hashed.as_ref().map(|(_, digests)| digests),
        staging: &staging,
        intermediates: None,
        bytes: (0, 0),
        directories: BTreeMap::new(),
    };
    let count = planned.order.len();
    let mut last = None;
    let mut plans = planned.plans.into_iter();
    for (index, &document) in planned.order.iter().enumerate() {
        let recipe = &file.recipes()[document];
        let first_plan = plans.next().expect("every document in order has a plan");
        if count > 1 {
            let name = recipe.name.as_ref().map(|n| n.value.clone());
            progress.event(Event::StageStarted { index, count, name });
        }
        let plan = run.bind(recipe, first_plan, file)?;
        lock.stages.push(locked_stage(&plan, recipe.name.as_ref().map(|n| n.value.as_str())));
        let output = index + 1 == count;
        let files = run.stage(&plan, recipe, output, file.text(), &mut warnings)?;
        if output {
            lock.outputs = files;
        }
        last = Some(plan);
    }
    let plan = last.expect("a recipe without documents is refused before");
    progress.cancel.check()?;
    let (bytes, intermediates) = (run.bytes, run.intermediates.take());
    if let Some((files, digests)) = hashed {
        lock.inputs = records(files, &digests.finish(options.workers, progress)?);
    }
    copied.check()?;
    staging.write(LOCK_FILE, lock.text().as_bytes())?;
    staging.publish()?;
    if let Some(intermediates) = intermediates.filter(|_| options.keep_intermediates) {
        intermediates.publish()?;
    }
    progress.event(Event::Finished);
    Ok(MergeReport {
        output: target.to_owned(),
        method: plan.method.name().to_owned(),
        stages: count,
        models: plan.models.iter().map(|m| m.reference.to_string()).collect(),
        parameters: plan.elements(),
        tensors: plan.outputs.len(),
        shards: plan.layout.shards.len(),
        bytes_read: bytes.0,
        bytes_written: bytes.1,
        seconds: started.elapsed().as_secs_f64(),
        threads: options.workers.threads(),
        backend: backend.name().to_owned(),
        warnings,
    })
}

struct StageRun<'a> {
    options: &'a MergeOptions,
    backend: &'a dyn MergeKernels,
    progress: Progress<'a>,
    resolver: Resolver,
    /// Digests of the recipe's inputs, which the stages take while they read.
    inputs: Option<&'a InputDigests>,
    staging: &'a StagingDir,
    /// Holds the results of earlier stages.
    intermediates: Option<StagingDir>,
    /// Read and written so far.
    bytes: (u64, u64),
    /// Directories of finished stages.
    directories: BTreeMap<String, PathBuf>,
}

impl StageRun<'_> {
    /// The plan with its models opened: a stage that rests on earlier ones is planned again on
    /// what these have written.
    fn bind(&self, recipe: &Recipe, mut planned: MergePlan, file: &RecipeFile) -> Result<MergePlan> {
        if planned.models.iter().all(|m| m.source().is_some()) {
            return Ok(planned);
        }
        for model in planned.models.iter_mut().filter(|m| m.source().is_none()) {
            let directory = self.directories.get(&model.reference.to_string());
            let directory = directory.expect("what has no files yet is an earlier stage, and these have run");
            *model = Model::open(model.reference.clone(), directory)?;
        }
        plan_again(recipe, planned, file, &self.resolver, self.options)
    }

    /// Runs one stage; returns the records of its files.
    fn stage(
        &mut self,
        plan: &MergePlan,
        recipe: &Recipe,
        output: bool,
        text: &str,
        warnings: &mut Vec<String>,
    ) -> Result<BTreeMap<String, FileRecord>> {
        self.progress.event(Event::PlanReady {
            tensors: plan.jobs.len(),
            bytes_read: plan.bytes_read(),
            bytes_written: plan.bytes_written(),
        });
        let nested;
        let staging = if output {
            self.staging
        } else {
            if self.intermediates.is_none() {
                let target = intermediates_target(self.staging.target());
                let made = if self.options.keep_intermediates {
                    StagingDir::create(&target, self.options.force)?
                } else {
                    StagingDir::scratch(self.staging.target())?
                };
                self.intermediates = Some(made);
            }
            let name = recipe.name.as_ref().map_or("stage", |n| n.value.as_str());
            let parent = self.intermediates.as_ref().expect("made right above");
            nested = parent.nested(name)?;
            self.directories.insert(name.to_owned(), nested.path().to_owned());
            &nested
        };
        let execute_options =
            ExecuteOptions { workers: self.options.workers, hash: self.options.hash.filter(|_| output) };
        let execution = execute(plan, self.backend, staging, execute_options, self.inputs, self.progress)?;
        plan.unchanged()?;
        report_non_finite(&execution.non_finite, "output", self.options, warnings, self.progress)?;
        self.bytes.0 += plan.bytes_read();
        self.bytes.1 += plan.bytes_written();
        let mut files =
            write_companions(plan, text, staging, self.options, self.options.hash.unwrap_or(HashAlgorithm::Blake3))?;
        for (i, shard) in plan.layout.shards.iter().enumerate() {
            let digest = execution.shard_digests.get(i).cloned();
            files.insert(shard.file_name.clone(), FileRecord { bytes: shard.bytes, digest });
        }
        Ok(files)
    }
}

/// `OUT.stages`, where the results of earlier documents go on request.
fn intermediates_target(output: &Path) -> PathBuf {
    // A path that ends in `..` has no name of its own; such an output is refused.
    let mut name = output.file_name().map_or_else(std::ffi::OsString::new, std::ffi::OsStr::to_os_string);
    name.push(".stages");
    output.with_file_name(name)
}

/// Warns of infinities and NaN that inputs have, and refuses those that the merge made unless they are allowed.
pub(super) fn report_non_finite(
    found: &[NonFinite],
    what: &str,
    options: &MergeOptions,
    warnings: &mut Vec<String>,
    progress: Progress<'_>,
) -> Result<(), NonFiniteError> {
    let made: Vec<NonFinite> = found.iter().filter(|tensor| tensor.made > 0).cloned().collect();
    if !made.is_empty() && !options.allow_non_finite {
        return Err(NonFiniteError { made });
    }
    for tensor in found {
        let warning = tensor.warning(what);
        progress.alert(&warning);
        warnings.push(warning);
    }
    Ok(())
}

/// Plans a document again, now that the results of the stages which it rests on are open.
pub(super) fn plan_again(
    recipe: &Recipe,
    planned: MergePlan,
    file: &RecipeFile,
    resolver: &Resolver,
    options: &MergeOptions,
) -> Result<MergePlan> {
    let mut diagnostics = Diagnostics::new(file.source().clone(), options.lenient);
    let opened = planned.models.into_iter().map(|m| (m.reference.clone(), m)).collect();
    let again = plan_with(recipe, resolver, opened, options, &mut diagnostics);
    diagnostics.check()?;
    // Every reason for having no plan was noted above; this is the one that was not.
    again.ok_or_else(|| Unplanned::new(recipe).into())
}

/// Everything that a recipe reads: the recipe, the models' directories, and each file, which may be a link into a cache.
fn input_paths(planned: &PlannedRecipe<'_>, options: &MergeOptions) -> Result<Vec<PathBuf>, WriteError> {
    let mut paths: Vec<PathBuf> = planned.file.path().map(Path::to_owned).into_iter().collect();
    for plan in &planned.plans {
        for model in &plan.models {
            paths.extend(model.dir.as_ref().map(|dir| dir.root().to_owned()));
            paths.extend(model.adapter.as_ref().map(|adapter| adapter.path().to_owned()));
            paths.extend(model.input_files());
        }
        paths.extend(copied_files(plan, options)?);
    }
    Ok(paths)
}

/// A document could not be planned, for no noted reason.
#[derive(Debug, thiserror::Error)]
#[error("the recipe `{recipe}` cannot be planned")]
struct Unplanned {
    /// Its name, else its method.
    recipe: String,
}

impl Unplanned {
    fn new(recipe: &Recipe) -> Self {
        Self { recipe: recipe.name.as_ref().unwrap_or(&recipe.method).value.clone() }
    }
}

impl Diagnose for Unplanned {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}
