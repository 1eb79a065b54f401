//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::{self, RunState, Window};
use super::data::{Example, SetSummary, TrainingData, asking_template};
use super::error::TrainError;
use super::evaluation::Evaluation;
use super::fingerprint::{Fingerprint, Surroundings};
use super::folder::{self, CONFIG_FILE, RunFolder};
use super::gradient::{StepLoss, StepSettings, step_gradient};
use super::log::{LogLine, TrainLog, TrainerState};
use super::optimiser::AdamW;
use super::options::TrainOptions;
use super::prompt_record::PromptRecord;
use super::recipe::{AdapterRecipe, TrainRecipe};
use super::resume::{self, Resumed};
use super::save::{self, Base};
use super::schedule::Schedule;
use crate::checkpoint::ModelDir;
use crate::compute::nn::WeightDtype;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Progress};
use crate::lora::Adapter;
use crate::model::{Decoder, DecoderOptions};
use crate::storage::publish::{publish_file, remove_output};
use crate::tokenizer::Tokenizer;
use crate::train::batch_sampler::BatchSampler;
use crate::train::inject::{TrainableModel, inject, settled};
use crate::train::memory_estimate::{Estimate, estimate};

/// Result of a run.
#[derive(Debug, Clone)]
pub struct TrainReport {
    /// The result's folder.
    pub out: PathBuf,
    /// Optimiser steps taken, earlier processes included.
    pub steps: u64,
    /// Passes over the mix.
    pub epochs: f64,
    /// Trained elements.
    pub parameters: u64,
    /// Loss of the last log line.
    pub loss: Option<f64>,
    /// Step and value of the best evaluation, if the recipe names a metric.
    pub best: Option<(u64, f64)>,
    /// Whether training stopped for want of better evaluations.
    pub stopped_early: bool,
    /// Counts of each data set.
    pub sets: Vec<SetSummary>,
    /// Tokens seen.
    pub tokens: u64,
    /// Seconds in all.
    pub seconds: f64,
}

