//! Training data: what is trained, against chat templates' own renderings and the evaluation's requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use billon::internal::task::{self, Ask, PromptSettings, Task};
use billon::internal::{CancelFlag, Event, Progress, Reporter, Silent};
use billon::internal::{DataFormat, DatasetRecipe, ExcessLength, TrainRecipe};
use billon::internal::{Example, TrainingData, Workers, show};
use billon::internal::{Message, Tokenizer};
use serde_json::{Value, json};

use crate::context::{Context, fixture, shared};

const ANSWERS: [&str; 2] = ["Profit rose by 7 %.", "No: it fell.\nTwice."];

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Reporter for Warnings {
    fn event(&self, event: Event) {
        if let Event::Warning(text) = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

fn recipe(datasets: Vec<DatasetRecipe>) -> TrainRecipe {
    TrainRecipe { datasets, sequence_len: 512, micro_batch_size: 4, num_epochs: 1.0, ..TrainRecipe::default() }
}

fn dataset(path: &Path) -> DatasetRecipe {
    DatasetRecipe {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        path: path.display().to_string(),
        format: DataFormat::Auto,
        split: None,
        weight: None,
        max_rows: None,
        share: None,
    }
}

fn jsonl(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn try_load(
    recipe: &TrainRecipe,
    data: Option<&Path>,
    tokenizer: &Tokenizer,
) -> (billon::Result<TrainingData>, Vec<String>) {
    let (warnings, cancel) = (Warnings::default(), CancelFlag::new());
    let progress = Progress { reporter: &warnings, cancel: &cancel };
    let result = TrainingData::load(recipe, data, tokenizer, Workers::new(3), progress);
    (result, warnings.0.into_inner().unwrap())
}

fn load(recipe: &TrainRecipe, tokenizer: &Tokenizer) -> TrainingData {
    try_load(recipe, None, tokenizer).0.unwrap()
}

/// The texts of the runs of tokens that carry loss.
fn trained(example: &Example, tokenizer: &Tokenizer) -> Vec<String> {
    let mut start = 0;
    let mut texts = Vec::new();
    for run in example.trained.chunk_by(|a, b| a == b) {
        let end = start + run.len();
        if run[0] {
            texts.push(tokenizer.decode(&example.tokens[start..end], false).unwrap());
        }
        start = end;
    }
    texts
}

fn trained_ids(example: &Example) -> Vec<u32> {
    example.tokens.iter().zip(&example.trained).filter(|(_, trained)| **trained).map(|(id, _)| *id).collect()
}

/// The tiny tokenizer with a chat template of its own.
fn with_template(context: &Context, name: &str, template: &str) -> PathBuf {
    let directory = context.path(name);
    std::fs::create_dir_all(&directory).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(fixture("tokenizer/tiny").join(file), directory.join(file)).unwrap();
    }
    std::fs::write(directory.join("chat_template.jinja"), template).unwrap();
    directory
}

/// A conversation of two rounds: the whole is the template's rendering, and what is trained are the
/// answers as the template shows them, each with its end of turn; EOS follows the last one only where
/// the template has no special token for it.
#[test]
fn answers_and_ends_of_turns_are_trained_under_every_template() {
    let context = Context::new();
    // Earlier thoughts are dropped, the last turn gets an empty one: as reasoning models do it.
    let thinking = "{% for m in messages %}{% if m.role == 'assistant' %}<s>A:{% if loop.last %}<think></think>{% endif %}\
        {{ m.content }}</s>\n{% else %}<s>U:{{ m.content }}</s>\n{% endif %}{% endfor %}\
        {% if add_generation_prompt %}<s>A:{% endif %}";
    let trimming = std::fs::read_to_string(fixture("chat/no_system.jinja")).unwrap();
    let written = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}\
        {% if add_generation_prompt %}assistant: {% endif %}";
    let open = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}{% endfor %}\
        {% if add_generation_prompt %}<s>assistant\n{% endif %}";
    let mut cases = vec![
        // This one knows no generation prompt, so the assistant's own heading is part of what it writes.
        (fixture("tokenizer/tiny"), ["assistant: ", "assistant: "], "\n", true),
        (fixture("eval/model"), ["", ""], "<|im_end|>\n", true),
        (with_template(&context, "thinking", thinking), ["", "<think></think>"], "</s>", false),
        (with_template(&context, "trimming", &trimming), [" ", " "], "</s>", false),
        (with_template(&context, "written", written), ["", ""], "\n\n", true),
        (with_template(&context, "open", open), ["", ""], "", true),
    ];
    for (name, end) in [
        ("models/smollm2-135m-instruct", "<|im_end|>"),
        ("models/tokenizers/llama-3-instruct", "<|eot_id|>"),
        ("models/tokenizers/mistral-v0.3-instruct", "</s>"),
        ("models/tokenizers/phi-3-mini-instruct", "<|end|>"),
        ("models/tokenizers/qwen2.5-instruct", "<|im_end|>"),
    ] {
        cases.extend(shared(name).map(|directory| (directory, ["", ""], end, false)));
    }
    let row = json!({"messages": [
        {"role": "user", "content": "How was it?"}, {"role": "assistant", "content": ANSWERS[0]},
        {"role": "user", "content": "And cash?"}, {"role": "assistant", "content": ANSWERS[1]},
    ]});
    let file = context.write("chat.jsonl", &jsonl(&[row]));
    for (directory, before, end, eos) in cases {
        let name = directory.display();
        let tokenizer = Tokenizer::open(&directory).unwrap();
        let data = load(&recipe(vec![dataset(&file)]), &tokenizer);
        let [example] = data.examples.as_slice() else { panic!("{name}") };
        let messages =
            [("user", "How was it?"), ("assistant", ANSWERS[0]), ("user", "And cash?"), ("assistant", ANSWERS[1])]
                .map(|(role, content)| Message::new(role, content));
        let whole = tokenizer.chat_template(None).unwrap().render(&messages, false, false).unwrap();
        let mut expected = tokenizer.encode_prompt(&whole).unwrap();
        expected.extend(tokenizer.eos().filter(|_| eos).map(|(_, id)| id));
        assert_eq!(example.tokens, expected, "{name}");
        let last_end = if eos { format!("{end}{}", tokenizer.eos().unwrap().0) } else { end.to_owned() };
        let texts: Vec<String> =
            [(0, end), (1, &last_end)].map(|(i, end)| format!("{}{}{end}", before[i], ANSWERS[i])).to_vec();
        let found = trained(example, &tokenizer);
        // A sentence piece's blank is lost when it is decoded alone.
        let same = found.iter().zip(&texts).all(|(a, b)| a == b || a == b.trim_start() || a.trim_start() == b);
        assert!(found.len() == 2 && same, "{name}: {found:?} for {texts:?}");
        assert!(show(example, &tokenizer).unwrap().contains(&format!("{}{end}⟧", ANSWERS[0])), "{name}");
    }
}

