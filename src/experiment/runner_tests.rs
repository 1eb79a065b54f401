//! The order of things, with work that only takes notes.

use std::path::{Path, PathBuf};

use super::graph::Graph;
use super::output::{Evaluated, StepOutput};
use super::plan::{Plan, plan};
use super::runner::{RunOptions, run};
use super::schema::{Candidate, Experiment, Specialist};
use super::state::State;
use super::step_runner::{Context, ModelUnderTest, StepResult, StepRunner};
use super::{error::ExperimentError, file};
use crate::error::{ErrorKind, Result};
use crate::event::{CancelFlag, Progress, Silent};
use crate::storage::hash::HashCache;

const EXPERIMENT: &str = "\
base_model: base
data: data
training: {learning_rate: 1e-4, r: 8}
specialists:
  fpb: {tasks: [fpb], learning_rate: 2e-4}
  fomc: {tasks: [fomc]}
  both: [fpb, fomc]
merges:
  task_arithmetic: {weight: 0.5}
  ties:
    ties: {weight: [0.5, 1.0], density: 0.2}
    select: validation
    keep: true
evaluation:
  unseen: [finarg_auc]
  limit: 10
";

/// Records its calls, and fails once at a chosen step.
#[derive(Default)]
struct Notes {
    calls: Vec<String>,
    fail_at: Option<String>,
}

impl Notes {
    fn note(&mut self, call: String, output: &Path, score: f64) -> Result<StepResult> {
        if self.fail_at.take_if(|at| *at == call).is_some() {
            return Err(ExperimentError::NothingToSelect { merge: "made to fail".into() }.into());
        }
        std::fs::create_dir_all(output.parent().unwrap()).unwrap();
        std::fs::write(output, &call).unwrap();
        self.calls.push(call);
        let evaluated = Evaluated { score: Some(score), ..Evaluated::default() };
        Ok(StepResult { files: vec![output.to_owned()], output: StepOutput::Evaluated(evaluated) })
    }
}

impl StepRunner for Notes {
    fn check(&self, _: Context<'_>) -> Result<()> {
        Ok(())
    }

    fn train(&mut self, name: &str, _: &Specialist, context: Context<'_>) -> Result<StepResult> {
        self.note(format!("train {name}"), &context.specialist_folder(name).join("adapter"), 0.0)
    }

    fn merge(&mut self, candidate: &Candidate, folder: &Path, _: Context<'_>) -> Result<StepResult> {
        self.note(format!("merge {}", candidate.name), &folder.join("model"), 0.0)
    }

    fn evaluate(
        &mut self,
        row: &str,
        model: &ModelUnderTest<'_>,
        validation: bool,
        context: Context<'_>,
    ) -> Result<StepResult> {
        let kind = if validation { "validate" } else { "evaluate" };
        let how = match model {
            ModelUnderTest::Merged(candidate) => {
                format!(" ({:?})", context.recipe(candidate, Path::new("B")).recipes()[0].method.value)
            }
            ModelUnderTest::OnDisk(_) => " (kept)".to_owned(),
            _ => String::new(),
        };
        let score = if row.contains("weight=1.0") { 0.9 } else { 0.1 };
        self.note(format!("{kind} {row}{how}"), &context.out.join(kind).join(row), score)
    }

    fn gate(&mut self, row: &str, context: Context<'_>) -> Result<StepResult> {
        self.note(format!("gate {row}"), &context.out.join("gates").join(row), 0.0)
    }

    fn task_vectors(&mut self, context: Context<'_>) -> Result<StepResult> {
        self.note("task-vectors".to_owned(), &context.out.join("task-vectors.json"), 0.0)
    }

    fn report(&mut self, context: Context<'_>) -> Result<StepResult> {
        self.note("report".to_owned(), &context.out.join("report.html"), 0.0)
    }
}

struct Bench {
    dir: tempfile::TempDir,
    cancel: CancelFlag,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bench = Self { dir, cancel: CancelFlag::new() };
        bench.write("base/config.json", "{}");
        bench.write("base/model.safetensors", "weights");
        for task in ["fpb", "fomc", "finarg_auc"] {
            for split in ["train", "validation", "test"] {
                bench.write(&format!("data/{task}/{split}.jsonl"), &format!("{task} {split}"));
            }
        }
        bench
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn experiment(&self, text: &str) -> Experiment {
        file::parse(&self.dir.path().join("e.yml"), text).unwrap()
    }