/// Trains as the recipe says. `model` is the base model's directory.
///
/// The same recipe, data and model give the same bytes whatever the number of threads, and also after
/// any interruption and `resume`.
///
/// # Errors
/// Faults of recipe, data or model; a [`TrainError`] for a run that diverges; interruption,
/// after which the run can be resumed.
pub(crate) fn run(
    recipe: &TrainRecipe,
    model: &Path,
    options: &TrainOptions,
    progress: Progress<'_>,
) -> Result<TrainReport> {
    let out = &options.out;
    let start = match &recipe.adapter {
        AdapterRecipe::Lora(lora) => lora.init_from.as_ref().map(|start| start.path.as_path()),
        AdapterRecipe::Full => None,
    };
    let inputs: Vec<PathBuf> =
        options.inputs.iter().cloned().chain([model.to_owned()]).chain(start.map(Path::to_owned)).collect();
    folder::check(options, model, &inputs)?;
    let found = checkpoint::list(out);
    let first = start.map(Adapter::open).transpose()?;
    let recipe = &settled(recipe, first.as_ref())?;
    let tokenizer = Arc::new(Tokenizer::open(model)?);
    let data = TrainingData::load(recipe, options.data_dir.as_deref(), &tokenizer, options.workers, progress)?;
    let sampler = BatchSampler::new(recipe, &data);
    if sampler.total == 0 || data.examples.iter().all(|example| !example.trained.contains(&true)) {
        return Err(TrainError::NothingTrained.into());
    }
    let surroundings = Surroundings { model, data_dir: options.data_dir.as_deref(), total_steps: sampler.total };
    let fingerprint = Fingerprint::of(&data.asked.with_default_left_out(recipe), &data, &surroundings, progress)?;
    let wanted = resume::ResumeConditions {
        fingerprint: &fingerprint,
        force: options.force,
        ends_with_best: recipe.evaluation.best.as_ref().is_some_and(|best| best.load_at_end),
    };
    let resumed = if options.resume { resume::find(&found, &wanted, progress)? } else { None };
    let files = ModelDir::open(model)?;
    let dtype = files.tensors().values().map(|tensor| tensor.dtype).find(|dtype| dtype.is_float());
    let base = Base { directory: model, name: &recipe.base_model, dtype: dtype.unwrap_or(DType::F32) };
    let opening = DecoderOptions { pool: options.pool.clone(), workers: options.workers, ..DecoderOptions::default() };
    let decoder = Decoder::open(&files, &opening)?;
    for warning in files.warnings().iter().chain(decoder.warnings()) {
        progress.warn(warning.clone());
    }
    let latest = resumed.as_ref().filter(|_| recipe.adapter != AdapterRecipe::Full);
    let latest = latest.map(|resumed| Adapter::open(&resumed.folder)).transpose()?;
    let trainable = inject(decoder, recipe, latest.as_ref().or(first.as_ref()), options.workers)?;
    for warning in &trainable.warnings {
        progress.warn(warning.clone());
    }
    drop((first, latest, files));
    let evaluation = Evaluation::open(recipe, options.data_dir.as_deref(), &data, &trainable, Arc::clone(&tokenizer))?;
    // What would fail at the end fails now.
    evaluation.check()?;
    trainable.adapter()?;
    let run_folder = RunFolder::enter(options, &inputs, resumed.is_some())?;
    let mut optimiser = AdamW {
        beta1: recipe.adam_beta1,
        beta2: recipe.adam_beta2,
        epsilon: recipe.adam_epsilon,
        weight_decay: recipe.weight_decay,
        lora_b_ratio: recipe.loraplus_lr_ratio.unwrap_or(1.0),
        steps: 0,
        moments: Vec::new(),
    };
    optimiser.start(&trainable.parameters);
    let tile_registers = dtype == Some(DType::BF16) && WeightDtype::F32.for_bf16_values() == WeightDtype::Bf16;
    let (state, history) = match resumed {
        Some(resumed) => {
            let (state, history) = restored(resumed, &trainable, &mut optimiser, tile_registers, progress)?;
            (state, Some(history))
        }
        None => (RunState { fingerprint, tile_registers, ..RunState::default() }, None),
    };
    // Those beyond the one that the run goes on from are damaged, or of another run: they are computed again.
    for (_, path) in found.into_iter().filter(|(step, _)| history.is_some() && *step > state.step) {
        remove_output(&path)?;
    }
    // A run that was killed between saving and pruning left more than it should.
    if let Some(limit) = recipe.save_total_limit.filter(|_| history.is_some()) {
        checkpoint::prune(out, limit, state.best.map(|(step, _)| step));
    }
    let prompts = PromptRecord::new(&data.asked);
    if !recipe.evaluation.tasks.is_empty()
        && let Some(difference) = prompts.difference(asking_template(&tokenizer, recipe)?.as_ref())
    {
        progress.warn(format!("in the evaluations of this run the model {difference}: see `apply_chat_template`"));
    }
    publish_file(&out.join(CONFIG_FILE), data.asked.written_out(recipe).to_yaml().as_bytes())?;
    prompts.publish(out)?;
    let log = TrainLog::open(out, history.map(|lines| (state.step, lines)))?;
    let schedule = Schedule::new(recipe, sampler.total);
    let recompute = recomputes(recipe, &trainable, &data, &sampler, progress);
    let run = Run { recipe, out, data: &data, trainable: &trainable, evaluation, base, schedule, recompute, progress };
    let report = run.train(sampler, optimiser, state, log)?;
    run_folder.done();
    Ok(report)
}

/// Brings parameters, moments and state of a checkpoint back, with the lines that its run had logged.
fn restored(
    resumed: Resumed,
    trainable: &TrainableModel,
    optimiser: &mut AdamW,
    tile_registers: bool,
    progress: Progress<'_>,
) -> Result<(RunState, Vec<serde_json::Map<String, serde_json::Value>>)> {
    let Resumed { folder, state, history } = resumed;
    if trainable.lora.is_none() {
        checkpoint::restore_model(&folder, trainable)?;
    }
    checkpoint::restore_moments(&folder, &trainable.parameters, optimiser, state.step)?;
    if state.tile_registers != tile_registers {
        let (began, goes_on) = if tile_registers { ("without", "with") } else { ("with", "without") };
        progress.warn(format!(
            "the run began on a CPU {began} tile registers (AMX) and goes on {goes_on}: of a bf16 base model the last \
             bits of the result will be those of neither"
        ));
    }
    Ok((RunState { tile_registers, ..state }, history))
}