/// A template that asks the last question otherwise can't show what was asked before.
#[test]
fn a_turn_that_is_not_shown_as_it_is_opened_is_refused() {
    let context = Context::new();
    let moving = "{% for m in messages %}{% if m.role == 'user' %}[{% if loop.last %}Now: {% endif %}\
        {{ m.content }}]{% elif m.role == 'assistant' %}{{ m.content }}</s>{% endif %}{% endfor %}";
    let tokenizer = Tokenizer::open(&with_template(&context, "moving", moving)).unwrap();
    let row = json!({"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]});
    let file = context.write("chat.jsonl", &jsonl(&[row]));
    let error = try_load(&recipe(vec![dataset(&file)]), None, &tokenizer).0.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("row 1 of") && text.contains("chat.jsonl") && text.contains("turn 2"), "{text}");
    let hint = &error.hints()[0];
    assert!(hint.contains("\"[Now: U]\"") && hint.contains("\"[U]A</s>\""), "{hint}");
}

fn task_data(context: &Context) -> PathBuf {
    let rows = |texts: &[(&str, &str)]| {
        jsonl(&texts.iter().map(|(text, label)| json!({"text": text, "label": label})).collect::<Vec<_>>())
    };
    let train = [
        ("Sales grew.", "positive"),
        ("Sales fell.", "negative"),
        ("The firm is Finnish.", "neutral"),
        ("Odd.", "so-so"),
    ];
    let test = [("The loss widened.", "negative"), ("Sales fell.", "negative")];
    std::fs::create_dir_all(context.path("data/fpb")).unwrap();
    context.write("data/fpb/train.jsonl", &rows(&train));
    context.write("data/fpb/test.jsonl", &rows(&test));
    std::fs::create_dir_all(context.path("data/gsm8k")).unwrap();
    let sum = json!({"question": "1+1?", "answer": "2", "solution": "1+1 is 2. #### 2"});
    context.write("data/gsm8k/train.jsonl", &jsonl(&[sum]));
    context.path("data")
}

/// A task's trained tokens are those that the evaluation would score for the right choice, and an end.
#[test]
fn tasks_are_trained_as_they_are_evaluated() {
    let context = Context::new();
    let folder = task_data(&context);
    let mut directories = vec![fixture("tokenizer/tiny"), fixture("eval/model")];
    for name in ["smollm2-135m-instruct", "tokenizers/llama-2", "tokenizers/gpt2", "tokenizers/phi-3-mini-instruct"] {
        directories.extend(shared(&format!("models/{name}")));
    }
    for directory in directories {
        let tokenizer = Tokenizer::open(&directory).unwrap();
        let name = directory.display().to_string();
        let has_chat = tokenizer.chat_template_names().next().is_some();
        for chat in if has_chat { vec![false, true] } else { vec![false] } {
            let mut recipe = recipe(vec![dataset(Path::new("fpb"))]);
            recipe.apply_chat_template = Some(chat);
            let (data, warnings) = try_load(&recipe, Some(&folder), &tokenizer);
            let data = data.unwrap();
            let config = task::load(&["fpb".to_owned()]).unwrap().tasks.remove(0);
            let task = Task::open_split(config, "train", Some(&folder)).unwrap();
            let template = chat.then(|| tokenizer.chat_template(None).unwrap());
            let settings = PromptSettings { chat: template.as_ref(), ..PromptSettings::default() };
            let prompts = task.prompts(&settings).unwrap();
            assert_eq!(data.examples.len(), 3);
            assert_eq!((data.sets[0].unanswered, data.sets[0].rows), (1, 4));
            for (example, rendered) in data.examples.iter().zip(&prompts.rendered) {
                let Ask::Choices { contexts, continuations, gold, .. } = &rendered.ask else { panic!() };
                let pair = tokenizer.encode_choices(&contexts[0], continuations).unwrap().swap_remove(gold[0]);
                let end = match (chat, tokenizer.directory().file_name().unwrap().to_str().unwrap()) {
                    (false, _) => vec![tokenizer.eos().unwrap().1],
                    (true, "smollm2-135m-instruct") => tokenizer.encode("<|im_end|>", false).unwrap(),
                    (true, "phi-3-mini-instruct") => tokenizer.encode("<|end|>", false).unwrap(),
                    (true, "tiny") => tokenizer.encode("\n</s>", false).unwrap(),
                    (true, _) => tokenizer.encode("<|im_end|>\n</s>", false).unwrap(),
                };
                let answer = [pair.continuation, end].concat();
                assert_eq!(trained_ids(example), answer, "{name}, chat: {chat}");
                assert_eq!(example.tokens, [pair.context, answer].concat(), "{name}, chat: {chat}");
            }
            assert!(warnings.iter().any(|w| w.contains("1 of 4 prompts are also asked")), "{warnings:?}");
            assert!(warnings.iter().any(|w| w.contains("1 documents were left out")), "{warnings:?}");
        }
        // Free answers are those of few-shot examples.
        let mut recipe = recipe(vec![dataset(Path::new("gsm8k"))]);
        recipe.apply_chat_template = Some(false);
        let data = try_load(&recipe, Some(&folder), &tokenizer).0.unwrap();
        let text = trained(&data.examples[0], &tokenizer).concat();
        assert_eq!(text.trim_start(), format!("1+1 is 2. #### 2{}", tokenizer.eos().unwrap().0), "{name}");
    }
}

/// `n` rows of `length` tokens, all but the first trained; the second token says which row it is.
fn tokenised(context: &Context, name: &str, n: usize, length: impl Fn(usize) -> usize) -> PathBuf {
    let row = |i: usize| {
        let ids: Vec<usize> = [1, i].into_iter().chain(std::iter::repeat(2)).take(length(i)).collect();
        json!({"input_ids": ids})
    };
    context.write(&format!("{name}.jsonl"), &jsonl(&(0..n).map(row).collect::<Vec<_>>()))
}

#[test]
fn an_epoch_holds_the_mix_that_was_asked_for() {
    let context = Context::new();
    let tokenizer = Tokenizer::open(&fixture("tokenizer/tiny")).unwrap();
    let files: Vec<PathBuf> =
        [("a", 100), ("b", 30), ("c", 40)].map(|(name, n)| tokenised(&context, name, n, |_| 4)).to_vec();
    let mix = |change: &dyn Fn(&mut TrainRecipe)| {
        let mut recipe = recipe(files.iter().map(|file| dataset(file)).collect());
        change(&mut recipe);
        let data = load(&recipe, &tokenizer);
        let counts: Vec<usize> = data.sets.iter().map(|set| set.per_epoch).collect();
        for epoch in 0..3 {
            let rows = data.rows(&recipe, epoch);
            assert_eq!(rows, data.rows(&recipe, epoch));
            let mut seen = vec![BTreeMap::new(); 3];
            for place in rows.concat() {
                *seen[data.examples[place].set].entry(place).or_insert(0) += 1;
            }
            let realised: Vec<usize> = seen.iter().map(|set| set.values().sum()).collect();
            assert_eq!(realised, counts);
            for (set, summary) in seen.iter().zip(&data.sets) {
                // No example comes twice more often than another: whole copies and a draw.
                let size = summary.examples - summary.held_out;
                let copies = summary.per_epoch / size;
                assert!(set.values().all(|times| (copies..=copies + 1).contains(times)), "{set:?}");
            }
        }
        (data, recipe, counts)
    };
    assert_eq!(mix(&|_| {}).2, [100, 30, 40]);
    let (data, recipe, counts) = mix(&|recipe| {
        recipe.datasets[0].weight = Some(0.25);
        recipe.datasets[1].weight = Some(2.5);
        recipe.datasets[2].share = Some(0.2);
    });
    // 25 + 75 are four fifths.
    assert_eq!(counts, [25, 75, 25]);
    let first: Vec<usize> = data.rows(&recipe, 0).concat();
    let second: Vec<usize> = data.rows(&recipe, 1).concat();
    let of_a = |rows: &[usize]| rows.iter().copied().filter(|i| *i < 100).collect::<std::collections::BTreeSet<_>>();
    assert_ne!(of_a(&first), of_a(&second), "a fresh draw each epoch");
    // Roots 10, 5.48 and 6.32 of 170.
    assert_eq!(mix(&|recipe| recipe.mixing_temperature = 0.5).2, [78, 43, 49]);
    assert_eq!(mix(&|recipe| recipe.mixing_temperature = 0.0).2, [57, 57, 57]);
    let (data, ..) = mix(&|recipe| {
        recipe.datasets[0].max_rows = Some(20);
        recipe.val_set_size = 0.1;
    });
    let held: Vec<usize> = data.sets.iter().map(|set| set.held_out).collect();
    assert_eq!((held, data.validation.len(), data.examples.len()), (vec![2, 3, 4], 9, 81));
    for (change, expected) in [
        (&(|r: &mut TrainRecipe| r.datasets[0].share = Some(1.0)) as &dyn Fn(&mut TrainRecipe), "share: 1"),
        (&|r| r.datasets.iter_mut().take(2).for_each(|d| d.share = Some(0.5)), "come to 1"),
        (&|r| r.datasets.iter_mut().for_each(|d| d.share = Some(0.2)), "every data set"),
        (&|r| r.datasets.iter_mut().for_each(|d| d.weight = Some(0.0)), "no examples"),
        (&|r| r.datasets[1].weight = Some(-1.0), "`weight: -1`"),
        (&|r| r.val_set_size = 1.0, "`val_set_size: 1`"),
    ] {
        let mut recipe = self::recipe(files.iter().map(|file| dataset(file)).collect());
        change(&mut recipe);
        let error = try_load(&recipe, None, &tokenizer).0.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.kind() == billon::ErrorKind::Usage);
    }
}

