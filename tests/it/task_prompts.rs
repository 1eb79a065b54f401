//! Prompts against lm-evaluation-harness 0.4.13, byte for byte (`fixtures/tasks`).

use std::collections::BTreeMap;

use billon::internal::task::{self, Ask, Documents, PromptSettings, Rendered, Task};
use billon::internal::{ChatTemplate, SpecialTokens};
use serde_json::{Value, json};

use crate::context::{fixture, shared};

fn chat(name: &str) -> ChatTemplate {
    let text = std::fs::read_to_string(fixture(&format!("chat/{name}.jinja"))).unwrap();
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    ChatTemplate::new(text, &SpecialTokens::new(BTreeMap::from(tokens)), name.to_owned()).unwrap()
}

/// A document's requests in the harness's form.
fn requests(rendered: &Rendered) -> Vec<Value> {
    match &rendered.ask {
        Ask::Choices { contexts, continuations, .. } => {
            let context = |i: usize| if contexts.len() == 1 { &contexts[0] } else { &contexts[i] };
            continuations.iter().enumerate().map(|(i, c)| json!([context(i), c])).collect()
        }
        Ask::Continuation { continuation } => vec![json!([rendered.context, continuation])],
        Ask::Rolling { text } => vec![json!([text])],
        Ask::Generate { arguments, .. } => vec![json!([rendered.context, arguments.raw])],
    }
}

