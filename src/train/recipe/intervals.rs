//! Intervals of logging, saving and evaluating, and the metric of the best checkpoint.

use super::schema::{BestModel, EvaluationRecipe, TrainRecipe};
use super::settings::{Settings, choice};
use crate::eval::metrics;
use crate::yaml::{self, Diagnostics, Field};

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

pub(super) fn resolve(settings: &Settings, recipe: &mut TrainRecipe, diagnostics: &mut Diagnostics) {
    if let Some(steps) = settings.whole("logging_steps", 1, diagnostics) {
        recipe.logging_steps = steps;
    }
    let (_, saves) = cadence(settings, ["save_strategy", "save_steps", "saves_per_epoch"], diagnostics);
    recipe.save_steps = saves.steps;
    recipe.save_share = saves.share;
    recipe.saves_per_epoch = saves.per_epoch;
    let kept = settings.whole("save_total_limit", 0, diagnostics);
    recipe.save_total_limit = kept.filter(|kept| *kept > 0).map(|kept| kept as usize);
    recipe.evaluation = evaluation(settings, recipe.val_set_size, diagnostics);
}

fn strategy(settings: &Settings, key: &str, diagnostics: &mut Diagnostics) -> Option<Strategy> {
    let words = [
        ("no", Strategy::No),
        ("false", Strategy::No),
        ("none", Strategy::No),
        ("steps", Strategy::Steps),
        ("epoch", Strategy::Epoch),
    ];
    let read = |field: Field<'_>, diagnostics: &mut Diagnostics| {
        if field.scalar() == Some("best") {
            let message = format!("`{}: best` is not supported", field.name);
            let help = "set `save_steps`; the best checkpoint is kept beside the last ones";
            diagnostics.error_help(field.node.span, message, help);
            return None;
        }
        choice(field, &words, diagnostics)
    };
    settings.read_with(key, diagnostics, read)
}

/// Reads a strategy with its two keys, of which 0 means never; the flag is whether nothing is wanted at all.
fn cadence(
    settings: &Settings,
    [strategy_key, steps_key, epoch_key]: [&str; 3],
    diagnostics: &mut Diagnostics,
) -> (bool, Cadence) {
    let strategy = strategy(settings, strategy_key, diagnostics);
    let read = |field: Field<'_>, diagnostics: &mut Diagnostics| match field.scalar().and_then(yaml::number) {
        Some(share) if share > 0.0 && share < 1.0 => Some(Cadence { share: Some(share), ..Cadence::default() }),
        _ => {
            let steps = field.whole(0..=u64::MAX, diagnostics);
            steps.map(|steps| Cadence { steps: Some(steps).filter(|steps| *steps > 0), ..Cadence::default() })
        }
    };
    let every = settings.read_with(steps_key, diagnostics, read);
    let times = settings.whole(epoch_key, 0, diagnostics);
    let never = times == Some(0) || every == Some(Cadence::default());
    let every = every.filter(|every| *every != Cadence::default());
    let per_epoch = times.filter(|times| *times > 0);
    if let (Some(_), Some(_), Some(field)) = (every, per_epoch, settings.first(epoch_key)) {
        let message = format!("`{steps_key}` and `{}` set the same thing", field.name);
        diagnostics.error_help(field.key, message, "keep one of them");
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

fn evaluation(settings: &Settings, held_out: f64, diagnostics: &mut Diagnostics) -> EvaluationRecipe {
    let (disabled, cadence) = cadence(settings, ["eval_strategy", "eval_steps", "evals_per_epoch"], diagnostics);
    let tasks = settings.list("tasks", diagnostics).unwrap_or_else(Vec::new);
    let best = best(settings, diagnostics);
    if let Some((best, field)) = &best {
        let known = if best.metric == "eval_loss" { held_out > 0.0 } else { !tasks.is_empty() };
        if disabled {
            diagnostics.error(field.key, format!("`{}` needs evaluations, which are switched off", field.name));
        } else if !known && best.metric == "eval_loss" {
            let message = format!("`{}` needs an `eval_loss`, but no rows are held out", field.name);
            diagnostics.error_help(field.key, message, "set `val_set_size`, or judge by a task: `task/metric`");
        } else if !known {
            let message = format!("nothing is evaluated that could give `{}`", best.metric);
            diagnostics.error_help(field.key, message, "list the task under `evaluation: tasks:`");
        }
    }
    EvaluationRecipe {
        disabled,
        eval_steps: cadence.steps,
        eval_share: cadence.share,
        evals_per_epoch: cadence.per_epoch,
        tasks,
        limit: settings.whole("limit", 1, diagnostics).map(|n| n as usize),
        num_fewshot: settings.whole("num_fewshot", 0, diagnostics).map(|n| n as usize),
        best: best.map(|(best, _)| best),
    }
}

/// Metric of the best checkpoint, where any key asks for one, and the key to blame.
fn best<'f>(settings: &'f Settings, diagnostics: &mut Diagnostics) -> Option<(BestModel, Field<'f>)> {
    let metric = settings.read_with("metric_for_best_model", diagnostics, metric_name);
    let patience = settings.whole("early_stopping_patience", 0, diagnostics);
    let patience = patience.filter(|evaluations| *evaluations > 0);
    let load = settings.read::<bool>("load_best_model_at_end", diagnostics);
    let greater = settings.read::<bool>("greater_is_better", diagnostics);
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
    keys.iter().find_map(|key| settings.first(key)).map(|field| (best, field))
}

/// `eval_loss` by any of its names, or `task/metric`.
fn metric_name(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<String> {
    let name = field.read::<String>(diagnostics)?;
    let bare = name.strip_prefix("eval_").unwrap_or(&name);
    if bare == "loss" {
        return Some("eval_loss".to_owned());
    }
    match bare.rsplit_once('/') {
        Some((task, metric)) if !task.is_empty() && !metric.is_empty() => Some(bare.to_owned()),
        _ => {
            let message = format!("`{name}` is no measure that training knows");
            let help = "write `eval_loss`, or a task and its metric: `fpb/acc`";
            diagnostics.error_help(field.node.span, message, help);
            None
        }
    }
}
