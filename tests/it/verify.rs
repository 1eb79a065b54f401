//! `billon verify` is green only for what its inputs give.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::context::{Context, Run, files, fixture};

const RECIPE: &str = "merge_method: ties\nbase_model: BASE\nmodels:\n\
                      - {model: ONE, parameters: {weight: 0.5, density: 0.5}}\n";

/// A merge of copies of two fixtures, and its output.
fn merge(context: &Context, options: &[&str]) -> PathBuf {
    for (name, model) in [("base", "base"), ("one", "ft1")] {
        std::fs::create_dir_all(context.path(name)).unwrap();
        for (file, bytes) in files(&fixture(&format!("checkpoints/f32/{model}"))) {
            std::fs::write(context.path(name).join(file), bytes).unwrap();
        }
    }
    let path = |name: &str| format!("{:?}", context.path(name).display().to_string());
    context.merge("out", &RECIPE.replace("BASE", &path("base")).replace("ONE", &path("one")), options)
}

fn verify(context: &Context, out: &Path, options: &[&str]) -> Run {
    context.run([&["verify", out.to_str().unwrap(), "--all"], options].concat())
}

fn edit_lock(out: &Path, change: impl FnOnce(&mut Value)) {
    let path = out.join("billon.lock.json");
    let mut lock: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut lock);
    std::fs::write(path, lock.to_string()).unwrap();
}

