//! Rows of training data: what of them is learnt, and what is refused by name rather than dropped.

use std::path::{Path, PathBuf};

use billon::internal::Tokenizer;
use billon::internal::{CancelFlag, Progress, Silent};
use billon::internal::{DataFormat, DatasetRecipe, TrainRecipe, UnsupportedSystem};
use billon::internal::{Example, TrainingData, Workers};
use serde_json::{Value, json};

use crate::context::{Context, fixture, shared};

/// Shows tools, calls, thoughts and roles of any name; printed contents are Python's.
const FULL: &str = "{% if tools %}<s>T:{% for t in tools %}{{ t | tojson }}{% endfor %}</s>\n{% endif %}\
    {% for m in messages %}<s>{{ m.role }}:{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}\
    {{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }} {{ c.function.arguments | tojson }}</call>\
    {% endfor %}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant:{% endif %}";

/// Shows roles and contents only.
const PLAIN: &str = "{% for m in messages %}<s>{{ m.role }}:{{ m.content }}</s>\n{% endfor %}\
    {% if add_generation_prompt %}<s>assistant:{% endif %}";

/// Shows the system's text in the last message only if that is the user's, as Mistral's template does.
const LOSING: &str = "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}\
    {% set ns.system = m.content %}{% elif m.role == 'user' %}<s>[{% if loop.last and ns.system %}{{ ns.system }}\n\n{% endif %}\
    {{ m.content }}]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}";

fn tokenizer(context: &Context, template: &str) -> Tokenizer {
    Tokenizer::open(&model(context, template)).unwrap()
}

fn model(context: &Context, template: &str) -> PathBuf {
    let directory = context.path("m");
    std::fs::create_dir_all(&directory).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(fixture("tokenizer/tiny").join(file), directory.join(file)).unwrap();
    }
    std::fs::write(directory.join("chat_template.jinja"), template).unwrap();
    directory
}

fn recipe(path: &Path) -> TrainRecipe {
    let dataset = DatasetRecipe {
        name: "set".to_owned(),
        path: path.display().to_string(),
        format: DataFormat::Auto,
        split: None,
        weight: None,
        max_rows: None,
        share: None,
    };
    TrainRecipe { datasets: vec![dataset], sequence_len: 512, ..TrainRecipe::default() }
}

fn load(recipe: &TrainRecipe, tokenizer: &Tokenizer) -> billon::Result<TrainingData> {
    let cancel = CancelFlag::new();
    TrainingData::load(recipe, None, tokenizer, Workers::new(2), Progress { reporter: &Silent, cancel: &cancel })
}

/// What a single row becomes.
fn example(context: &Context, row: &Value, tokenizer: &Tokenizer) -> Example {
    let data = load(&recipe(&context.write("d.jsonl", &row.to_string())), tokenizer).unwrap();
    data.examples.into_iter().next().unwrap()
}

fn fault(context: &Context, row: &Value, tokenizer: &Tokenizer) -> String {
    let error = load(&recipe(&context.write("d.jsonl", &row.to_string())), tokenizer).unwrap_err();
    assert_eq!(error.kind(), billon::ErrorKind::Input, "{error}");
    format!("{error} | {}", error.hints().join(" "))
}