/// A run under way.
struct Run<'a> {
    recipe: &'a TrainRecipe,
    out: &'a Path,
    data: &'a TrainingData,
    trainable: &'a TrainableModel,
    evaluation: Evaluation<'a>,
    base: Base<'a>,
    schedule: Schedule,
    recompute: bool,
    progress: Progress<'a>,
}

impl Run<'_> {
    fn train(
        &self,
        mut sampler: BatchSampler<'_>,
        mut optimiser: AdamW,
        mut state: RunState,
        mut log: TrainLog,
    ) -> Result<TrainReport> {
        let recipe = self.recipe;
        let (total, per_epoch) = (sampler.total, sampler.steps_per_epoch());
        let save_every = recipe.save_interval(total, per_epoch);
        let evaluate_every = self.evaluation_interval(&sampler);
        let began = Instant::now();
        let earlier = state.seconds;
        let mut last_line = (Instant::now(), state.tokens);
        let mut last_loss = None;
        let patience = recipe.evaluation.best.as_ref().and_then(|best| best.early_stopping_patience);
        let mut stopped_early = patience.is_some_and(|patience| state.evaluations_without_gain >= patience);
        self.progress.event(Event::TrainingStarted { steps: total, done: state.step });
        while (state.step < total || state.evaluation_due) && !stopped_early {
            if !state.evaluation_due {
                let (loss, norm, rate) = match self.step(&mut sampler, &mut optimiser, &mut state) {
                    Err(error) if error.kind() == ErrorKind::Cancelled => {
                        return Err(self.interrupted(&sampler, &optimiser, &state, &mut log));
                    }
                    done => done?,
                };
                state.seconds = earlier + began.elapsed().as_secs_f64();
                self.progress.event(Event::TrainingStep {
                    step: state.step,
                    loss: loss.mean(),
                    tokens: loss.tokens,
                    learning_rate: rate,
                });
                let last = state.step == total;
                if state.step.is_multiple_of(recipe.logging_steps.max(1)) || last {
                    let window = std::mem::take(&mut state.window);
                    let seconds = last_line.0.elapsed().as_secs_f64();
                    let speed = (state.tokens - last_line.1) as f64 / seconds.max(1e-9);
                    last_line = (Instant::now(), state.tokens);
                    last_loss = Some(window.loss / window.steps.max(1) as f64);
                    log.line(&Self::line(&sampler, &state, &window, norm, rate, speed))?;
                }
                state.evaluation_due = evaluate_every.is_some_and(|every| state.step.is_multiple_of(every) || last);
            }
            if state.evaluation_due {
                let values = match self.evaluation.run(self.progress) {
                    Err(error) if error.kind() == ErrorKind::Cancelled => {
                        return Err(self.interrupted(&sampler, &optimiser, &state, &mut log));
                    }
                    values => values?,
                };
                state.evaluation_due = false;
                stopped_early = self.evaluated(&sampler, &optimiser, &mut state, &mut log, values)?;
            }
            if save_every.is_some_and(|every| state.step.is_multiple_of(every)) || state.step == total || stopped_early
            {
                self.save(&sampler, &optimiser, &state, &mut log)?;
            }
        }
        if let Some(best) = recipe.evaluation.best.as_ref().filter(|best| best.load_at_end)
            && let Some((step, _)) = state.best
            && step != state.step
        {
            self.load(&self.out.join(format!("checkpoint-{step}")), &best.metric)?;
        }
        log.sync()?;
        save::result(self.out, self.trainable, self.base, &self.trainer_state(&sampler, &state, &log))?;
        self.progress.event(Event::Finished);
        Ok(TrainReport {
            out: self.out.to_owned(),
            steps: state.step,
            epochs: sampler.epochs(state.step),
            parameters: self.trainable.elements(),
            loss: last_loss,
            best: state.best,
            stopped_early,
            sets: self.data.sets.clone(),
            tokens: state.tokens,
            seconds: state.seconds,
        })
    }

    /// Stops a run that diverges.
    fn watch(&self, state: &mut RunState, loss: &StepLoss, norm: f64) -> Result<(), TrainError> {
        let (step, mean) = (state.step + 1, loss.mean());
        if !mean.is_finite() || !norm.is_finite() {
            return Err(TrainError::NotFinite { step });
        }
        let uniform = (self.trainable.decoder.config().vocab_size as f64).ln();
        match state.watch.observe(step, mean, uniform, self.schedule.warmup_steps) {
            Some(loss) => Err(TrainError::WorseThanGuessing { step, loss, uniform }),
            None => Ok(()),
        }
    }

    fn line(
        sampler: &BatchSampler<'_>,
        state: &RunState,
        window: &Window,
        norm: f64,
        rate: f64,
        speed: f64,
    ) -> LogLine {
        let targets = window.targets.max(1) as f64;
        LogLine {
            loss: Some(window.loss / window.steps.max(1) as f64),
            grad_norm: Some(norm),
            learning_rate: Some(rate),
            num_tokens: Some(state.tokens),
            mean_token_accuracy: Some(window.correct as f64 / targets),
            entropy: Some(window.entropy / targets),
            tokens_per_second: Some(speed),
            ..LogLine::new(state.step, sampler.epochs(state.step))
        }
    }

    /// Takes note of an evaluation; whether training has had enough.
    fn evaluated(
        &self,
        sampler: &BatchSampler<'_>,
        optimiser: &AdamW,
        state: &mut RunState,
        log: &mut TrainLog,
        values: BTreeMap<String, f64>,
    ) -> Result<bool> {
        let mut line = LogLine::new(state.step, sampler.epochs(state.step));
        for (name, value) in &values {
            let key = if name.starts_with("eval_") { name.clone() } else { format!("eval_{name}") };
            line.insert(key, *value);
        }
        log.line(&line)?;
        let Some(best) = &self.recipe.evaluation.best else { return Ok(false) };
        let Some(&value) = values.get(&best.metric) else {
            let known = values.into_keys().collect();
            return Err(TrainError::UnknownMetric { metric: best.metric.clone(), known }.into());
        };
        let better = |(_, old): (u64, f64)| if best.greater_is_better { value > old } else { value < old };
        // What is no number is never the best: nothing could be better than it.
        if value.is_finite() && state.best.is_none_or(better) {
            state.best = Some((state.step, value));
            state.evaluations_without_gain = 0;
            self.save(sampler, optimiser, state, log)?;
            return Ok(false);
        }
        state.evaluations_without_gain += 1;
        Ok(best.early_stopping_patience.is_some_and(|patience| state.evaluations_without_gain >= patience))
    }

    /// One optimiser step: its loss, the gradient's norm and the learning rate.
    fn step(
        &self,
        sampler: &mut BatchSampler<'_>,
        optimiser: &mut AdamW,
        state: &mut RunState,
    ) -> Result<(StepLoss, f64, f64)> {
        let (recipe, trainable) = (self.recipe, self.trainable);
        let examples: Vec<&Example> =
            sampler.step(state.step).into_iter().filter_map(|index| self.data.examples.get(index)).collect();
        let settings = StepSettings {
            recompute: self.recompute,
            seed: recipe.seed,
            // Far more micro_batches than a step has.
            first_micro_batch: state.step << 24,
            workers: trainable.workers,
        };
        let (loss, mut gradients) =
            step_gradient(&trainable.decoder, &trainable.parameters, &examples, settings, self.progress.cancel)?;
        let (norm, rate) = (gradients.norm(), self.schedule.learning_rate(state.step));
        if loss.targets > 0 {
            self.watch(state, &loss, norm)?;
            if recipe.max_grad_norm > 0.0 {
                // PyTorch's rule, its guard against division by zero included.
                gradients.scale((recipe.max_grad_norm / (norm + 1e-6)).min(1.0) as f32);
            }
            optimiser.step(&trainable.parameters, &gradients, rate, trainable.workers)?;
            trainable.refresh()?;
        }
        state.step += 1;
        state.tokens += loss.tokens;
        state.trained_tokens += loss.targets;
        state.window.add(&loss);
        Ok((loss, norm, rate))
    }

    /// Keeps what there is when the user stops the run, and says how to go on.
    fn interrupted(
        &self,
        sampler: &BatchSampler<'_>,
        optimiser: &AdamW,
        state: &RunState,
        log: &mut TrainLog,
    ) -> Error {
        if state.step > 0
            && let Err(error) = self.save(sampler, optimiser, state, log)
        {
            return error;
        }
        TrainError::Interrupted { step: state.step, out: self.out.to_owned() }.into()
    }

    fn save(&self, sampler: &BatchSampler<'_>, optimiser: &AdamW, state: &RunState, log: &mut TrainLog) -> Result<()> {
        // A checkpoint counts on the lines up to its step.
        log.sync()?;
        let folder = self.out.join(format!("checkpoint-{}", state.step));
        let trainer_state = self.trainer_state(sampler, state, log);
        save::checkpoint(&folder, self.trainable, optimiser, state, &trainer_state, self.base)?;
        if let Some(limit) = self.recipe.save_total_limit {
            checkpoint::prune(self.out, limit, state.best.map(|(step, _)| step));
        }
        Ok(())
    }

    /// Brings the parameters of a checkpoint back.
    fn load(&self, folder: &Path, metric: &str) -> Result<()> {
        if self.trainable.lora.is_none() {
            return checkpoint::restore_model(folder, self.trainable);
        }
        self.progress.warn(format!("the result is {}, the best by {metric}", folder.display()));
        let adapter = Adapter::open(folder)?;
        self.trainable.load(&adapter)
    }

    fn trainer_state(&self, sampler: &BatchSampler<'_>, state: &RunState, log: &TrainLog) -> String {
        let best = state.best.map(|(step, _)| step);
        TrainerState {
            epoch: sampler.epochs(state.step),
            global_step: state.step,
            max_steps: sampler.total,
            num_train_epochs: sampler.epochs(sampler.total).ceil() as u64,
            logging_steps: self.recipe.logging_steps,
            eval_steps: self.evaluation_interval(sampler),
            save_steps: self.recipe.save_interval(sampler.total, sampler.steps_per_epoch()),
            train_batch_size: self.recipe.micro_batch_size,
            num_input_tokens_seen: state.tokens,
            total_flos: 0.0,
            best_metric: state.best.map(|(_, value)| value),
            best_global_step: best,
            best_model_checkpoint: best.map(|step| format!("checkpoint-{step}")),
            log_history: log.history().to_vec(),
        }
        .to_json()
    }

    fn evaluation_interval(&self, sampler: &BatchSampler<'_>) -> Option<u64> {
        let evaluation = &self.recipe.evaluation;
        if self.evaluation.is_empty() { None } else { evaluation.interval(sampler.total, sampler.steps_per_epoch()) }
    }
}