    fn plan(&self, text: &str, force: &[&str]) -> Result<Plan> {
        let graph = Graph::new(&self.experiment(text))?;
        let force: Vec<String> = force.iter().map(|name| (*name).to_owned()).collect();
        plan(&graph, &State::load(&self.out())?, &force, &mut HashCache::default(), &self.cancel)
    }

    /// Runs and gives what was done; the plan made before must say just that.
    fn run(&self, text: &str, force: &[&str], notes: Notes) -> (Vec<String>, Result<()>) {
        let planned: Vec<String> = match self.plan(text, force) {
            Ok(plan) => plan.running().map(|step| step.step.clone()).collect(),
            Err(error) => return (Vec::new(), Err(error)),
        };
        let mut notes = notes;
        let fails = notes.fail_at.is_some();
        let options = RunOptions { force: force.iter().map(|name| (*name).to_owned()).collect() };
        let progress = Progress { reporter: &Silent, cancel: &self.cancel };
        let result = run(&self.experiment(text), &self.out(), &options, &mut notes, progress);
        if !fails && result.is_ok() {
            let done: Vec<&str> = notes.calls.iter().map(|call| call.split(" (").next().unwrap()).collect();
            let asked: Vec<&str> = planned.iter().map(String::as_str).filter(|s| !s.starts_with("select")).collect();
            let same = |name: &str| name.replace("merge ties-weight=1.0", "merge ties");
            assert_eq!(done.iter().map(|d| same(d)).collect::<Vec<_>>(), asked);
        }
        (notes.calls, result.map(|_| ()))
    }
}

#[test]
fn steps_run_in_order_once() {
    let bench = Bench::new();
    let (calls, result) = bench.run(EXPERIMENT, &[], Notes::default());
    result.unwrap();
    let expected = [
        "evaluate base",
        "train fpb",
        "evaluate fpb",
        "train fomc",
        "evaluate fomc",
        "train both",
        "evaluate both",
        "task-vectors",
        "evaluate task_arithmetic (\"task_arithmetic\")",
        "validate ties-weight=0.5 (\"ties\")",
        "validate ties-weight=1.0 (\"ties\")",
        "merge ties-weight=1.0",
        "evaluate ties (kept)",
        "gate fpb",
        "gate fomc",
        "gate both",
        "gate task_arithmetic",
        "gate ties",
        "report",
    ];
    assert_eq!(calls, expected);
    let (calls, result) = bench.run(EXPERIMENT, &[], Notes::default());
    result.unwrap();
    assert_eq!(calls, [""; 0]);
    // Comments, order of keys and other spellings of a number are no changes.
    let respelt =
        EXPERIMENT.replace("training: {learning_rate: 1e-4, r: 8}", "# c\ntraining: {r: 8, learning_rate: 0.0001}");
    assert_eq!(bench.run(&respelt, &[], Notes::default()).0, [""; 0]);
}