fn text(example: &Example, tokenizer: &Tokenizer) -> String {
    tokenizer.decode(&example.tokens, false).unwrap()
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

/// The expected texts are what Jinja2 in Python makes of the template.
#[test]
fn tools_and_tool_calls_and_thoughts_reach_the_template() {
    let context = Context::new();
    let tokenizer = tokenizer(&context, FULL);
    let tools = json!([{"type": "function", "function": {"name": "rate", "parameters": {}}}]);
    let call = json!([{"type": "function", "function": {"name": "rate", "arguments": {"c": "EUR"}}}]);
    let shown = "<s>T:{\"type\": \"function\", \"function\": {\"name\": \"rate\", \"parameters\": {}}}</s>\n\
        <s>user:Rate?</s>\n<s>assistant:<call>rate {\"c\": \"EUR\"}</call></s>\n<s>tool:4.0</s>\n\
        <s>assistant:<think>so</think>It is 4.0.</s>\n";
    let row = |tools: &Value, content: &Value, call: &Value| {
        json!({"id": 7, "tools": tools, "messages": [
            {"role": "user", "content": "Rate?"}, {"role": "assistant", "content": content, "tool_calls": call},
            {"role": "tool", "content": "4.0", "tool_call_id": "x"},
            {"role": "assistant", "content": "It is 4.0.", "reasoning_content": "so", "tool_calls": null},
        ]})
    };
    let as_text = json!([{"type": "function", "function": {"name": "rate", "arguments": "{\"c\": \"EUR\"}"}}]);
    for row in [
        row(&tools, &json!(""), &call),
        // OpenAI's form: no content, arguments as the text of an object.
        row(&tools, &Value::Null, &as_text),
        // LLaMA-Factory's: the tools as text, bare functions.
        row(&json!("[{\"name\": \"rate\", \"parameters\": {}}]"), &json!(""), &call),
    ] {
        let example = example(&context, &row, &tokenizer);
        assert_eq!(text(&example, &tokenizer), shown);
        let answers = ["<call>rate {\"c\": \"EUR\"}</call></s>", "<think>so</think>It is 4.0.</s>"];
        assert_eq!(trained(&example, &tokenizer), answers);
    }
}

#[test]
fn what_the_template_has_no_place_for_is_refused_by_name() {
    let context = Context::new();
    let tokenizer = tokenizer(&context, PLAIN);
    let row = |key: &str, value: Value| {
        let mut answer = json!({"role": "assistant", "content": "yes"});
        answer[key] = value;
        json!({"messages": [{"role": "user", "content": "q"}, answer]})
    };
    let call = json!([{"type": "function", "function": {"name": "w", "arguments": {}}}]);
    for (key, value) in
        [("tool_calls", call), ("reasoning_content", json!("because")), ("function_call", json!({"name": "w"}))]
    {
        let fault = fault(&context, &row(key, value), &tokenizer);
        let named = if key == "function_call" { "tool_calls" } else { key };
        assert!(fault.contains("row 1 of") && fault.contains(&format!("`{named}` of turn 2")), "{fault}");
    }
    let mut tools = row("name", json!("A"));
    tools["tools"] = json!([{"type": "function", "function": {"name": "w"}}]);
    assert!(fault(&context, &tools, &tokenizer).contains("`tools` does not reach the text"));
    // Book-keeping, and lists that a columnar export fills in, change nothing.
    let mut kept = row("tool_calls", json!([]));
    kept["tools"] = Value::Null;
    kept["messages"][0]["timestamp"] = json!(12);
    assert_eq!(trained(&example(&context, &kept, &tokenizer), &tokenizer), ["yes</s>"]);
}

/// A template that drops the role `tool`, as Phi-3's does.
#[test]
fn a_turn_that_the_template_leaves_out_is_refused() {
    let context = Context::new();
    let template = "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<s>{{ m.role }}:{{ m.content }}</s>\n\
        {% endif %}{% endfor %}{% if add_generation_prompt %}<s>assistant:{% endif %}";
    let tokenizer = tokenizer(&context, template);
    let row = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "w"},
        {"role": "tool", "content": "e"}, {"role": "assistant", "content": "a"}]});
    let fault = fault(&context, &row, &tokenizer);
    assert!(fault.contains("turn 3 (`tool`)"), "{fault}");
}