/// Says that a verification failed for a reason.
fn red(context: &Context, out: &Path, part: &str) {
    let run = verify(context, out, &[]);
    assert_eq!(run.code, Some(1), "{part}: {}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(part), "{part:?} is not in:\n{}", run.stderr);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_untouched_output_is_green_and_says_what_was_derived() {
    let context = Context::new();
    let out = merge(&context, &[]);
    let run = verify(&context, &out, &["--require-derived", "--json"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["problems"], json!([]));
    assert_eq!(report["tensors_derived"].as_array().unwrap().len(), 30);
    let files: Vec<&str> = report["files_derived"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        files,
        ["README.md", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    );
    // Notes beside the model are nobody's business.
    std::fs::write(out.join("NOTES.md"), "fine").unwrap();
    std::fs::write(out.join("results_2026.json"), "{}").unwrap();
    assert_eq!(verify(&context, &out, &[]).code, Some(0));
}

/// Records of inputs and outputs of a lock, each with its file.
fn records(context: &Context, out: &Path) -> Vec<(PathBuf, Value)> {
    let lock: Value = serde_json::from_slice(&std::fs::read(out.join("billon.lock.json")).unwrap()).unwrap();
    assert_eq!(lock["lock_version"], 2);
    let mut records = Vec::new();
    for (model, files) in lock["inputs"].as_object().unwrap() {
        records.extend(files.as_object().unwrap().iter().map(|(name, r)| (context.path(model).join(name), r.clone())));
    }
    records.extend(lock["outputs"].as_object().unwrap().iter().map(|(name, r)| (out.join(name), r.clone())));
    records
}

#[test]
fn a_lock_names_the_function_of_every_digest_and_each_is_that_of_the_file() {
    let context = Context::new();
    for (option, key) in [("--quiet", "blake3"), ("--sha256", "sha256")] {
        let mut locks = Vec::new();
        for threads in ["1", "7"] {
            let out = merge(&context, &[option, "--force", "--max-shard-size", "10kB", "--threads", threads]);
            let records = records(&context, &out);
            assert!(records.iter().filter(|(path, _)| path.starts_with(&out)).count() > 7, "several shards");
            for (path, record) in records {
                let bytes = std::fs::read(&path).unwrap();
                let hex = if key == "blake3" { blake3::hash(&bytes).to_hex().to_string() } else { sha256(&bytes) };
                assert_eq!(record, json!({"bytes": bytes.len(), key: hex}), "{}", path.display());
            }
            let run = verify(&context, &out, &["--require-derived"]);
            assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
            locks.push(std::fs::read(out.join("billon.lock.json")).unwrap());
        }
        assert_eq!(locks[0], locks[1], "{key}: the lock depends on the number of threads");
    }
}

#[test]
fn inputs_that_are_read_twice_or_in_part_have_their_plain_digests() {
    let context = Context::new();
    let base = fixture("checkpoints/f32/base").display().to_string();
    // A layer twice, and another never; then a document that reads the same files again.
    let recipe = format!(
        "name: a\nmerge_method: passthrough\nslices:\n- sources: [{{model: {base:?}, layer_range: [0, 1]}}]\n\
         - sources: [{{model: {base:?}, layer_range: [0, 1]}}]\n---\n\
         merge_method: linear\nparameters: {{weight: 1}}\nslices:\n- sources:\n\
         \u{20} - {{model: a, layer_range: [1, 2]}}\n\u{20} - {{model: {base:?}, layer_range: [0, 1]}}\n"
    );
    for threads in ["1", "5"] {
        let out = context.merge("out", &recipe, &["--force", "--threads", threads]);
        let records = records(&context, &out);
        assert!(records.iter().any(|(path, _)| path.ends_with("base/model.safetensors")), "{records:?}");
        for (path, record) in records {
            let bytes = std::fs::read(&path).unwrap();
            let hex = blake3::hash(&bytes).to_hex().to_string();
            assert_eq!(record, json!({"bytes": bytes.len(), "blake3": hex}), "{}", path.display());
        }
    }
}

#[test]
fn locks_of_version_1_are_read_and_verified() {
    let context = Context::new();
    let out = merge(&context, &["--sha256"]);
    edit_lock(&out, |lock| lock["lock_version"] = json!(1));
    let run = verify(&context, &out, &["--require-derived", "--json"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(report["inputs_verified"].as_u64().unwrap() > 3 && report["files_verified"].as_u64().unwrap() > 3);
    let weights = out.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    red(&context, &out, "`model.safetensors` has SHA-256");
    // It is known as billon's own, and replaced.
    merge(&context, &["--force"]);
    edit_lock(&out, |lock| lock["outputs"]["config.json"]["sha256"] = json!("0"));
    red(&context, &out, "not a valid lock");
    edit_lock(&out, |lock| lock["lock_version"] = json!(3));
    red(&context, &out, "lock version 3, this billon reads 1 to 2");
}

#[test]
fn a_config_that_was_changed_is_red_whatever_the_lock_says_of_it() {
    let context = Context::new();
    let out = merge(&context, &[]);
    let config = std::fs::read_to_string(out.join("config.json")).unwrap().replace("1e-05", "1e-03");
    std::fs::write(out.join("config.json"), &config).unwrap();
    red(&context, &out, "`config.json` has BLAKE3");
    let whole = std::fs::read(out.join("billon.lock.json")).unwrap();
    edit_lock(&out, |lock| drop(lock["outputs"].as_object_mut().unwrap().remove("config.json")));
    red(&context, &out, "`config.json` is not in the lock");
    std::fs::write(out.join("billon.lock.json"), whole).unwrap();
    edit_lock(&out, |lock| {
        lock["outputs"]["config.json"] = json!({"bytes": config.len(), "sha256": sha256(config.as_bytes())});
    });
    red(&context, &out, "`config.json` is not what its inputs give");
    edit_lock(&out, |lock| lock["stages"] = json!([]));
    red(&context, &out, "0 resolved stages");
}

#[test]
fn a_tokenizer_that_was_changed_with_its_hash_is_red() {
    let context = Context::new();
    let out = merge(&context, &[]);
    let other = b"{\"model\": {\"vocab\": {}}}";
    std::fs::write(out.join("tokenizer.json"), other).unwrap();
    edit_lock(&out, |lock| {
        lock["outputs"]["tokenizer.json"] = json!({"bytes": other.len(), "sha256": sha256(other)});
    });
    red(&context, &out, "`tokenizer.json` is not what its inputs give");
    std::fs::remove_file(out.join("tokenizer.json")).unwrap();
    edit_lock(&out, |lock| drop(lock["outputs"].as_object_mut().unwrap().remove("tokenizer.json")));
    red(&context, &out, "`tokenizer.json` is missing");
}

/// A change of a lock, and what it is called.
type Change<'a> = (&'a str, &'a dyn Fn(&mut Value));

#[test]
fn a_lock_that_lists_too_little_is_red() {
    let context = Context::new();
    let out = merge(&context, &[]);
    let whole = std::fs::read(out.join("billon.lock.json")).unwrap();
    let changes: [Change<'_>; 7] = [
        ("the lock lists no weights", &|lock| lock["outputs"] = json!({})),
        ("the lock does not list the input", &|lock| lock["inputs"] = json!({})),
        ("`config.json` has no hash", &|lock| {
            lock["outputs"]["config.json"].as_object_mut().unwrap().remove("blake3");
        }),
        ("stage 1 of the lock", &|lock| {
            lock["stages"][0]["tensors"][3]["inputs"][0]["parameters"]["weight"] = json!(9);
        }),
        ("no name of a file in the output", &|lock| {
            lock["outputs"]["../r.yml"] = json!({"bytes": 3});
        }),
        ("no name of a file in the output", &|lock| {
            lock["outputs"]["/etc/hostname"] = json!({"bytes": 3});
        }),
        ("is not what its inputs give", &|lock| {
            lock["recipe"] = json!(lock["recipe"].as_str().unwrap().replace("0.5", "0.6"));
        }),
    ];
    for (part, change) in changes {
        edit_lock(&out, change);
        red(&context, &out, part);
        std::fs::write(out.join("billon.lock.json"), &whole).unwrap();
    }
    assert_eq!(verify(&context, &out, &[]).code, Some(0));
}

#[test]
fn added_files_that_loaders_read_are_red() {
    let context = Context::new();
    let out = merge(&context, &[]);
    for name in ["adapter_config.json", "chat_template.jinja", "model-00002.safetensors", "modeling_x.py"] {
        std::fs::write(out.join(name), "{}").unwrap();
        red(&context, &out, &format!("`{name}` is not in the lock"));
        std::fs::remove_file(out.join(name)).unwrap();
    }
    std::fs::create_dir(out.join("additional_chat_templates")).unwrap();
    std::fs::write(out.join("additional_chat_templates/tool.jinja"), "x").unwrap();
    red(&context, &out, "additional_chat_templates/tool.jinja");
}

#[test]
fn what_could_not_be_derived_fails_when_that_is_required() {
    let context = Context::new();
    let out = merge(&context, &[]);
    std::fs::write(context.path("one/config.json"), "{}").unwrap();
    let run = verify(&context, &out, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("no tensor was recomputed"), "{}", run.stdout);
    let run = verify(&context, &out, &["--require-derived"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("--require-derived") && run.stderr.contains("config.json"), "{}", run.stderr);
    std::fs::remove_dir_all(context.path("one")).unwrap();
    assert_eq!(verify(&context, &out, &["--require-derived"]).code, Some(1));
    edit_lock(&out, |lock| lock["stages"] = json!([]));
    red(&context, &out, "no resolved stages");
}

#[test]
fn outputs_without_hashes_tokenizer_or_card_are_green() {
    let context = Context::new();
    let out = merge(&context, &["--no-hash", "--no-copy-tokenizer", "--no-model-card"]);
    let run = verify(&context, &out, &["--require-derived"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("1 files have no hash"), "{}", run.stdout);
}

#[test]
fn recipes_of_several_documents_have_their_stages_and_config_checked() {
    let context = Context::new();
    let recipe = "name: a\nmerge_method: slerp\nbase_model: fixtures/checkpoints/f32/base\n\
                  models: [{model: fixtures/checkpoints/f32/ft1}]\nparameters: {t: 0.25}\n---\n\
                  merge_method: linear\nparameters: {weight: 1}\nmodels:\n- model: a\n- model: fixtures/checkpoints/f32/ft2\n";
    let out = context.merge("out", recipe, &[]);
    let run = verify(&context, &out, &[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("files recomputed"), "{}", run.stdout);
    edit_lock(&out, |lock| drop(lock["stages"].as_array_mut().unwrap().remove(0)));
    red(&context, &out, "1 resolved stages, and its recipe gives 2");
}
