//! Intervals of logging, saving and evaluating, and the metric of the best checkpoint.

use super::fields::{self, Field, Fields, Notes};
use super::schema::{BestModel, EvaluationRecipe, TrainRecipe};
use crate::eval::metrics;
use crate::yaml;

/// Unit of time that a `*_strategy` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    No,
    Steps,
    Epoch,
}

/// transformers' interval where a strategy of steps names none.
const STEPS: u64 = 500;

/// At most one of them is there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Cadence {
    steps: Option<u64>,
    share: Option<f64>,
    per_epoch: Option<u64>,
}

pub(super) fn resolve(fields: &Fields, recipe: &mut TrainRecipe, notes: &mut Notes) {
    if let Some(steps) = fields.whole("logging_steps", 1, notes) {
        recipe.logging_steps = steps;
    }
    let (_, saves) = cadence(fields, ["save_strategy", "save_steps", "saves_per_epoch"], notes);
    recipe.save_steps = saves.steps;
    recipe.save_share = saves.share;
    recipe.saves_per_epoch = saves.per_epoch;
    let kept = fields.whole("save_total_limit", 0, notes);
    recipe.save_total_limit = kept.filter(|kept| *kept > 0).map(|kept| kept as usize);
    recipe.evaluation = evaluation(fields, recipe.val_set_size, notes);
}

fn strategy(fields: &Fields, key: &str, notes: &mut Notes) -> Option<Strategy> {
    let words = [
        ("no", Strategy::No),
        ("false", Strategy::No),
        ("none", Strategy::No),
        ("steps", Strategy::Steps),
        ("epoch", Strategy::Epoch),
    ];
    let read = |field: &Field, notes: &mut Notes| {
        if field.node.text() == Some("best") {
            let message = format!("`{}: best` is not supported", field.key.value);
            let help = "set `save_steps`; the best checkpoint is kept beside the last ones";
            notes.error_help(field.node.span, message, help);
            return None;
        }
        fields::choice(&field.node, &field.key.value, &words, notes)
    };
    fields.read(key, notes, read)
}

/// Reads a strategy with its two keys, of which 0 means never; the flag is whether nothing is wanted at all.
fn cadence(fields: &Fields, [strategy_key, steps_key, epoch_key]: [&str; 3], notes: &mut Notes) -> (bool, Cadence) {
    let strategy = strategy(fields, strategy_key, notes);
    let read = |field: &Field, notes: &mut Notes| match field.node.text().and_then(yaml::number) {
        Some(share) if share > 0.0 && share < 1.0 => Some(Cadence { share: Some(share), ..Cadence::default() }),
        _ => {
            let steps = fields::whole(&field.node, &field.key.value, 0, notes);
            steps.map(|steps| Cadence { steps: Some(steps).filter(|steps| *steps > 0), ..Cadence::default() })
        }
    };
    let every = fields.read(steps_key, notes, read);
    let times = fields.whole(epoch_key, 0, notes);
    let never = times == Some(0) || every == Some(Cadence::default());
    let every = every.filter(|every| *every != Cadence::default());
    let per_epoch = times.filter(|times| *times > 0);
    if let (Some(_), Some(_), Some(field)) = (every, per_epoch, fields.first(epoch_key)) {
        let message = format!("`{steps_key}` and `{}` set the same thing", field.key.value);
        notes.error_help(field.key.span, message, "keep one of them");
    }
    let found = match (strategy, per_epoch) {
        (Some(Strategy::No), _) => Cadence::default(),
        (_, Some(times)) => Cadence { per_epoch: Some(times), ..Cadence::default() },
        // As in transformers, the number of steps is then without effect.
        (Some(Strategy::Epoch), None) => Cadence { per_epoch: Some(1), ..Cadence::default() },
        (Some(Strategy::Steps), None) if !never => {
            every.unwrap_or(Cadence { steps: Some(STEPS), ..Cadence::default() })
        }
        _ => every.unwrap_or_else(Cadence::default),
    };
    (strategy == Some(Strategy::No) || (never && found == Cadence::default()), found)
}