#[test]
fn what_changed_and_what_rests_on_it_runs_again() {
    let bench = Bench::new();
    bench.run(EXPERIMENT, &[], Notes::default()).1.unwrap();
    let why = |plan: &Plan, step: &str| plan.steps.iter().find(|s| s.step == step).unwrap().why.clone();

    // A setting of one specialist.
    let slower = EXPERIMENT.replace("2e-4", "3e-4");
    let planned = bench.plan(&slower, &[]).unwrap();
    assert_eq!(why(&planned, "train fpb"), "settings changed: learning_rate");
    assert_eq!(why(&planned, "evaluate fpb"), "`train fpb` runs");
    for step in ["evaluate base", "train fomc", "evaluate both", "gate both"] {
        assert_eq!(why(&planned, step), "unchanged", "{step}");
    }
    let (calls, _) = bench.run(&slower, &[], Notes::default());
    assert!(calls.contains(&"gate ties".to_owned()) && !calls.contains(&"gate fomc".to_owned()), "{calls:?}");

    // A split that only selection reads.
    bench.write("data/fomc/validation.jsonl", "other");
    let planned = bench.plan(&slower, &[]).unwrap();
    assert_eq!(why(&planned, "validate ties-weight=0.5"), "input changed: fomc/validation.jsonl");
    assert_eq!(why(&planned, "evaluate task_arithmetic"), "unchanged");
    bench.run(&slower, &[], Notes::default()).1.unwrap();

    // An output that is missing, and one that someone wrote over.
    std::fs::remove_file(bench.out().join("specialists/both/adapter")).unwrap();
    bench.write("out/gates/fomc", "tampered");
    let planned = bench.plan(&slower, &[]).unwrap();
    assert_eq!(why(&planned, "train both"), "output gone: specialists/both/adapter");
    assert_eq!(why(&planned, "gate fomc"), "output changed: gates/fomc");
    let (calls, _) = bench.run(&slower, &[], Notes::default());
    assert_eq!(calls, ["train both", "evaluate both", "task-vectors", "gate fomc", "gate both", "report"]);

    // By hand, and a name that is no step.
    let (calls, _) = bench.run(&slower, &["gate ties"], Notes::default());
    assert_eq!(calls, ["gate ties", "report"]);
    let error = bench.plan(&slower, &["gate tise"]).unwrap_err();
    assert_eq!(error.hints(), ["did you mean `gate ties`?"]);
}

#[test]
fn a_failed_step_is_named_and_the_rest_is_kept() {
    let bench = Bench::new();
    let notes = Notes { fail_at: Some("train both".into()), ..Notes::default() };
    let (calls, result) = bench.run(EXPERIMENT, &[], notes);
    assert_eq!(calls.len(), 5);
    let error = result.unwrap_err();
    assert!(error.to_string().starts_with("step `train both` failed: "), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("5 finished steps are kept")), "{:?}", error.hints());
    let (calls, result) = bench.run(EXPERIMENT, &[], Notes::default());
    result.unwrap();
    assert_eq!((calls.len(), calls[0].as_str()), (14, "train both"));
}

#[test]
fn nothing_starts_when_inputs_are_missing() {
    let bench = Bench::new();
    std::fs::remove_file(bench.dir.path().join("data/fomc/train.jsonl")).unwrap();
    let (calls, result) = bench.run(EXPERIMENT, &[], Notes::default());
    assert_eq!(calls, [""; 0]);
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "the experiment cannot start: fomc/train.jsonl was not found");
}

