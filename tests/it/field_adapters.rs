//! Adapters as PEFT, trainers and state dicts leave them, baked and checked against the formula in f64.

use std::path::Path;

use billon::internal::Adapter;
use billon::internal::ModelDir;
use billon::internal::{Decoder, DecoderOptions, Segment, WeightedAdapter};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::checkpoint::{self, Numbers, Stored, Tensors};
use crate::context::{Context, Run, fixture};

const HIDDEN: usize = 6;
const VOCABULARY: usize = 11;
const RANK: usize = 2;
const Q: [&str; 2] = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"];
const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2,
    "tie_word_embeddings": false}"#;

fn normal(seed: u64, shape: &[usize]) -> Stored {
    let mut numbers = Numbers(seed);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| f64::from(numbers.normal() as f32)).collect();
    Stored::new(Dtype::F32, shape, &values)
}

fn base(prefix: &str) -> Tensors {
    let mut tensors = Tensors::new();
    for (i, module) in Q.iter().enumerate() {
        tensors.insert(format!("{prefix}{module}.weight"), normal(10 + i as u64, &[HIDDEN, HIDDEN]));
        let up = module.replace("self_attn.q_proj", "mlp.up_proj");
        tensors.insert(format!("{prefix}{up}.weight"), normal(20 + i as u64, &[8, HIDDEN]));
    }
    tensors.insert(format!("{prefix}model.embed_tokens.weight"), normal(30, &[VOCABULARY, HIDDEN]));
    tensors.insert(format!("{prefix}lm_head.weight"), normal(31, &[VOCABULARY, HIDDEN]));
    tensors
}

/// Factors of both `q_proj`, named with `middle` between factor and leaf.
fn factors(middle: &str) -> Tensors {
    let mut tensors = Tensors::new();
    for (i, module) in Q.iter().enumerate() {
        let name = |factor: &str| format!("base_model.model.{module}.{factor}{middle}.weight");
        tensors.insert(name("lora_A"), normal(100 + i as u64, &[RANK, HIDDEN]));
        tensors.insert(name("lora_B"), normal(110 + i as u64, &[HIDDEN, RANK]));
    }
    tensors
}