/// Decides whether activations are kept, and reports the needs of the run.
fn recomputes(
    recipe: &TrainRecipe,
    trainable: &TrainableModel,
    data: &TrainingData,
    sampler: &BatchSampler<'_>,
    progress: Progress<'_>,
) -> bool {
    let longest = data.examples.iter().map(|example| example.tokens.len()).max().unwrap_or(0) as u64;
    let Estimate { bytes, recomputed_bytes, seconds_per_token } = estimate(trainable, longest);
    let available = crate::machine::available_bytes();
    let recompute = recipe.gradient_checkpointing.unwrap_or(available.is_some_and(|most| bytes > most / 4 * 3));
    let tokens: u64 = data.sets.iter().map(|set| set.tokens as u64).sum();
    let per_epoch = tokens as f64 * data.sets.iter().map(|set| set.per_epoch).sum::<usize>() as f64
        / data.examples.len().max(1) as f64;
    let tokens = per_epoch * sampler.epochs(sampler.total);
    progress.event(Event::TrainingPlanned {
        steps: sampler.total,
        parameters: trainable.elements(),
        bytes: if recompute { recomputed_bytes } else { bytes },
        recompute,
        seconds: tokens * seconds_per_token * if recompute { 1.4 } else { 1.0 },
    });
    recompute
}