fn evaluation(fields: &Fields, held_out: f64, notes: &mut Notes) -> EvaluationRecipe {
    let (disabled, cadence) = cadence(fields, ["eval_strategy", "eval_steps", "evals_per_epoch"], notes);
    let names = |field: &Field, notes: &mut Notes| fields::list(&field.node, &field.key.value, notes);
    let tasks = fields.read("tasks", notes, names).unwrap_or_else(Vec::new);
    let best = best(fields, notes);
    if let Some((best, field)) = &best {
        let known = if best.metric == "eval_loss" { held_out > 0.0 } else { !tasks.is_empty() };
        if disabled {
            notes.error(field.key.span, format!("`{}` needs evaluations, which are switched off", field.key.value));
        } else if !known && best.metric == "eval_loss" {
            let message = format!("`{}` needs an `eval_loss`, but no rows are held out", field.key.value);
            notes.error_help(field.key.span, message, "set `val_set_size`, or judge by a task: `task/metric`");
        } else if !known {
            let message = format!("nothing is evaluated that could give `{}`", best.metric);
            notes.error_help(field.key.span, message, "list the task under `evaluation: tasks:`");
        }
    }
    EvaluationRecipe {
        disabled,
        eval_steps: cadence.steps,
        eval_share: cadence.share,
        evals_per_epoch: cadence.per_epoch,
        tasks,
        limit: fields.whole("limit", 1, notes).map(|n| n as usize),
        num_fewshot: fields.whole("num_fewshot", 0, notes).map(|n| n as usize),
        best: best.map(|(best, _)| best),
    }
}

/// Metric of the best checkpoint, where any key asks for one, and the key to blame.
fn best<'f>(fields: &'f Fields, notes: &mut Notes) -> Option<(BestModel, &'f Field)> {
    let metric = fields.read("metric_for_best_model", notes, metric_name);
    let patience = fields
        .read("early_stopping_patience", notes, |field, notes| fields::whole(&field.node, &field.key.value, 0, notes));
    let patience = patience.filter(|evaluations| *evaluations > 0);
    let load = fields.boolean("load_best_model_at_end", notes);
    let greater = fields.boolean("greater_is_better", notes);
    if metric.is_none() && patience.is_none() && load != Some(true) {
        return None;
    }
    let metric = metric.unwrap_or_else(|| "eval_loss".to_owned());
    let greater_is_better = greater.unwrap_or_else(|| {
        let name = metric.rsplit('/').next().expect("a split has a first piece");
        let name = name.split(',').next().unwrap_or(name);
        metrics::find(name).map_or_else(|_| !name.ends_with("loss"), |info| info.higher_is_better)
    });
    let best =
        BestModel { metric, greater_is_better, early_stopping_patience: patience, load_at_end: load.unwrap_or(true) };
    let keys = ["metric_for_best_model", "early_stopping_patience", "load_best_model_at_end"];
    keys.iter().find_map(|key| fields.first(key)).map(|field| (best, field))
}

/// `eval_loss` by any of its names, or `task/metric`.
fn metric_name(field: &Field, notes: &mut Notes) -> Option<String> {
    let name = fields::text(&field.node, &field.key.value, notes)?;
    let bare = name.strip_prefix("eval_").unwrap_or(&name);
    if bare == "loss" {
        return Some("eval_loss".to_owned());
    }
    match bare.rsplit_once('/') {
        Some((task, metric)) if !task.is_empty() && !metric.is_empty() => Some(bare.to_owned()),
        _ => {
            let message = format!("`{name}` is no measure that training knows");
            let help = "write `eval_loss`, or a task and its metric: `fpb/acc`";
            notes.error_help(field.node.span, message, help);
            None
        }
    }
}