#[test]
fn rows_are_packed_and_in_order_as_asked() {
    let context = Context::new();
    let tokenizer = Tokenizer::open(&fixture("tokenizer/tiny")).unwrap();
    let file = tokenised(&context, "a", 200, |i| 2 + (i * 37) % 61);
    let mut recipe = recipe(vec![dataset(&file)]);
    (recipe.sequence_len, recipe.sample_packing) = (64, true);
    let data = load(&recipe, &tokenizer);
    let length = |row: &Vec<usize>| row.iter().map(|i| data.examples[*i].tokens.len()).sum::<usize>();
    let rows = data.rows(&recipe, 0);
    let mut seen = rows.concat();
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| length(row) <= 64));
    let tokens: usize = rows.iter().map(length).sum();
    assert!(rows.len() <= tokens.div_ceil(64) * 21 / 20 + 1, "{} rows for {tokens} tokens", rows.len());
    assert_ne!(rows, data.rows(&recipe, 1));
    recipe.seed = 7;
    assert_ne!(rows, data.rows(&recipe, 0));
    recipe.shuffle = false;
    assert!(data.rows(&recipe, 3).is_sorted());
    recipe.sample_packing = false;
    assert_eq!(data.rows(&recipe, 0), (0..200).map(|i| vec![i]).collect::<Vec<_>>());
    // The data are the same whatever the threads.
    let (cancel, one) = (CancelFlag::new(), Workers::new(1));
    let progress = Progress { reporter: &Silent, cancel: &cancel };
    assert_eq!(TrainingData::load(&recipe, None, &tokenizer, one, progress).unwrap().examples, data.examples);
}

