//! Evaluating tasks: prompts, requests, answers, scores.
//!
//! Everything a user can get wrong (metrics, filters, templates, data) is checked before the model
//! is asked for the first time. All tasks are asked together, so that prompts that begin alike are
//! read once.

use std::sync::Mutex;

use super::judge::{Judge, Question, Verdict};
use super::language_model::{LanguageModel, Score};
use super::outcome::Outcome;
use super::protocol::{PixiuRules, Protocol};
use super::request::{Answers, Asking, NO_SCORE, Place, Requests};
use super::results::{SampleRecord, TaskRecord, TaskRun};
use super::scoring::Scorer;
use crate::error::{Diagnose, ErrorKind, Result};
use crate::event::{Event, Progress};
use crate::stats::resample::Resampling;
use crate::task::spec::{JUDGED, MetricSpec};
use crate::task::{Ask, GenerationArguments, PromptSettings, Prompts, Rendered, Task, TaskConfig, UnknownLabel};
use crate::tokenizer::Tokenizer;

/// Options of an evaluation.
#[derive(Debug, Clone)]
pub(crate) struct EvalOptions<'a> {
    /// Settings of writing prompts.
    pub prompts: PromptSettings<'a>,
    /// Protocols instead of the tasks' first ones.
    pub protocols: Vec<String>,
    /// Seed of intervals, and the threads that compute them.
    pub resampling: Resampling,
}

#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum EvalError {
    #[error("unknown protocol `{name}`")]
    Protocol { name: String },
    #[error("task `{task}` cannot be read with protocol `{protocol}`: {reason}")]
    NotForTask { task: String, protocol: String, reason: &'static str },
    #[error("task `{task}` asks for {repeats} different answers to a prompt, and sampled repeats are not supported")]
    Repeats { task: String, repeats: usize },
    #[error("task `{task}` has no documents to evaluate")]
    NoDocuments { task: String },
    #[error("task `{task}`: the right answer of none of {documents} documents is among the choices ({})", label.label)]
    NoKnownLabel { task: String, documents: usize, label: UnknownLabel },
}

impl Diagnose for EvalError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoKnownLabel { .. } => ErrorKind::Input,
            _ => ErrorKind::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoKnownLabel { label, .. } => vec![label.hint()],
            Self::Protocol { .. } => vec![format!("known protocols: {}", Protocol::NAMES.join(", "))],
            Self::Repeats { .. } => vec!["set `repeats: 1`, or `do_sample: false` in `generation_kwargs`".to_owned()],
            Self::NotForTask { .. } | Self::NoDocuments { .. } => Vec::new(),
        }
    }
}

/// One task as it will be asked.
struct Plan<'a> {
    task: &'a Task,
    prompts: Prompts,
    runs: Vec<RunPlan>,
}

/// One protocol of a task.
struct RunPlan {
    protocol: Option<Protocol>,
    scorer: Scorer,
    written_labels: Option<GenerationArguments>,
    /// Index of each document's answers.
    places: Vec<Place>,
    truncated: usize,
}

/// Asks a model and scores its answers; one record a task, in their order.
///
/// # Errors
/// Prompts that can't be rendered, metrics that don't exist or don't fit, what the model says.
pub(crate) fn evaluate(
    tasks: &[Task],
    model: &dyn LanguageModel,
    tokenizer: &Tokenizer,
    judge: Option<&Judge>,
    options: &EvalOptions<'_>,
    progress: Progress<'_>,
) -> Result<Vec<TaskRecord>> {
    let mut plans = tasks.iter().map(|task| plan(task, options)).collect::<Result<Vec<_>>>()?;
    let mut requests = Requests::default();
    for plan in &mut plans {
        for run in &mut plan.runs {
            let asking = Asking {
                tokenizer,
                max_length: model.max_length(),
                unconditional: run.scorer.needs_unconditional(),
                written_labels: run.written_labels.as_ref(),
            };
            let before = requests.truncated;
            run.places = plan.prompts.rendered.iter().map(|r| requests.add(r, &asking)).collect::<Result<Vec<_>>>()?;
            run.truncated = requests.truncated - before;
        }
    }
    let answers = ask(model, &requests, progress)?;
    let mut records = Vec::with_capacity(plans.len());
    for plan in plans {
        let asks_judge = wants_judge(plan.task.config());
        let mut record = record(plan, &answers, options.resampling)?;
        if asks_judge {
            judged(&mut record, judge, options.resampling, progress)?;
        }
        records.push(record);
    }
    progress.event(Event::Finished);
    Ok(records)
}

fn ask(model: &dyn LanguageModel, requests: &Requests, progress: Progress<'_>) -> Result<Answers> {
    let scores = Mutex::new(vec![NO_SCORE; requests.score.len()]);
    if !requests.score.is_empty() {
        let done = |index: usize, score: Score| put(&scores, index, score);
        model.score(&requests.score, &done, progress)?;
    }
    let texts = Mutex::new(vec![None; requests.generate.len()]);
    if !requests.generate.is_empty() {
        model.generate(&requests.generate, &|index, answer| put(&texts, index, Some(answer.text)), progress)?;
    }
    let unlock = std::sync::PoisonError::into_inner;
    Ok(Answers {
        scores: scores.into_inner().unwrap_or_else(unlock),
        texts: texts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner),
    })
}