/// A flipped bit of a score would select another recipe; the step that found it runs again instead.
#[test]
fn a_damaged_record_runs_its_step_again() {
    let bench = Bench::new();
    bench.run(EXPERIMENT, &[], Notes::default()).1.unwrap();
    let path = bench.out().join("steps/validate-ties-weight=0.5.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let why = |plan: &Plan, step: &str| plan.steps.iter().find(|s| s.step == step).unwrap().why.clone();
    for damaged in [text.replace("0.1", "0.5"), text.replace("\"score\"", "\"scorf\""), text[..90].to_owned()] {
        assert_ne!(damaged, text);
        std::fs::write(&path, damaged).unwrap();
        let planned = bench.plan(EXPERIMENT, &[]).unwrap();
        let step = "validate ties-weight=0.5";
        assert_eq!(why(&planned, step), "record damaged: steps/validate-ties-weight=0.5.json");
        assert_eq!(why(&planned, "select ties"), format!("`{step}` runs"));
        let warnings: Vec<String> = State::load(&bench.out()).unwrap().warnings().collect();
        assert!(warnings.len() == 1 && warnings[0].contains("is damaged"), "{warnings:?}");
        let (calls, result) = bench.run(EXPERIMENT, &[], Notes::default());
        result.unwrap();
        assert_eq!(calls[0], "validate ties-weight=0.5 (\"ties\")");
    }
    // A record of the layout without checksums still counts; one of a later version is not guessed at.
    let mut old: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in ["sha256", "format"] {
        old.as_object_mut().unwrap().remove(key);
    }
    std::fs::write(&path, old.to_string()).unwrap();
    assert_eq!(why(&bench.plan(EXPERIMENT, &[]).unwrap(), "validate ties-weight=0.5"), "unchanged");
    old["format"] = 3.into();
    std::fs::write(&path, crate::storage::sealed::seal(old.as_object().unwrap().clone())).unwrap();
    assert_eq!(bench.plan(EXPERIMENT, &[]).unwrap_err().kind(), ErrorKind::Input);
}

/// The data of tasks that training is evaluated on choose the best checkpoint; the adapter to start from is an input.
#[test]
fn everything_that_training_reads_is_an_input_of_its_step() {
    let bench = Bench::new();
    bench.write("init/adapter_config.json", "{}");
    bench.write("init/adapter_model.safetensors", "factors");
    bench.write("base/tokenizer_config.json", "{}");
    bench.write("base/additional_chat_templates/tool.jinja", "x");
    let init = bench.dir.path().join("init").display().to_string();
    let text = EXPERIMENT.replace(
        "fpb: {tasks: [fpb], learning_rate: 2e-4}",
        &format!("fpb: {{tasks: [fpb], init_from: {init}, evaluation: {{tasks: [finarg_auc], num_fewshot: 1}}}}"),
    );
    bench.run(&text, &[], Notes::default()).1.unwrap();
    let why = |plan: &Plan, step: &str| plan.steps.iter().find(|s| s.step == step).unwrap().why.clone();
    for (file, label) in [
        ("init/adapter_model.safetensors", "init_from/adapter_model.safetensors"),
        ("init/adapter_config.json", "init_from/adapter_config.json"),
        ("data/finarg_auc/test.jsonl", "finarg_auc/test.jsonl"),
        ("data/finarg_auc/train.jsonl", "finarg_auc/train.jsonl"),
        ("data/fpb/train.jsonl", "fpb/train.jsonl"),
        ("base/model.safetensors", "base_model/model.safetensors"),
        ("base/tokenizer_config.json", "base_model/tokenizer_config.json"),
        ("base/additional_chat_templates/tool.jinja", "base_model/additional_chat_templates/tool.jinja"),
    ] {
        bench.write(file, "changed");
        let planned = bench.plan(&text, &[]).unwrap();
        assert_eq!(why(&planned, "train fpb"), format!("input changed: {label}"), "{file}");
        assert!(why(&planned, "evaluate fpb").contains("`train fpb` runs"), "{file}");
        bench.run(&text, &[], Notes::default()).1.unwrap();
    }
}

#[test]
fn the_plan_reads_as_a_list() {
    let bench = Bench::new();
    let text = EXPERIMENT.split("merges:").next().unwrap().to_owned() + "evaluation: {unseen: [finarg_auc]}\n";
    let before = bench.plan(&text, &[]).unwrap().render();
    assert!(before.ends_with("12 of 12 steps run: about 5 s and 7 steps of unknown time\n"), "{before}");
    bench.run(&text, &[], Notes::default()).1.unwrap();
    let changed = text.replace("r: 8", "r: 16").replace("[finarg_auc]", "[finarg_auc], limit: 5");
    let expected = "\
run   evaluate base  settings changed: limit  ~0 s (last run)
run   train fpb      settings changed: r  ~0 s (last run)
run   evaluate fpb   settings changed: limit; `train fpb` runs  ~0 s (last run)
run   train fomc     settings changed: r  ~0 s (last run)
run   evaluate fomc  settings changed: limit; `train fomc` runs  ~0 s (last run)
run   train both     settings changed: r  ~0 s (last run)
run   evaluate both  settings changed: limit; `train both` runs  ~0 s (last run)
run   task-vectors   `train fpb` and 2 more run  ~0 s (last run)
run   gate fpb       `evaluate base` and 1 more run  ~0 s (last run)
run   gate fomc      `evaluate base` and 1 more run  ~0 s (last run)
run   gate both      `evaluate base` and 1 more run  ~0 s (last run)
run   report         `evaluate base` and 10 more run  ~0 s (last run)
12 of 12 steps run: about 0 s
";
    assert_eq!(bench.plan(&changed, &[]).unwrap().render(), expected);
    let unchanged = bench.plan(&text, &[]).unwrap().render();
    assert!(unchanged.ends_with("0 of 12 steps run: nothing to do\n"), "{unchanged}");
}