#[test]
fn long_and_empty_rows_are_counted_or_refused() {
    let context = Context::new();
    let tokenizer = Tokenizer::open(&fixture("tokenizer/tiny")).unwrap();
    let long = ["word"; 60].join(" ");
    let rows = [
        json!({"prompt": "short", "completion": " yes"}),
        json!({"prompt": long, "completion": " yes"}),
        json!({"prompt": "short", "completion": format!(" {long}")}),
    ];
    let file = context.write("pairs.jsonl", &jsonl(&rows));
    let mut recipe = recipe(vec![dataset(&file)]);
    recipe.sequence_len = 40;
    let (data, warnings) = try_load(&recipe, None, &tokenizer);
    let data = data.unwrap();
    assert_eq!((data.sets[0].shortened, data.sets[0].dropped, data.sets[0].examples), (1, 1, 2));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(data.examples[1].tokens.len(), 40);
    assert_eq!(trained_ids(&data.examples[0]), trained_ids(&data.examples[1]));
    // BOS and the prompt's end stay.
    assert_eq!(data.examples[1].tokens[0], tokenizer.bos().unwrap().1);
    assert!(show(&data.examples[0], &tokenizer).unwrap().contains("short⟦ yes</s>⟧"));
    recipe.excess_length = ExcessLength::Drop;
    assert_eq!(load(&recipe, &tokenizer).sets[0].dropped, 2);
    recipe.excess_length = ExcessLength::Raise;
    let error = try_load(&recipe, None, &tokenizer).0.unwrap_err().to_string();
    assert!(error.contains("row 2 of") && error.contains("data set `pairs`"), "{error}");
    recipe.excess_length = ExcessLength::Shorten;
    recipe.train_on_inputs = true;
    let data = load(&recipe, &tokenizer);
    assert!(data.examples.iter().all(|e| !e.trained[0] && e.trained[1..].iter().all(|t| *t)));
    recipe.train_on_inputs = false;

    let text = context.write("text.jsonl", &jsonl(&[json!({"text": long})]));
    recipe.datasets = vec![dataset(&text)];
    let data = load(&recipe, &tokenizer);
    let whole = tokenizer.encode(&long, true).unwrap();
    let all: Vec<u32> = data.examples.iter().flat_map(trained_ids).collect();
    assert_eq!(all, [&whole[1..], &[tokenizer.eos().unwrap().1]].concat());
    assert_eq!(data.sets[0].split, 1);

    let masked = json!({"input_ids": [1, 2], "labels": [-100, -100]});
    let alone = context.write("masked.jsonl", &jsonl(std::slice::from_ref(&masked)));
    recipe.datasets = vec![dataset(&alone)];
    let error = try_load(&recipe, None, &tokenizer).0.unwrap_err();
    assert!(error.to_string().contains("all tokens of its 1 rows are masked"), "{error}");
    let mixed = context.write("mixed.jsonl", &jsonl(&[masked, json!({"input_ids": [1, 2]})]));
    recipe.datasets = vec![dataset(&mixed)];
    let (data, warnings) = try_load(&recipe, None, &tokenizer);
    assert_eq!((data.unwrap().sets[0].masked, warnings.len()), (1, 1));
    let empty = context.write("empty.jsonl", "\n");
    recipe.datasets = vec![dataset(&empty)];
    assert!(try_load(&recipe, None, &tokenizer).0.unwrap_err().to_string().contains("empty.jsonl has no documents"));
    for (path, expected) in [("none.jsonl", "there is no file none.jsonl"), ("fbp", "there is no task")] {
        recipe.datasets = vec![dataset(Path::new(path))];
        assert!(try_load(&recipe, None, &tokenizer).0.unwrap_err().to_string().contains(expected));
    }
}