fn put<T>(list: &Mutex<Vec<T>>, index: usize, value: T) {
    let mut list = list.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(place) = list.get_mut(index) {
        *place = value;
    }
}

fn plan<'a>(task: &'a Task, options: &EvalOptions<'_>) -> Result<Plan<'a>> {
    let config = task.config();
    let prompts = task.prompts(&options.prompts)?;
    if prompts.rendered.is_empty() {
        return Err(EvalError::NoDocuments { task: config.name.clone() }.into());
    }
    // Every answer would count as wrong, whatever the model says.
    if let (Some(label), true) = (&prompts.unknown_label, prompts.gold_out_of_range == prompts.rendered.len()) {
        let (task, documents) = (config.name.clone(), prompts.rendered.len());
        return Err(EvalError::NoKnownLabel { task, documents, label: label.clone() }.into());
    }
    let sampled = |r: &Rendered| matches!(&r.ask, Ask::Generate { arguments, .. } if arguments.do_sample);
    if config.repeats > 1 && prompts.rendered.iter().any(sampled) {
        return Err(EvalError::Repeats { task: config.name.clone(), repeats: config.repeats }.into());
    }
    let runs = protocols(config, &prompts, &options.protocols)?
        .into_iter()
        .map(|protocol| {
            let written = protocol.as_ref().is_some_and(Protocol::is_generative);
            let computed: Vec<MetricSpec> = config.metrics.iter().filter(|m| m.name != JUDGED).cloned().collect();
            let scorer = Scorer::new(&computed, &config.filters, protocol.clone())?;
            Ok(RunPlan {
                protocol,
                scorer,
                written_labels: written.then(|| task.label_arguments()),
                places: Vec::new(),
                truncated: 0,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Plan { task, prompts, runs })
}

/// The protocols of a task: those asked for, else its file's first; none for a plain task of the
/// harness, whose results keep the harness's keys.
fn protocols(config: &TaskConfig, prompts: &Prompts, wanted: &[String]) -> Result<Vec<Option<Protocol>>> {
    let choices = prompts.rendered.iter().any(|r| matches!(r.ask, Ask::Choices { .. }));
    let labels = prompts.rendered.iter().all(|r| match &r.ask {
        Ask::Choices { choices, .. } | Ask::Generate { choices, .. } => !choices.is_empty(),
        _ => false,
    });
    if !labels {
        // Free answers: protocols read labels, and there are none.
        return Ok(vec![None]);
    }
    let declared = config.metadata.contains_key("protocols");
    let names: Vec<String> = if wanted.is_empty() {
        let own = config.protocols.first().filter(|_| declared).map(|p| p.name().to_owned());
        let Some(own) = own else { return Ok(vec![None]) };
        vec![own]
    } else {
        wanted.to_vec()
    };
    names
        .iter()
        .map(|name| {
            let protocol = Protocol::named(name).ok_or_else(|| EvalError::Protocol { name: name.clone() })?;
            if !choices && !protocol.is_generative() {
                let reason = "the task lets the model write, so there are no scored choices";
                let (task, protocol) = (config.name.clone(), name.clone());
                return Err(EvalError::NotForTask { task, protocol, reason }.into());
            }
            Ok(Some(match protocol {
                Protocol::PixiuGen(rules) => Protocol::PixiuGen(pixiu_rules(config, rules)),
                other => other,
            }))
        })
        .collect()
}

/// `metadata.pixiu`: what PIXIU adds to its general rule for some tasks.
fn pixiu_rules(config: &TaskConfig, mut rules: PixiuRules) -> PixiuRules {
    let Some(own) = config.metadata.get("pixiu") else { return rules };
    rules.exact_first = own.get("exact_first").and_then(serde_json::Value::as_bool).unwrap_or(rules.exact_first);
    rules.default = own.get("default").and_then(|v| v.as_str()).map(str::to_owned).or(rules.default);
    if let Some(synonyms) = own.get("synonyms").and_then(|v| serde_json::from_value(v.clone()).ok()) {
        rules.synonyms = synonyms;
    }
    rules
}

fn wants_judge(config: &TaskConfig) -> bool {
    config.metrics.iter().any(|metric| metric.name == JUDGED)
}

/// Adds a judge's verdicts to a task of free answers. Without a judge the metric is named as not
/// scored, which is not zero.
fn judged(
    record: &mut TaskRecord,
    judge: Option<&Judge>,
    resampling: Resampling,
    progress: Progress<'_>,
) -> Result<()> {
    let Some(judge) = judge else {
        record.not_scored.push(format!("{JUDGED} (no --judge-url)"));
        return Ok(());
    };
    for run in &mut record.runs {
        let mut questions = Vec::with_capacity(run.samples.len());
        for sample in &run.samples {
            let Outcome::Text { references, responses, doc, .. } = &sample.outcome else {
                let (task, reason) =
                    (record.name.clone(), "a judge reads written answers, and these are scored choices");
                return Err(EvalError::NotForTask { task, protocol: JUDGED.to_owned(), reason }.into());
            };
            let own = doc.get("question").and_then(serde_json::Value::as_str);
            let prompt = sample.arguments.first().map(|(prompt, _)| prompt.as_str());
            questions.push(Question {
                question: own.or(prompt).map_or_else(String::new, str::to_owned),
                reference: references.join("\n"),
                answer: responses.first().cloned().unwrap_or_else(String::new),
            });
        }
        let judgement = judge.judge(&questions, progress)?;
        let count = |wanted: Option<Verdict>| judgement.verdicts.iter().filter(|found| **found == wanted).count();
        let (none, unclear) = (count(None), count(Some(Verdict::Unclear)));
        if none + unclear == judgement.verdicts.len() {
            record.not_scored.push(format!("{JUDGED} (the judge decided none of {} answers)", questions.len()));
        } else {
            let right = |verdict: &Option<Verdict>| verdict.map(|v| f64::from(u8::from(v == Verdict::Correct)));
            run.scores.add_mean(JUDGED, &judgement.verdicts.iter().map(right).collect::<Vec<_>>(), resampling);
        }
        let mut warn = |text: &str, count: usize| {
            if count > 0 {
                run.scores.warnings.insert(text.to_owned(), count);
            }
        };
        warn("the judge says `unclear`, which counts as not correct", unclear);
        warn("the judge gave no verdict, so the answer is not scored", none);
        record.judge = serde_json::to_value((&judgement.usage, judgement.cost)).ok();
    }
    Ok(())
}

fn record(plan: Plan<'_>, answers: &Answers, resampling: Resampling) -> Result<TaskRecord> {
    let config = plan.task.config();
    let docs: Vec<serde_json::Value> = plan.prompts.rendered.iter().map(|r| r.doc.clone()).collect();
    let mut warnings = std::collections::BTreeMap::new();
    for text in plan.task.warnings().iter().chain(&plan.prompts.warnings) {
        *warnings.entry(text.clone()).or_insert(0) += 1;
    }
    let mut truncated = 0;
    let mut runs = Vec::with_capacity(plan.runs.len());
    for run in &plan.runs {
        let outcomes: Vec<_> = plan
            .prompts
            .rendered
            .iter()
            .zip(&run.places)
            .map(|(rendered, place)| answers.outcome(rendered, place, config.repeats))
            .collect();
        let scores = run.scorer.score(&outcomes, &docs, resampling)?;
        let samples = plan
            .prompts
            .rendered
            .iter()
            .zip(outcomes)
            .map(|(rendered, outcome)| SampleRecord {
                doc_id: rendered.doc_id,
                doc: rendered.doc.clone(),
                target: rendered.target.clone().into(),
                arguments: arguments(rendered, run.written_labels.as_ref()),
                outcome,
            })
            .collect();
        truncated = truncated.max(run.truncated);
        runs.push(TaskRun { protocol: run.protocol.as_ref().map(|p| p.name().to_owned()), scores, samples });
    }
    Ok(TaskRecord {
        name: config.name.clone(),
        alias: config.alias.clone(),
        version: config.version().cloned().unwrap_or_else(|| "Yaml".into()),
        num_fewshot: plan.prompts.num_fewshot,
        config: config.raw.clone(),
        role: config.role.map(|role| role.name().to_owned()),
        documents: plan.task.documents().len(),
        truncated,
        warnings,
        runs,
        not_scored: Vec::new(),
        judge: None,
    })
}

/// Prompt and continuation of every request, as the samples file shows them.
fn arguments(rendered: &Rendered, written: Option<&GenerationArguments>) -> Vec<(String, serde_json::Value)> {
    let pair = |context: &str, continuation: &str| (context.to_owned(), continuation.into());
    match (&rendered.ask, written) {
        (Ask::Choices { .. }, Some(written)) => vec![(rendered.context.clone(), written.raw.clone().into())],
        (Ask::Choices { contexts, continuations, .. }, None) => {
            let shared = contexts.first().filter(|_| contexts.len() == 1);
            let contexts: Vec<&String> =
                shared.map_or_else(|| contexts.iter().collect(), |one| vec![one; continuations.len()]);
            contexts.into_iter().zip(continuations).map(|(context, text)| pair(context, text)).collect()
        }
        (Ask::Continuation { continuation }, _) => vec![pair(&rendered.context, continuation)],
        (Ask::Rolling { text }, _) => vec![(text.clone(), serde_json::Value::Null)],
        (Ask::Generate { arguments, .. }, _) => vec![(rendered.context.clone(), arguments.raw.clone().into())],
    }
}
