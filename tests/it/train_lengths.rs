//! Rows that do not fit: found before the first step, never spliced.

use std::path::Path;

use billon::internal::Tokenizer;
use billon::internal::{CancelFlag, Event, Progress, Reporter};
use billon::internal::{DataFormat, DatasetRecipe, TrainRecipe};
use billon::internal::{TrainingData, Workers};
use serde_json::{Value, json};

use crate::context::{Context, fixture};

#[derive(Default)]
struct Warnings(std::sync::Mutex<Vec<String>>);

impl Reporter for Warnings {
    fn event(&self, event: Event) {
        if let Event::Warning(text) = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

fn recipe(path: &Path, sequence_len: usize) -> TrainRecipe {
    let dataset = DatasetRecipe {
        name: "set".to_owned(),
        path: path.display().to_string(),
        format: DataFormat::Auto,
        split: None,
        weight: None,
        max_rows: None,
        share: None,
    };
    TrainRecipe { datasets: vec![dataset], sequence_len, ..TrainRecipe::default() }
}

fn load(recipe: &TrainRecipe, tokenizer: &Tokenizer) -> (billon::Result<TrainingData>, Vec<String>) {
    let (warnings, cancel) = (Warnings::default(), CancelFlag::new());
    let data =
        TrainingData::load(recipe, None, tokenizer, Workers::new(2), Progress { reporter: &warnings, cancel: &cancel });
    (data, warnings.0.into_inner().unwrap())
}

fn chat(rounds: std::ops::Range<usize>) -> Value {
    let mut messages = vec![json!({"role": "system", "content": "Answer in one word."})];
    for round in rounds {
        messages.push(json!({"role": "user", "content": format!("Question number {round}, which is a longer one?")}));
        messages.push(json!({"role": "assistant", "content": format!("Answer {round}.")}));
    }
    json!({"messages": messages})
}

/// Whatever fits is a conversation of its own: the same tokens as of a row with only those rounds.
#[test]
fn a_long_chat_loses_whole_rounds_and_is_never_spliced() {
    let context = Context::new();
    // Without the model's config, whose positions would bound the rows.
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        std::fs::copy(fixture("eval/model").join(file), context.path(file)).unwrap();
    }
    let tokenizer = Tokenizer::open(context.path("tokenizer.json").parent().unwrap()).unwrap();
    let rows =
        |rows: &[Value]| context.write("d.jsonl", &rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    let alone = |rounds| {
        let file = rows(&[chat(rounds)]);
        load(&recipe(&file, 4096), &tokenizer).0.unwrap().examples.remove(0)
    };
    let lengths: Vec<usize> = (0..6).map(|first| alone(first..6).tokens.len()).collect();
    for (first, length) in lengths.iter().enumerate() {
        // The shortest of these lengths fits the last round alone.
        let file = rows(&[chat(0..6)]);
        let (data, warnings) = load(&recipe(&file, *length), &tokenizer);
        let data = data.unwrap();
        assert_eq!(data.examples[0], alone(first..6));
        assert_eq!((data.sets[0].shortened, warnings.len()), (usize::from(first > 0), usize::from(first > 0)));
        assert!(first == 0 || warnings[0].contains("(the first is row 1 of"), "{warnings:?}");
    }
    // One whose last round does not fit is left out whole.
    let file = rows(&[
        chat(0..6),
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
    ]);
    let (data, warnings) = load(&recipe(&file, lengths[5] - 3), &tokenizer);
    let data = data.unwrap();
    assert_eq!((data.sets[0].dropped, data.examples.len()), (1, 1));
    assert!(warnings[0].contains("1 rows were left out, being longer than"), "{warnings:?}");
}

/// A plain prompt that is too long is one run of tokens, BOS in front of it.
#[test]
fn a_long_prompt_keeps_its_end_in_one_piece() {
    let context = Context::new();
    let tokenizer = Tokenizer::open(&fixture("tokenizer/tiny")).unwrap();
    let prompt: String = (0..60).map(|n| format!("n{n} ")).collect();
    let file = context.write("d.jsonl", &json!({"prompt": prompt, "completion": "yes"}).to_string());
    let whole = load(&recipe(&file, 4096), &tokenizer).0.unwrap().examples.remove(0);
    let cut = load(&recipe(&file, 50), &tokenizer).0.unwrap().examples.remove(0);
    assert_eq!(cut.tokens[0], tokenizer.bos().unwrap().1);
    assert_eq!(cut.tokens[1..], whole.tokens[whole.tokens.len() - 49..]);
    assert_eq!(cut.trained[1..], whole.trained[whole.trained.len() - 49..]);
}

fn train(context: &Context, rows: &[Value], settings: Value) -> crate::context::Run {
    let file = context.write("rows.jsonl", &rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    let mut recipe = json!({
        "base_model": context.model_with_tokenizer(&fixture("models/llama")), "datasets": [{"path": file}],
        "lora_r": 2, "micro_batch_size": 1, "num_epochs": 1, "logging_steps": 1, "shuffle": false,
    });
    recipe.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let recipe = context.write("r.yml", &recipe.to_string());
    context.run([
        "train".as_ref(),
        recipe.as_os_str(),
        "--out".as_ref(),
        context.path("out").as_os_str(),
        "-f".as_ref(),
    ])
}

fn steps(context: &Context) -> usize {
    std::fs::read_to_string(context.path("out/trainer_log.jsonl")).map_or(0, |log| log.lines().count())
}

/// The model has 67 tokens and 96 positions; `sequence_len` is 2048 by default.
#[test]
fn rows_beyond_the_model_are_found_before_the_first_step() {
    let context = Context::new();
    let row = |length: usize| json!({"input_ids": (0..length).map(|i| 3 + i % 60).collect::<Vec<_>>()});
    let mut rows = vec![row(10); 4];
    rows.push(json!({"input_ids": [3, 4, 67, 5]}));
    let run = train(&context, &rows, json!({}));
    let expected = "row 5 of";
    assert!(
        run.code == Some(1) && run.stderr.contains(expected) && run.stderr.contains("rows.jsonl"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("token 67 at place 2 is beyond the model's vocabulary of 67"), "{}", run.stderr);
    assert_eq!(steps(&context), 0);

    let labelled = |length: usize, answer: usize| {
        let ids: Vec<usize> = (0..length).map(|i| 3 + i % 60).collect();
        let labels: Vec<i64> =
            ids.iter().enumerate().map(|(i, id)| if i + answer < length { -100 } else { *id as i64 }).collect();
        json!({"input_ids": ids, "labels": labels})
    };
    let rows = [row(10), labelled(120, 2), labelled(120, 100), row(10)];
    let run = train(&context, &rows, json!({}));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("1 rows have more than 96 tokens, the most that the model reads"), "{}", run.stderr);
    assert!(run.stderr.contains("1 rows were left out, being longer than 96 tokens"), "{}", run.stderr);
    assert!(run.stderr.contains("(the first is row 3 of"), "{}", run.stderr);
    assert_eq!(steps(&context), 3);

    let run = train(&context, &rows, json!({"excess_length": "raise"}));
    assert!(run.code == Some(1) && run.stderr.contains("more than the model's positions: 96"), "{}", run.stderr);
    assert!(run.stderr.contains("row 2 of"), "{}", run.stderr);
}