#[test]
fn sharegpt_calls_and_other_names_of_turns_are_read() {
    let context = Context::new();
    let tokenizer = tokenizer(&context, FULL);
    let row = json!({"conversations": [{"from": "human", "value": "w?"},
        {"from": "function_call", "value": "{\"name\": \"w\", \"arguments\": {}}"},
        {"from": "observation", "value": "5"}, {"from": "gpt", "value": "It is 5"}]});
    let found = example(&context, &row, &tokenizer);
    let expected = "<s>user:w?</s>\n<s>assistant:<call>w {}</call></s>\n<s>tool:5</s>\n<s>assistant:It is 5</s>\n";
    assert_eq!(text(&found, &tokenizer), expected);
    assert_eq!(trained(&found, &tokenizer), ["<call>w {}</call></s>", "It is 5</s>"]);
    let row = json!({"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]});
    assert_eq!(trained(&example(&context, &row, &tokenizer), &tokenizer), ["a</s>"]);
    let row = json!({"conversations": [{"from": "function_call", "value": "rate(EUR)"}]});
    assert!(fault(&context, &row, &tokenizer).contains("a function call is JSON"));
}

#[test]
fn flags_of_messages_take_the_loss_off_a_turn() {
    let context = Context::new();
    let tokenizer = tokenizer(&context, PLAIN);
    let row = |first: Value, second: Value| {
        let mut row = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad"},
            {"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}]});
        for (place, flags) in [(1, first), (3, second)] {
            row["messages"][place].as_object_mut().unwrap().extend(flags.as_object().unwrap().clone());
        }
        row
    };
    for (first, second, expected) in [
        (json!({"weight": 0}), json!({"weight": 1}), "good</s>"),
        (json!({"train": false}), json!({"train": true}), "good</s>"),
        (json!({"training": true}), json!({"training": false, "weight": null}), "bad</s>"),
        (json!({}), json!({"loss": false}), "bad</s>"),
    ] {
        assert_eq!(trained(&example(&context, &row(first, second), &tokenizer), &tokenizer), [expected]);
    }
    for (flags, expected) in [
        (json!({"weight": 0.5}), "`weight`: 0.5 is neither 0"),
        (json!({"train": "no"}), "`train`"),
        (json!({"mask": [0, 1]}), "`mask` is not followed"),
        (json!({"train_detail": [{"begin_offset": 0}]}), "`train_detail` is not followed"),
        (json!({"images": ["a.png"]}), "`images` is not followed"),
    ] {
        let fault = fault(&context, &row(flags, json!({})), &tokenizer);
        assert!(fault.contains(expected), "{fault}");
    }
    let row =
        json!({"messages": [{"role": "user", "content": "q", "train": true}, {"role": "assistant", "content": "a"}]});
    assert!(fault(&context, &row, &tokenizer).contains("only the assistant's turns carry loss"));
}

#[test]
fn rows_that_mark_answers_as_undesired_are_refused() {
    let context = Context::new();
    let tokenizer = tokenizer(&context, PLAIN);
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    for (row, key) in [
        (json!({"prompt": "good", "completion": "NEVER", "label": false}), "label"),
        (json!({"prompt": "good", "completion": "yes", "label": true}), "label"),
        (json!({"prompt": "good", "completion": "yes", "label": 0}), "label"),
        (json!({"messages": messages, "kto_tag": true}), "kto_tag"),
        (json!({"messages": messages, "rejected": [], "chosen": messages}), "rejected"),
        (json!({"prompt": "q", "chosen": "a", "rejected": "b"}), "rejected"),
        (json!({"messages": messages, "weight": 0.0}), "weight"),
        (json!({"text": "all", "train": false}), "train"),
        (json!({"prompt": "p", "completion": "c", "system": "s"}), "system"),
        (json!({"prompt": "p", "completion": "c", "tools": [{"name": "w"}]}), "tools"),
        (json!({"messages": messages, "image": "a.png"}), "image"),
        (json!({"messages": messages, "completion_mask": [1, 0]}), "completion_mask"),
        (json!({"input_ids": [1, 2, 3], "position_ids": [0, 1, 0]}), "position_ids"),
    ] {
        let fault = fault(&context, &row, &tokenizer);
        assert!(fault.contains("row 1 of") && fault.contains(&format!("`{key}` is not followed")), "{fault}");
    }
    // The text of a class beside an answer, a score and a source are book-keeping.
    let row =
        json!({"prompt": "p", "completion": " up", "label": "positive", "score": 0.1, "source": "x", "split": "train"});
    assert_eq!(trained(&example(&context, &row, &tokenizer), &tokenizer), [" up</s>"]);
    let row = json!({"input_ids": [0, 5, 6, 7], "completion_mask": [0, 0, 1, 1], "position_ids": [0, 1, 2, 3]});
    assert_eq!(example(&context, &row, &tokenizer).trained, [false, false, true, true]);
}

/// Under a tokenizer that joins a colon and a line break the prompt's last token is the joined one, as it is
/// for whoever asks the trained model.
#[test]
fn a_prompts_trailing_newline_survives() {
    let context = Context::new();
    let directory = model(&context, PLAIN);
    let path = directory.join("tokenizer.json");
    let mut parts: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    parts["pre_tokenizer"]["use_regex"] = json!(false);
    parts["model"]["vocab"][":Ċ"] = json!(384);
    parts["model"]["merges"].as_array_mut().unwrap().push(json!([":", "Ċ"]));
    std::fs::write(&path, parts.to_string()).unwrap();
    let mut directories = vec![directory];
    for name in ["llama-3-instruct", "qwen2.5-instruct", "gpt2", "llama-2"] {
        directories.extend(shared(&format!("models/tokenizers/{name}")));
    }
    for directory in directories {
        let tokenizer = Tokenizer::open(&directory).unwrap();
        for (prompt, completion, learnt) in [
            ("### Answer:\n", "up", "up"),
            ("### Answer:\n\n", "up", "up"),
            ("Answer: ", "up", "up"),
            ("Answer:", " up", "up"),
            ("Answer:\t", "up", "up"),
        ] {
            let row = json!({"prompt": prompt, "completion": completion});
            let example = example(&context, &row, &tokenizer);
            let mut expected = tokenizer.encode(&[prompt, completion].concat(), true).unwrap();
            expected.push(tokenizer.eos().unwrap().1);
            assert_eq!(example.tokens, expected, "{} {prompt:?}", directory.display());
            let texts = trained(&example, &tokenizer).concat();
            let learnt = format!("{learnt}{}", tokenizer.eos().unwrap().0);
            assert_eq!(texts.trim_start(), learnt, "{} {prompt:?}", directory.display());
        }
    }
    let tokenizer = Tokenizer::open(&context.path("m")).unwrap();
    let alpaca = json!({"instruction": "Add.", "output": "up"});
    let mut recipe = recipe(&context.write("d.jsonl", &alpaca.to_string()));
    recipe.apply_chat_template = Some(false);
    let example = load(&recipe, &tokenizer).unwrap().examples.remove(0);
    let answer = example.trained.iter().position(|trained| *trained).unwrap();
    assert_eq!(example.tokens[answer - 1], 384, "`### Response:` and its line break are one token");
    assert_eq!(trained(&example, &tokenizer), ["up</s>"]);
}

#[test]
fn the_first_token_of_the_next_speaker_carries_no_loss() {
    let context = Context::new();
    let row = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]});
    // Only the conversation ends with a special token; the user's turns begin with one.
    let begun = "{% for m in messages %}{% if m.role == 'user' %}<s>{{ m.content }}{% else %}|{{ m.content }}{% endif %}\
        {% endfor %}{% if add_generation_prompt %}|{% else %}</s>{% endif %}";
    // A turn ends with a blank, which is of one token with the next speaker's name.
    let joined = "{% for m in messages %}{{ 'up' if m.role == 'user' else 'down' }}={{ m.content }} {% endfor %}\
        {% if add_generation_prompt %}down={% endif %}";
    for (template, expected) in [(begun, ["b", "d</s>"]), (joined, ["b", "d </s>"])] {
        let tokenizer = tokenizer(&context, template);
        assert_eq!(trained(&example(&context, &row, &tokenizer), &tokenizer), expected);
    }
    let tokenizer = Tokenizer::open(&context.path("m")).unwrap();
    assert_eq!(tokenizer.encode(" up", false).unwrap().len(), 1, "the blank and the name are one token");
}

