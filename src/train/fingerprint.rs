//! Fingerprint of all that a run's result depends on, as named parts: a checkpoint is resumed only where all of them
//! are the same.
//!
//! Recipes are taken apart field by field without `..`, so that a new setting does not compile until someone decides
//! whether it changes the result.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::data::TrainingData;
use super::error::TrainError;
use super::inputs::{self, Input};
use super::recipe::{AdapterRecipe, BestModel, EvaluationRecipe, LoraRecipe, Scheduler, TargetModules, TrainRecipe};
use crate::error::{Cancelled, Result};
use crate::event::Progress;
use crate::storage::hash::{HashCache, Sha256Parts, sha256_bytes, sha256_input};
use crate::storage::stated;

/// Parts by name: settings as text, files and data as SHA-256.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fingerprint(BTreeMap<String, String>);

/// Inputs besides the recipe and its data that decide the result.
pub(crate) struct Surroundings<'a> {
    /// Folder of the base model.
    pub model: &'a Path,
    /// Folder that relative data files of tasks are in.
    pub data_dir: Option<&'a Path>,
    /// Optimiser steps of the run.
    pub total_steps: u64,
}

impl Fingerprint {
    /// The fingerprint of a run.
    ///
    /// # Errors
    /// A file that can't be read, a task that can't be loaded; `Cancelled`.
    pub(crate) fn of(
        recipe: &TrainRecipe,
        data: &TrainingData,
        surroundings: &Surroundings<'_>,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let Surroundings { model, data_dir, total_steps } = *surroundings;
        let mut parts = Self::default();
        parts.settings(recipe, total_steps);
        parts.set("data", tokens(data));
        let mut cache = HashCache::open_default();
        if let Some(warning) = cache.warning() {
            progress.warn(warning);
        }
        let mut files = inputs::base_files(model);
        files.extend(inputs::start_files(recipe));
        for config in inputs::evaluation_tasks(recipe)? {
            let text = serde_json::Value::Object(config.raw.clone()).to_string();
            parts.set(&format!("evaluation/{}", config.name), sha256_bytes(text.as_bytes()));
            let mut own = Vec::new();
            inputs::split_files(&config, config.evaluation_split(), data_dir, &mut own);
            let shown = inputs::shown_split(&config, recipe.evaluation.num_fewshot);
            inputs::split_files(&config, shown, data_dir, &mut own);
            let placed = |input: Input| Input { label: format!("evaluation/{}/{}", config.name, input.label), ..input };
            files.extend(own.into_iter().map(placed));
        }
        for Input { label, path } in files {
            let hash = match path {
                Some(path) => sha256_input(&path, &mut cache, progress.cancel)
                    .map_err(|source| TrainError::Read { path, source })?
                    .ok_or(Cancelled)?,
                None => "missing".to_owned(),
            };
            parts.set(&label, hash);
        }
        Ok(parts)
    }

    fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    fn settings(&mut self, recipe: &TrainRecipe, total_steps: u64) {
        let TrainRecipe {
            // The weights, the tokenizer and the templates count, not the name.
            base_model: _,
            adapter,
            // What these say is seen in the tokens, or in how often each set is drawn.
            datasets: _,
            mixing_temperature: _,
            excess_length: _,
            val_set_size: _,
            train_on_inputs: _,
            unsupported_system: _,
            // Checked against the tokenizer, which is hashed.
            special_tokens: _,
            eot_tokens: _,
            // Packing fills rows up to this; otherwise it is seen in the tokens.
            sequence_len,
            sample_packing,
            chat_template,
            apply_chat_template,
            // Only their product counts: a step's loss is a mean over all its tokens.
            micro_batch_size,
            gradient_accumulation_steps,
            // Seen in the number of steps.
            num_epochs: _,
            max_steps: _,
            learning_rate,
            lr_scheduler,
            warmup,
            weight_decay,
            adam_beta1,
            adam_beta2,
            adam_epsilon,
            max_grad_norm,
            loraplus_lr_ratio,
            // The same bits whether activations are kept or computed again.
            gradient_checkpointing: _,
            shuffle,
            seed,
            // How often something is logged or kept changes no weight.
            logging_steps: _,
            save_steps: _,
            save_share: _,
            saves_per_epoch: _,
            save_total_limit: _,
            evaluation,
        } = recipe;
        self.adapter(adapter);
        if *sample_packing {
            self.set("sample_packing", format!("{sequence_len} tokens"));
        }
        self.set("rows of a step", (micro_batch_size * gradient_accumulation_steps).max(1));
        self.set("steps", total_steps);
        self.set("learning_rate", learning_rate);
        self.set("lr_scheduler", scheduler(*lr_scheduler));
        self.set("warmup_steps", warmup.steps(total_steps));
        self.set("weight_decay", weight_decay);
        self.set("adam_beta1", adam_beta1);
        self.set("adam_beta2", adam_beta2);
        self.set("adam_epsilon", adam_epsilon);
        self.set("max_grad_norm", max_grad_norm);
        if let Some(ratio) = loraplus_lr_ratio {
            self.set("loraplus_lr_ratio", ratio);
        }
        self.set("shuffle", shuffle);
        self.set("seed", seed);
        self.evaluation(evaluation, chat_template.as_deref(), *apply_chat_template);
    }