fn settings(changes: &Value) -> Value {
    let mut config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base", "r": RANK,
        "lora_alpha": 3, "target_modules": ["q_proj"], "bias": "none", "modules_to_save": null
    });
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn write_adapter(folder: &Path, tensors: &Tensors, changes: &Value) {
    std::fs::create_dir_all(folder).unwrap();
    let views = tensors.iter().map(|(name, t)| (name, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &folder.join("adapter_model.safetensors")).unwrap();
    std::fs::write(folder.join("adapter_config.json"), settings(changes).to_string()).unwrap();
}

fn bake(context: &Context, base: &str, adapter: &str) -> Run {
    let mut command = context.command();
    command.current_dir(context.path("")).args(["adapter", "bake", base, adapter, "out", "--force"]);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn baked(context: &Context, base: &str, adapter: &str) -> Tensors {
    let run = bake(context, base, adapter);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    checkpoint::read(&context.path("out"))
}

/// `W + alpha/r · B A` in f64.
fn changed(weight: &Stored, a: &Stored, b: &Stored) -> Vec<f64> {
    let (a, b, mut out) = (a.values(), b.values(), weight.values());
    let columns = a.len() / RANK;
    for (row, values) in out.chunks_mut(columns).enumerate() {
        for (column, value) in values.iter_mut().enumerate() {
            *value += 1.5 * (0..RANK).map(|k| b[row * RANK + k] * a[k * columns + column]).sum::<f64>();
        }
    }
    out
}

fn near(found: &Stored, exact: &[f64], what: &str) {
    let worst = found.values().iter().zip(exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(found.values().len() == exact.len() && worst < 3e-6, "{what}: {worst}");
}

fn transposed(stored: &Stored) -> Stored {
    let (rows, columns, values) = (stored.shape[0], stored.shape[1], stored.values());
    let out: Vec<f64> = (0..rows * columns).map(|i| values[(i % rows) * columns + i / rows]).collect();
    Stored::new(Dtype::F32, &[columns, rows], &out)
}

#[test]
fn adapters_of_heads_and_embeddings_are_baked_with_the_copies_that_peft_adds() {
    let context = Context::new();
    let base = base("");
    checkpoint::write(&context.path("base"), &base, Some(CONFIG));
    let mut tensors = factors("");
    let head = |leaf: &str| format!("base_model.model.lm_head.{leaf}");
    let embedding = |leaf: &str| format!("base_model.model.model.embed_tokens.{leaf}");
    tensors.insert(head("lora_A.weight"), normal(200, &[RANK, HIDDEN]));
    tensors.insert(head("lora_B.weight"), normal(201, &[VOCABULARY, RANK]));
    tensors.insert(head("base_layer.weight"), base["lm_head.weight"].clone());
    tensors.insert(embedding("lora_embedding_A"), normal(202, &[RANK, VOCABULARY]));
    tensors.insert(embedding("lora_embedding_B"), normal(203, &[HIDDEN, RANK]));
    tensors.insert(embedding("base_layer.weight"), base["model.embed_tokens.weight"].clone());
    let targets = json!({"target_modules": ["q_proj", "lm_head", "embed_tokens"]});
    write_adapter(&context.path("adapter"), &tensors, &targets);
    let out = baked(&context, "base", "adapter");
    let lm_head = changed(&base["lm_head.weight"], &tensors[&head("lora_A.weight")], &tensors[&head("lora_B.weight")]);
    near(&out["lm_head.weight"], &lm_head, "head");
    // The change of an embedding is the transpose of B A.
    let (a, b) = (&tensors[&embedding("lora_embedding_A")], &tensors[&embedding("lora_embedding_B")]);
    let embedded = changed(&base["model.embed_tokens.weight"], &transposed(b), &transposed(a));
    near(&out["model.embed_tokens.weight"], &embedded, "embedding");
    assert_eq!(out["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"]);
    // What is read is written again as it was, copies and embeddings included.
    let adapter = Adapter::open(&context.path("adapter")).unwrap();
    adapter.save(&context.path("saved"), "base", false).unwrap();
    let again = checkpoint::read(&context.path("saved/adapter_model.safetensors"));
    assert_eq!(again, tensors);
    // A copy that is not the model's takes its place, as in PEFT, and that is said.
    let other = normal(300, &[VOCABULARY, HIDDEN]);
    tensors.insert(head("base_layer.weight"), other.clone());
    write_adapter(&context.path("adapter"), &tensors, &targets);
    let run = bake(&context, "base", "adapter");
    assert!(run.code == Some(0) && run.stderr.contains("its own copy of `lm_head.weight`"), "{}", run.stderr);
    let lm_head = changed(&other, &tensors[&head("lora_A.weight")], &tensors[&head("lora_B.weight")]);
    near(&checkpoint::read(&context.path("out"))["lm_head.weight"], &lm_head, "head on its own base");
}

#[test]
fn tensor_names_of_state_dicts_are_those_of_saved_adapters() {
    let context = Context::new();
    let base = base("");
    checkpoint::write(&context.path("base"), &base, Some(CONFIG));
    write_adapter(&context.path("saved"), &factors(""), &json!({}));
    let mut state = factors(".default");
    for module in Q {
        let weight = base[&format!("{module}.weight")].clone();
        state.insert(format!("base_model.model.{module}.base_layer.weight"), weight);
    }
    write_adapter(&context.path("state"), &state, &json!({}));
    let expected = baked(&context, "base", "saved");
    assert_eq!(baked(&context, "base", "state"), expected);
    let exact = changed(
        &base[&format!("{}.weight", Q[1])],
        &state[&format!("base_model.model.{}.lora_A.default.weight", Q[1])],
        &state[&format!("base_model.model.{}.lora_B.default.weight", Q[1])],
    );
    near(&expected[&format!("{}.weight", Q[1])], &exact, "q_proj");
    let mut two = factors(".default");
    two.extend(factors(".other"));
    write_adapter(&context.path("two"), &two, &json!({}));
    let run = bake(&context, "base", "two");
    assert!(run.code == Some(1) && run.stderr.contains("several adapters: `default`, `other`"), "{}", run.stderr);
    // The model's names may have another prefix.
    checkpoint::write(&context.path("wrapped"), &self::base("language_model."), Some(CONFIG));
    let wrapped = baked(&context, "wrapped", "saved");
    let name = format!("{}.weight", Q[0]);
    assert_eq!(wrapped[&format!("language_model.{name}")], expected[&name]);
}

#[test]
fn a_config_that_disagrees_with_its_tensors_is_an_error() {
    let context = Context::new();
    checkpoint::write(&context.path("base"), &base(""), Some(CONFIG));
    for (changes, expected) in [
        (
            json!({"target_modules": ["up_proj"]}),
            "has factors of `model.layers.0.self_attn.q_proj`, which `target_modules`",
        ),
        (
            json!({"target_modules": ["q_proj", "up_proj"]}),
            "names `up_proj`, but there are no factors of `model.layers.0.mlp.up_proj`",
        ),
        (json!({"exclude_modules": ["q_proj"]}), "which `exclude_modules`"),
        (json!({"layers_to_transform": [1]}), "`model.layers.0.self_attn.q_proj`, which `layers_to_transform`"),
        (json!({"target_modules": ".*k_proj"}), "which `target_modules`"),
        (json!({"target_modules": ".*q_proj)|(.*v_proj"}), "unbalanced parenthesis at position 8"),
        (json!({"lora_alpha": 1e308}), "`lora_alpha` is 1e+308"),
        (json!({"lora_alpha": 1e-50}), "`lora_alpha` is 1e-50"),
        (json!({"alpha_pattern": {"q_proj": 1e300}}), "`alpha_pattern.q_proj`"),
        (json!({"lora_dropout": "0.1"}), "`lora_dropout`"),
    ] {
        write_adapter(&context.path("adapter"), &factors(""), &changes);
        let run = bake(&context, "base", "adapter");
        assert_eq!(run.code, Some(1), "{changes}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{changes}: {}", run.stderr);
        assert!(!context.path("out").exists());
    }
    // A layer without factors is merged without a change, which is said; NaN is not.
    let mut half = factors("");
    half.retain(|name, _| name.contains("layers.0"));
    write_adapter(&context.path("adapter"), &half, &json!({}));
    let run = bake(&context, "base", "adapter");
    assert!(
        run.code == Some(0) && run.stderr.contains("no factors of `model.layers.1.self_attn.q_proj`"),
        "{}",
        run.stderr
    );
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    half.get_mut(name).unwrap().bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    write_adapter(&context.path("adapter"), &half, &json!({}));
    let run = bake(&context, "base", "adapter");
    assert!(run.code == Some(1) && run.stderr.contains("NaN"), "{}", run.stderr);
}

#[test]
fn look_ahead_in_module_patterns_is_understood() {
    let context = Context::new();
    checkpoint::write(&context.path("base"), &base(""), Some(CONFIG));
    write_adapter(&context.path("plain"), &factors(""), &json!({}));
    let expected = baked(&context, "base", "plain");
    for pattern in [r".*\.(?!k_proj|up_proj)\w+_proj", r"(?i).*(?<=self_attn\.)Q_PROJ$"] {
        write_adapter(&context.path("adapter"), &factors(""), &json!({"target_modules": pattern}));
        assert_eq!(baked(&context, "base", "adapter"), expected, "{pattern}");
    }
    let changes = json!({"alpha_pattern": {r"layers\.(?!0)\d+\.self_attn\.q_proj": 6}});
    write_adapter(&context.path("adapter"), &factors(""), &changes);
    let out = baked(&context, "base", "adapter");
    let names = Q.map(|module| format!("{module}.weight"));
    assert_eq!(out[&names[0]], expected[&names[0]]);
    assert_ne!(out[&names[1]], expected[&names[1]]);
}

#[test]
fn the_tokenizer_and_template_of_an_adapter_win_over_the_models() {
    let context = Context::new();
    checkpoint::write(&context.path("base"), &base(""), Some(CONFIG));
    write_adapter(&context.path("adapter"), &factors(""), &json!({}));
    for (name, text) in [
        ("base/tokenizer.json", "base"),
        ("base/added_tokens.json", "base"),
        ("base/chat_template.jinja", "base"),
        ("base/generation_config.json", "{}"),
        ("adapter/tokenizer.json", "adapter"),
        ("adapter/tokenizer_config.json", "adapter"),
    ] {
        context.write(name, text);
    }
    let _ = baked(&context, "base", "adapter");
    let read = |name: &str| std::fs::read_to_string(context.path("out").join(name)).ok();
    assert_eq!(read("tokenizer.json").as_deref(), Some("adapter"));
    assert_eq!(read("tokenizer_config.json").as_deref(), Some("adapter"));
    assert_eq!(read("generation_config.json").as_deref(), Some("{}"));
    // A template and tokens of another tokenizer would be read beside it.
    assert_eq!((read("added_tokens.json"), read("chat_template.jinja")), (None, None));
    let mut command = context.command();
    let verified = command.current_dir(context.path("")).args(["verify", "out"]).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert!(!String::from_utf8_lossy(&verified.stdout).contains("not derived"));
    context.write("adapter/tokenizer.json", "changed");
    let mut command = context.command();
    let verified = command.current_dir(context.path("")).args(["verify", "out"]).output().unwrap();
    assert!(String::from_utf8_lossy(&verified.stdout).contains("tokenizer.json"), "a changed tokenizer is noticed");
}

#[test]
fn faults_of_baking_do_not_quote_a_recipe_and_missing_models_are_exit_2_everywhere() {
    let context = Context::new();
    checkpoint::write(&context.path("base"), &base(""), Some(CONFIG));
    write_adapter(&context.path("adapter"), &factors(""), &json!({}));
    for (arguments, code, expected) in [
        (["nothing", "adapter"], 2, "`nothing` was not found"),
        (["base", "nothing"], 2, "`nothing` was not found"),
        (["base", "base"], 1, "base is no adapter"),
        (["adapter", "adapter"], 1, "adapter is a PEFT adapter of `base`, not a model"),
    ] {
        let run = bake(&context, arguments[0], arguments[1]);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
        for word in ["bake.yml", "problem", "-->", " | "] {
            assert!(!run.stderr.contains(word), "{word}: {}", run.stderr);
        }
        assert!(run.stderr.contains("hint: "), "{}", run.stderr);
    }
    context.write("r.yml", "merge_method: passthrough\nmodels: [{model: nothing}]\n");
    for arguments in [
        &["inspect", "nothing"][..],
        &["diff", "nothing", "base"],
        &["diff", "base", "nothing"],
        &["plan", "r.yml"],
        &["merge", "r.yml", "out"],
        &["eval", "nothing", "--tasks", "fpb"],
        &["eval", "base+nothing", "--tasks", "fpb"],
        &["eval", "base", "--tasks", "fpb", "--adapter", "nothing"],
    ] {
        let mut command = context.command();
        let output = command.current_dir(context.path("")).args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        if arguments[0] == "eval" && stderr.contains("data") {
            continue;
        }
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("`nothing` was not found") || stderr.contains("nothing was not found"), "{stderr}");
    }
    for arguments in [["inspect", "adapter"], ["inspect", "base+adapter"]] {
        let mut command = context.command();
        let output = command.current_dir(context.path("")).args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("adapter bake"), "{stderr}");
    }
}

/// `MODEL+ADAPTER` of a recipe is `MODEL --adapter ADAPTER`.
#[test]
fn a_model_with_an_adapter_is_evaluated_under_both_spellings() {
    let context = Context::new();
    let (base, adapter) = (fixture("eval/model"), context.path("adapter"));
    let mut factors = Tensors::new();
    for (i, module) in Q.iter().enumerate() {
        let name = |factor: &str| format!("base_model.model.{module}.{factor}.weight");
        factors.insert(name("lora_A"), normal(i as u64, &[RANK, 48]));
        factors.insert(name("lora_B"), normal(9 + i as u64, &[48, RANK]));
    }
    write_adapter(&adapter, &factors, &json!({}));
    context.write("d.jsonl", "{\"q\": \"ab\", \"a\": 0}\n{\"q\": \"cd\", \"a\": 1}\n");
    let task = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: d.jsonl}}\ntest_split: test\n\
                output_type: multiple_choice\ndoc_to_text: \"{{q}}\"\ndoc_to_target: a\ndoc_to_choice: [\"x\", \"y\"]\n\
                metric_list: [{metric: acc}]\n";
    context.write("t.yaml", task);
    let samples = |name: &str, model: &[&str]| {
        let mut command = context.command();
        command.current_dir(context.path("")).arg("eval").args(model);
        command.args(["--tasks", "t.yaml", "--no-cache", "--out", name]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let files = crate::context::files(&context.path(name));
        let samples = files.iter().find(|(path, _)| path.to_string_lossy().contains("samples_"));
        String::from_utf8(samples.unwrap().1.clone()).unwrap()
    };
    let (model, adapter) = (base.to_str().unwrap(), adapter.to_str().unwrap());
    let plus = samples("plus", &[&format!("{model}+{adapter}")]);
    assert_eq!(plus, samples("flag", &[model, "--adapter", adapter]));
    assert_ne!(plus, samples("plain", &[model]));
}