#[test]
fn a_system_message_that_the_template_loses_is_reported_moved_or_dropped() {
    let context = Context::new();
    let tokenizer = tokenizer(&context, LOSING);
    let lost = json!({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Rate?"},
        {"role": "assistant", "content": "4 %"}]});
    let plain = json!({"messages": [{"role": "user", "content": "Rate?"}, {"role": "assistant", "content": "5 %"}]});
    let fault = fault(&context, &lost, &tokenizer);
    assert!(
        fault.contains("leaves the content of turn 1 (`system`) out") && fault.contains("unsupported_system: prepend"),
        "{fault}"
    );
    let mut recipe = recipe(&context.write("d.jsonl", &format!("{lost}\n{plain}\n")));
    recipe.unsupported_system = UnsupportedSystem::Prepend;
    let data = load(&recipe, &tokenizer).unwrap();
    // What the template asks with where the user's message is the last one.
    assert_eq!(text(&data.examples[0], &tokenizer), "<s>[S\n\nRate?]4 %</s>");
    recipe.unsupported_system = UnsupportedSystem::Drop;
    let data = load(&recipe, &tokenizer).unwrap();
    assert_eq!((data.examples.len(), data.sets[0].refused), (1, 1));
}

#[test]
fn contents_in_parts_are_joined_and_pictures_refused() {
    let context = Context::new();
    let tokenizer = tokenizer(&context, PLAIN);
    let row = |part: Value| {
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]}]})
    };
    let example = example(&context, &row(json!({"type": "text", "text": "d"})), &tokenizer);
    assert_eq!(text(&example, &tokenizer), "<s>user:ad</s>\n<s>assistant:bc</s>\n");
    let picture = json!({"type": "image_url", "image_url": {"url": "x"}});
    assert!(fault(&context, &row(picture), &tokenizer).contains("a part of type `image_url`"));
}