/// Rows of every other format, as CSV and as one JSON list too.
#[test]
fn formats_train_their_answers() {
    let context = Context::new();
    let tokenizer = Tokenizer::open(&fixture("eval/model")).unwrap();
    let alpaca = json!([{"instruction": "Add.", "input": "1 1", "output": "2"}]).to_string();
    let share =
        json!([{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}]).to_string();
    for (file, text, chat, expected) in [
        ("a.json", alpaca.as_str(), false, "### Response:\n⟦2</s>⟧"),
        ("a.json", alpaca.as_str(), true, "user\nAdd.\n\n1 1<|im_end|>\n<|im_start|>assistant\n⟦2<|im_end|>\n</s>⟧"),
        ("s.json", share.as_str(), true, "⟦Ho<|im_end|>\n</s>⟧"),
        ("p.csv", "prompt,completion\n\"Say, please:\", yes\n", true, "Say, please:⟦ yes</s>⟧"),
        ("t.csv", "text\nAll of it\n", true, "<s>⟦All of it</s>⟧"),
    ] {
        let path = context.write(file, text);
        let mut recipe = recipe(vec![dataset(&path)]);
        recipe.apply_chat_template = Some(chat);
        let shown = show(&load(&recipe, &tokenizer).examples[0], &tokenizer).unwrap();
        assert!(shown.contains(expected), "{file}: {shown}");
    }
}