    fn adapter(&mut self, adapter: &AdapterRecipe) {
        let AdapterRecipe::Lora(lora) = adapter else { return self.set("adapter", "full") };
        let LoraRecipe {
            r,
            lora_alpha,
            lora_dropout,
            target_modules,
            use_rslora,
            use_dora,
            rank_pattern,
            alpha_pattern,
            modules_to_save,
            // Its files are hashed.
            init_from: _,
        } = lora;
        self.set("adapter", "lora");
        self.set("lora_r", r);
        self.set("lora_alpha", lora_alpha);
        self.set("lora_dropout", lora_dropout);
        self.set("target_modules", modules(target_modules));
        self.set("use_rslora", use_rslora);
        self.set("use_dora", use_dora);
        self.set(
            "rank_pattern",
            stated::list(rank_pattern, |(name, rank)| format!("({}, {rank})", stated::quoted(name))),
        );
        self.set(
            "alpha_pattern",
            stated::list(alpha_pattern, |(name, alpha)| {
                format!("({}, {})", stated::quoted(name), stated::real(*alpha))
            }),
        );
        self.set("modules_to_save", stated::texts(modules_to_save));
    }

    /// Evaluations are part of the run's log; their interval decides only where the best checkpoint is kept.
    fn evaluation(&mut self, evaluation: &EvaluationRecipe, template: Option<&str>, apply: Option<bool>) {
        let EvaluationRecipe { disabled, eval_steps, eval_share, evals_per_epoch, tasks, limit, num_fewshot, best } =
            evaluation;
        if *disabled {
            return;
        }
        if !tasks.is_empty() {
            self.set("evaluation/limit", stated::optional(*limit));
            self.set("evaluation/num_fewshot", stated::optional(*num_fewshot));
            let template = stated::optional(template.map(stated::quoted));
            self.set("evaluation/chat_template", format!("{template} {}", stated::optional(apply)));
        }
        let Some(BestModel { metric, greater_is_better, early_stopping_patience, load_at_end }) = best else { return };
        let share = stated::optional(eval_share.map(stated::real));
        let (steps, per_epoch) = (stated::optional(*eval_steps), stated::optional(*evals_per_epoch));
        self.set("evaluation/interval", format!("{steps} {share} {per_epoch}"));
        self.set("metric_for_best_model", metric);
        self.set("greater_is_better", greater_is_better);
        self.set("early_stopping_patience", stated::optional(*early_stopping_patience));
        self.set("load_best_model_at_end", load_at_end);
    }

    /// The parts that differ from those that a run began with, in words.
    #[must_use]
    pub(crate) fn changes(&self, began: &Self) -> Vec<String> {
        let names = self.0.keys().chain(began.0.keys().filter(|name| !self.0.contains_key(*name)));
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let differing = names.filter(|name| self.0.get(*name) != began.0.get(*name));
        differing
            .map(|name| match (began.0.get(name), self.0.get(name)) {
                (Some(old), Some(new)) if is_hash(old) && is_hash(new) => format!("`{name}` changed"),
                (Some(old), Some(new)) => format!("`{name}` was {old} and is {new}"),
                (None, _) => format!("`{name}` is new"),
                (Some(_), None) => format!("`{name}` is gone"),
            })
            .collect()
    }
}

fn scheduler(scheduler: Scheduler) -> &'static str {
    match scheduler {
        Scheduler::Cosine => "Cosine",
        Scheduler::Linear => "Linear",
        Scheduler::Constant => "Constant",
    }
}

fn modules(modules: &TargetModules) -> String {
    match modules {
        TargetModules::AllLinear => "AllLinear".to_owned(),
        TargetModules::Names(names) => format!("Names({})", stated::texts(names)),
        TargetModules::Pattern(pattern) => format!("Pattern({})", stated::quoted(pattern)),
    }
}

/// SHA-256 of all examples, those held out included, and of how often each set is drawn.
fn tokens(data: &TrainingData) -> String {
    let mut sha = Sha256Parts::default();
    for set in &data.sets {
        sha.update((set.per_epoch as u64).to_le_bytes());
    }
    for examples in [&data.examples, &data.validation] {
        sha.update((examples.len() as u64).to_le_bytes());
        for example in examples {
            sha.update((example.set as u64).to_le_bytes());
            sha.update((example.tokens.len() as u64).to_le_bytes());
            for (token, trained) in example.tokens.iter().zip(&example.trained) {
                sha.update(token.to_le_bytes());
                sha.update([u8::from(*trained)]);
            }
        }
    }
    sha.hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl Fn(&mut TrainRecipe)) -> Fingerprint {
        let mut recipe = TrainRecipe::default();
        change(&mut recipe);
        let mut parts = Fingerprint::default();
        parts.settings(&recipe, 100);
        parts
    }

    #[test]
    fn the_checkpoint_interval_is_no_part_of_the_result() {
        let plain = settings(|_| {});
        let neutral: [fn(&mut TrainRecipe); 9] = [
            |r| r.saves_per_epoch = Some(4),
            |r| r.save_share = Some(0.5),
            |r| r.save_steps = Some(2),
            |r| r.save_total_limit = Some(1),
            |r| r.logging_steps = 1,
            |r| r.gradient_checkpointing = Some(true),
            |r| r.base_model = "moved".to_owned(),
            |r| (r.micro_batch_size, r.gradient_accumulation_steps) = (2, 4),
            |r| r.evaluation.eval_steps = Some(3),
        ];
        for (index, change) in neutral.iter().enumerate() {
            assert_eq!(settings(change), plain, "{index}");
        }
        let counts: [fn(&mut TrainRecipe); 6] = [
            |r| r.learning_rate = 3e-4,
            |r| r.seed = 1,
            |r| r.micro_batch_size = 4,
            |r| r.adapter = AdapterRecipe::Full,
            |r| r.sample_packing = true,
            |r| r.weight_decay = 0.1,
        ];
        for (index, change) in counts.iter().enumerate() {
            assert_ne!(settings(change), plain, "{index}");
        }
        let changed = settings(|r| r.learning_rate = 3e-4);
        assert_eq!(changed.changes(&plain), ["`learning_rate` was 0.0002 and is 0.0003"]);
    }
}