/// Messages of the command, for files and values that are not what they seem.
#[test]
fn unsupported_data_formats_are_named() {
    let context = Context::new();
    let base = model(&context, PLAIN);
    std::fs::write(context.path("x.jsonl.gz"), b"\x1f\x8b\x08\x00rest").unwrap();
    std::fs::write(context.path("y.jsonl"), b"\x28\xb5\x2f\xfdrest").unwrap();
    context.write("null.jsonl", "{\"text\": \"a\"}\n{\"text\": null}\n");
    context.write("first.jsonl", "{\"text\": null}\n");
    context.write("content.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": null}]}\n");
    let path = |name: &str| context.path(name).display().to_string();
    for (dataset, expected, code) in [
        (json!({"path": path("x.jsonl.gz")}), "is a gzip file, which is not read", 1),
        (json!({"path": path("x.jsonl.gz"), "type": "alpaca"}), "gunzip it", 1),
        (json!({"path": path("y.jsonl")}), "is a Zstandard file", 1),
        (json!({"path": "none.jsonl.gz"}), "there is no file none.jsonl.gz", 1),
        (json!("tatsu-lab/alpaca"), "hub data sets are not downloaded", 1),
        (json!({"path": "tatsu-lab/alpaca", "type": "alpaca"}), "export it as JSON lines", 1),
        (json!({"path": path("null.jsonl")}), "row 2 of", 1),
        (json!({"path": path("null.jsonl")}), "`text` is null", 1),
        (json!({"path": path("first.jsonl")}), "`text` is null", 1),
        (json!({"path": path("content.jsonl")}), "`content` is null", 1),
    ] {
        let recipe = json!({"base_model": base, "datasets": [dataset]});
        let recipe = context.write("r.yml", &recipe.to_string());
        let run = context.run(["train".as_ref(), recipe.as_os_str(), "--show-batch".as_ref()]);
        assert!(run.code == Some(code) && run.stderr.contains(expected), "{}", run.stderr);
    }
}

/// Keys that stand in most public files and ask for what is done anyway.
#[test]
fn keys_of_other_trainers_that_change_nothing_are_passed_over() {
    let context = Context::new();
    let base = model(&context, PLAIN);
    context.write(
        "sg.jsonl",
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", \"value\": \"b\"}]}\n",
    );
    let run = |settings: Value| {
        let mut recipe = json!({"base_model": base, "datasets": [{"path": context.path("sg.jsonl"),
            "type": "chat_template", "field_messages": "conversations",
            "message_property_mappings": {"role": "from", "content": "value"},
            "roles": {"assistant": ["gpt", "model"], "user": ["human"]}}]});
        recipe.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let recipe = context.write("r.yml", &recipe.to_string());
        context.run(["train".as_ref(), recipe.as_os_str(), "--show-batch".as_ref()])
    };
    let done = run(json!({"special_tokens": {"pad_token": "<pad>", "eos_token": "</s>"}, "eot_tokens": ["</s>"],
        "evals_per_epoch": 0, "saves_per_epoch": 0, "load_in_8bit": true, "adapter": "qlora"}));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("⟦b</s>⟧"), "{}", done.stdout);
    for warned in ["`special_tokens.pad_token` has no effect", "`load_in_8bit`", "`qlora`"] {
        assert!(done.stderr.contains(warned), "{}", done.stderr);
    }
    // Those that would change what is learnt are not.
    for (settings, expected) in [
        (json!({"special_tokens": {"eos_token": "<|end|>"}}), "`special_tokens.eos_token: <|end|>` is not what"),
        (json!({"eot_tokens": ["<s>"]}), "`eot_tokens: <s>` is not what the tokenizer has"),
        (json!({"special_tokens": {"end_token": "x"}}), "`end_token`"),
        (json!({"special_tokens": {"additional_special_tokens": ["<tool>"]}}), "is not supported"),
    ] {
        let done = run(settings);
        assert!(done.code == Some(2) && done.stderr.contains(expected), "{}", done.stderr);
    }
    let config = |settings: &str| {
        TrainRecipe::parse(
            "r.yml",
            &format!("base_model: m\ndatasets: [fpb]\nevaluation: {{tasks: [fpb]}}\n{settings}"),
        )
        .unwrap()
        .0
    };
    assert!(config("evals_per_epoch: 0\n").evaluation.disabled);
    assert!(config("eval_steps: 0\n").evaluation.disabled);
    assert!(!config("evals_per_epoch: 1\n").evaluation.disabled);
    assert_eq!(config("saves_per_epoch: 0\n").save_interval(10, 5), None);
}