#[test]
fn every_prompt_is_that_of_the_harness() {
    let text = std::fs::read_to_string(fixture("tasks/prompts.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 80, "{}", cases.len());
    let folder = fixture("tasks/prompts");
    for case in &cases {
        let text = |key: &str| case[key].as_str();
        let number = |key: &str| case[key].as_u64().map(|n| n as usize);
        let what = format!(
            "{} {} shots {} chat {} system {} multiturn {}",
            case["name"], case["task"], case["num_fewshot"], case["template"], case["system"], case["multiturn"]
        );
        let set = task::load_from(&[text("name").unwrap().to_owned()], std::slice::from_ref(&folder)).unwrap();
        let config =
            set.tasks.into_iter().find(|t| Some(t.name.as_str()) == text("task")).unwrap_or_else(|| panic!("{what}"));
        let task = Task::open(config, Some(&folder.join("data"))).unwrap_or_else(|e| panic!("{what}: {e}"));
        let template = text("template").map(chat);
        let settings = PromptSettings {
            num_fewshot: number("num_fewshot"),
            documents: number("limit").map_or(Documents::All, Documents::First),
            chat: template.as_ref(),
            system_instruction: text("system"),
            fewshot_as_multiturn: case["multiturn"].as_bool().unwrap(),
            ..PromptSettings::default()
        };
        let prompts = task.prompts(&settings).unwrap_or_else(|e| panic!("{what}: {e}"));
        let expected = case["documents"].as_array().unwrap();
        assert_eq!(prompts.rendered.len(), expected.len(), "{what}");
        for (rendered, expected) in prompts.rendered.iter().zip(expected) {
            // The harness shows these their own answer; ours must not.
            if prompts.replaced_shots > 0 && json!(requests(rendered)) != expected["requests"] {
                continue;
            }
            assert_eq!(rendered.target, expected["target"].as_str().unwrap(), "{what}");
            assert_eq!(json!(requests(rendered)), expected["requests"], "{what}, document {}", rendered.doc_id);
        }
    }
}

#[test]
fn groups_and_tags_select_and_override() {
    let folder = fixture("tasks/prompts");
    let load = |name: &str| task::load_from(&[name.to_owned()], std::slice::from_ref(&folder)).unwrap();
    let set = load("t_group");
    let names: Vec<&str> = set.tasks.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["t_plain", "t_described", "t_tagged_too_task", "t_group::written_out"]);
    assert!(set.tasks.iter().all(|t| t.target_delimiter == " -> " || t.name == "t_described"));
    assert_eq!((set.tasks[1].num_fewshot, set.tasks[1].description.as_str()), (Some(1), ""));
    let groups: Vec<(&str, usize)> = set.groups.iter().map(|g| (g.name.as_str(), g.tasks.len())).collect();
    assert_eq!(groups, [("t_group", 4), ("t_group::inner", 1)]);
    assert!(!set.groups[0].aggregate[0].weight_by_size);
    let tagged: Vec<String> = load("t_tagged").tasks.into_iter().map(|t| t.name).collect();
    assert_eq!(tagged, ["t_described", "t_plain"]);
}

/// A pool that holds the document: nobody sees their own answer, and who would not have, keeps the
/// harness's examples.
#[test]
fn no_document_is_shown_to_itself() {
    let context = crate::context::Context::new();
    let rows: String = (0..6).map(|i| format!("{{\"t\": \"doc {i}\", \"l\": \"{}\"}}\n", ["a", "b"][i % 2])).collect();
    context.write("d.jsonl", &rows);
    let file = |sampler: &str| {
        format!(
            "task: own\ndataset_path: json\ndataset_kwargs: {{data_files: {{validation: d.jsonl}}}}\n\
             validation_split: validation\nfewshot_split: validation\nfewshot_config: {{sampler: {sampler}}}\n\
             output_type: multiple_choice\ndoc_to_text: t\ndoc_to_target: l\ndoc_to_choice: [a, b]\nnum_fewshot: 2\n"
        )
    };
    for sampler in ["default", "first_n", "balanced"] {
        let path = context.write("own.yml", &file(sampler));
        let set = task::load(&[path.to_str().unwrap().to_owned()]).unwrap();
        let task = Task::open(set.tasks.into_iter().next().unwrap(), None).unwrap();
        let prompts = task.prompts(&PromptSettings::default()).unwrap();
        for rendered in &prompts.rendered {
            let own = format!("doc {}", rendered.doc_id);
            assert_eq!(rendered.context.matches(&own).count(), 1, "{sampler}: {}", rendered.context);
            assert_eq!(rendered.context.matches("doc ").count(), 3, "{sampler}: {}", rendered.context);
            if sampler == "balanced" {
                let shown = |label: &str| rendered.context.matches(&format!(" {label}\n")).count();
                assert_eq!((shown("a"), shown("b")), (1, 1), "{}", rendered.context);
            }
        }
        assert_eq!(prompts.replaced_shots > 0, sampler != "balanced", "{sampler}");
    }
}

/// The built-in suite on real data: the first 20 documents, with 0 and 2 shots.
#[test]
fn the_suite_asks_what_the_harness_asks() {
    let Some(data) = shared("data") else { return };
    let text = std::fs::read_to_string(fixture("tasks/suite_prompts.json")).unwrap();
    let expected: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let names: Vec<String> = ["seen", "unseen", "general"].map(str::to_owned).into();
    let set = task::load(&names).unwrap();
    assert_eq!(set.tasks.len(), expected.len());
    for config in set.tasks {
        let name = config.name.clone();
        let task = Task::open(config, Some(&data)).unwrap_or_else(|e| panic!("{name}: {e}"));
        for shots in [0, 2] {
            let expected = &expected[&name][shots.to_string()];
            let settings = PromptSettings {
                num_fewshot: Some(shots),
                documents: Documents::First(20),
                ..PromptSettings::default()
            };
            let prompts = task.prompts(&settings).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!((prompts.gold_out_of_range, prompts.replaced_shots), (0, 0), "{name}: {:?}", prompts.warnings);
            let mut all = String::new();
            for rendered in &prompts.rendered {
                all += &rendered.target;
                for request in requests(rendered) {
                    all += request[0].as_str().unwrap();
                    all += request[1].as_str().unwrap_or("");
                }
            }
            if expected.is_null() {
                continue;
            }
            assert_eq!(
                billon::internal::sha256_bytes(all.as_bytes()),
                expected.as_str().unwrap(),
                "{name}, {shots} shots"
            );
        }
    }
}