/// Adding factors of embedding and head while opening, and baking them beforehand, are the same model.
#[test]
fn a_decoder_with_factors_of_embedding_and_head_is_the_decoder_of_the_baked_model() {
    let context = Context::new();
    let base = fixture("models/qwen3");
    let shapes = checkpoint::read(&base.join("model.safetensors"));
    let (vocabulary, hidden) = (shapes["lm_head.weight"].shape[0], shapes["lm_head.weight"].shape[1]);
    let mut tensors = Tensors::new();
    let name = |leaf: &str| format!("base_model.model.{leaf}");
    tensors.insert(name("lm_head.lora_A.default.weight"), normal(1, &[RANK, hidden]));
    tensors.insert(name("lm_head.lora_B.default.weight"), normal(2, &[vocabulary, RANK]));
    tensors.insert(name("model.embed_tokens.lora_embedding_A.default"), normal(3, &[RANK, vocabulary]));
    tensors.insert(name("model.embed_tokens.lora_embedding_B.default"), normal(4, &[hidden, RANK]));
    tensors.insert(name("lm_head.base_layer.weight"), shapes["lm_head.weight"].clone());
    let folder = context.path("adapter");
    write_adapter(&folder, &tensors, &json!({"target_modules": ["lm_head", "embed_tokens"]}));
    let run = bake(&context, base.to_str().unwrap(), "adapter");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let logits = |model: &Path, adapters: Vec<WeightedAdapter>| {
        let options = DecoderOptions { adapters, ..DecoderOptions::default() };
        let decoder = Decoder::open(&ModelDir::open(model).unwrap(), &options).unwrap();
        let tokens: Vec<u32> = (3..20).collect();
        let factors = decoder.rope_factors(tokens.len());
        let segment = Segment { tokens: &tokens, past: Vec::new(), factors, keep: false };
        let rows: Vec<usize> = (0..tokens.len()).collect();
        let hidden = decoder.forward(&[segment], &rows).unwrap().hidden.unwrap();
        decoder.logits(&hidden, 0..rows.len()).unwrap()
    };
    let adapter = Adapter::open(&folder).unwrap();
    let added = logits(&base, vec![WeightedAdapter { adapter, weight: 1.0 }]);
    let out = logits(&context.path("out"), Vec::new());
    assert!(added.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert_ne!(added, logits(&base, Vec::new()));
}
