//! What `billon merge` leaves in its output directory.

use safetensors::Dtype;
use serde_json::Value;

use crate::checkpoint::{self, Numbers, Stored, Tensors};
use crate::context::{Context, files, fixture};

const LINEAR: &str = "merge_method: linear\nmodels:\n\
                      - model: fixtures/checkpoints/f32/ft1\n  parameters: {weight: 0.5}\n\
                      - model: fixtures/checkpoints/f32/ft2\n  parameters: {weight: 0.5}\n";

#[test]
fn the_number_of_threads_changes_no_byte() {
    let context = Context::new();
    for (seed, model) in ["base", "one", "two"].into_iter().enumerate() {
        let mut numbers = Numbers(seed as u64);
        let tensor = |(name, shape): (&str, [usize; 2])| {
            let values: Vec<f64> = (0..shape[0] * shape[1]).map(|_| numbers.normal()).collect();
            (name.to_owned(), Stored::new(Dtype::BF16, &shape, &values))
        };
        // Three chunks, less than one, and one element.
        let shapes = [("a.weight", [1300, 1001]), ("b.weight", [77, 5]), ("c.weight", [1, 1])];
        let tensors: Tensors = shapes.into_iter().map(tensor).collect();
        checkpoint::write(&context.path(model), &tensors, None);
    }
    let path = |name: &str| context.path(name).display().to_string();
    let models = |weight: &str| {
        format!(
            "base_model: {:?}\nmodels:\n- model: {:?}\n  {weight}\n- model: {:?}\n  {weight}\n",
            path("base"),
            path("one"),
            path("two")
        )
    };
    for (name, recipe) in [
        ("dare_ties", format!("merge_method: dare_ties\n{}", models("parameters: {weight: 0.6, density: 0.4}"))),
        (
            "ties",
            format!(
                "merge_method: ties\n{}parameters: {{rescale: true}}\n",
                models("parameters: {weight: 0.6, density: 0.4}")
            ),
        ),
        ("nuslerp", format!("merge_method: nuslerp\n{}", models("parameters: {weight: 0.6}"))),
        (
            "columns",
            format!(
                "merge_method: nuslerp\n{}parameters: {{nuslerp_flatten: false, nuslerp_row_wise: true}}\n",
                models("parameters: {weight: 0.6}")
            ),
        ),
    ] {
        let one = files(&context.merge(&format!("1/{name}"), &recipe, &["--threads", "1"]));
        for threads in ["2", "8"] {
            let other = files(&context.merge(&format!("{threads}/{name}"), &recipe, &["--threads", threads]));
            for (file, bytes) in &one {
                assert!(other[file] == *bytes, "{name}: {} differs with {threads} threads", file.display());
            }
            assert_eq!(one.len(), other.len());
        }
    }
}

#[test]
fn an_existing_output_is_refused_and_replaced_only_by_force() {
    let context = Context::new();
    let recipe = context.write("r.yml", LINEAR);
    let out = context.merge("out", LINEAR, &["--max-shard-size", "20KB"]);
    let before = files(&out);
    let run = context.merge_run(&recipe, &out, &[]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("--force") && run.stderr.contains("out"), "{}", run.stderr);
    assert_eq!(files(&out), before);
    let run = context.merge_run(&recipe, &out, &["--force"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(out.join("model.safetensors").exists() && !out.join("model.safetensors.index.json").exists());
    assert_eq!(context.leftovers(), [""; 0]);
}

#[test]
fn an_input_is_never_overwritten() {
    let context = Context::new();
    let model = context.path("model");
    std::fs::create_dir(&model).unwrap();
    std::fs::copy(fixture("checkpoints/f32/ft1/model.safetensors"), model.join("model.safetensors")).unwrap();
    let before = files(&model);
    let recipe = context.write(
        "r.yml",
        &format!("merge_method: passthrough\nmodels: [{{model: {:?}}}]\n", model.display().to_string()),
    );
    let run = context.merge_run(&recipe, &model, &["--force"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert_eq!(files(&model), before);
}

#[test]
fn documents_that_build_on_each_other_equal_stages_by_hand() {
    let context = Context::new();
    let stage = |model: &str, t: f64| {
        format!(
            "merge_method: slerp\nbase_model: fixtures/checkpoints/bf16/base\nmodels:\n\
             - model: fixtures/checkpoints/bf16/{model}\nparameters: {{t: {t}}}\n"
        )
    };
    let last = |first: &str, second: &str| {
        format!(
            "merge_method: ties\nbase_model: fixtures/checkpoints/bf16/base\nmodels:\n\
             - model: {first:?}\n  parameters: {{weight: 1, density: 0.5}}\n\
             - model: {second:?}\n  parameters: {{weight: 0.7, density: 0.4}}\n"
        )
    };
    let first = context.merge("first", &stage("ft1", 0.6), &[]);
    let second = context.merge("second", &stage("ft2", 0.3), &[]);
    let by_hand = context.merge("hand", &last(&first.display().to_string(), &second.display().to_string()), &[]);
    // The document that makes the output may come first.
    let whole = format!("{}---\nname: a\n{}---\nname: b\n{}", last("a", "b"), stage("ft1", 0.6), stage("ft2", 0.3));
    let at_once = context.merge("once", &whole, &[]);
    assert_eq!(checkpoint::read(&at_once), checkpoint::read(&by_hand));
    assert_eq!(
        std::fs::read(at_once.join("config.json")).unwrap(),
        std::fs::read(by_hand.join("config.json")).unwrap()
    );
    assert!(!context.path("once.stages").exists());
    assert_eq!(context.leftovers(), [""; 0]);

    let kept = context.merge("kept", &whole, &["--keep-intermediates"]);
    assert_eq!(checkpoint::read(&kept), checkpoint::read(&by_hand));
    assert_eq!(checkpoint::read(&context.path("kept.stages/a")), checkpoint::read(&first));
}

#[test]
fn the_config_keeps_every_byte_that_need_not_change() {
    let context = Context::new();
    let odd = std::fs::read_to_string(fixture("checkpoints/bf16/base/config.json")).unwrap();
    let config = |name: &str, recipe: &str| {
        std::fs::read_to_string(context.merge(name, recipe, &[]).join("config.json")).unwrap()
    };
    let model = "fixtures/checkpoints/bf16/base";
    let same = format!(
        "merge_method: linear\nmodels:\n- model: {model}\n- model: fixtures/checkpoints/bf16/ft1\n\
         parameters: {{weight: 1}}\n"
    );
    assert_eq!(config("same", &same), odd);

    let source = |range: &str| format!("- sources: [{{model: {model}, layer_range: {range}}}]\n");
    let stack =
        format!("merge_method: passthrough\nout_dtype: float32\nslices:\n{}{}", source("[0, 3]"), source("[1, 3]"));
    let expected = odd.replacen(":\t3 ,", ":\t5 ,", 1).replacen("\"bfloat16\"", "\"float32\"", 1);
    assert_ne!(expected, odd);
    assert_eq!(config("stack", &stack), expected);
}

#[test]
fn companions_come_from_the_config_source() {
    let context = Context::new();
    let out = files(&context.merge("out", LINEAR, &[]));
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"] {
        let original = std::fs::read(fixture("checkpoints/f32/ft1").join(name)).unwrap();
        assert!(out[std::path::Path::new(name)] == original, "{name}");
    }
    let bare = files(&context.merge("bare", LINEAR, &["--no-copy-tokenizer", "--no-model-card"]));
    let names: Vec<_> = bare.keys().map(|k| k.to_str().unwrap()).collect();
    assert_eq!(names, ["billon.lock.json", "config.json", "model.safetensors"]);
}

#[test]
fn shards_are_small_and_indexed() {
    let context = Context::new();
    let whole = checkpoint::read(&context.merge("whole", LINEAR, &[]));
    let out = context.merge("sharded", LINEAR, &["--max-shard-size", "20KB"]);
    assert_eq!(checkpoint::read(&out), whole, "the index leads to every tensor");
    let index: Value =
        serde_json::from_slice(&std::fs::read(out.join("model.safetensors.index.json")).unwrap()).unwrap();
    let total: usize = whole.values().map(|t| t.bytes.len()).sum();
    assert_eq!(index["metadata"]["total_size"], total);
    let mut shards: Vec<_> = index["weight_map"].as_object().unwrap().values().map(|v| v.as_str().unwrap()).collect();
    shards.sort_unstable();
    shards.dedup();
    assert!(shards.len() > 1);
    for (i, shard) in shards.iter().enumerate() {
        assert_eq!(*shard, format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len()));
        let bytes: usize = checkpoint::read(&out.join(shard)).values().map(|t| t.bytes.len()).sum();
        assert!(bytes <= 20_000, "{shard}: {bytes}");
    }
    // A sharded result is an input like any other.
    let again = LINEAR.replace("fixtures/checkpoints/f32/ft1", &out.display().to_string());
    context.merge("again", &again, &[]);
}

#[test]
fn tied_models_stay_tied_and_an_untied_one_brings_its_head() {
    let context = Context::new();
    let recipe = |donor: &str, other: &str| {
        format!(
            "merge_method: linear\nmodels:\n- model: fixtures/checkpoints/{donor}\n\
             - model: fixtures/checkpoints/{other}\nparameters: {{weight: 0.5}}\n"
        )
    };
    let tied = checkpoint::read(&context.merge("tied", &recipe("tied/base", "tied/ft1"), &[]));
    assert!(!tied.contains_key("lm_head.weight"));
    let untied = checkpoint::read(&context.merge("untied", &recipe("f32/ft1", "tied/ft1"), &[]));
    let head = checkpoint::read(&fixture("checkpoints/f32/ft1"))["lm_head.weight"].values();
    let embeddings = checkpoint::read(&fixture("checkpoints/tied/ft1"))["model.embed_tokens.weight"].values();
    let mean: Vec<f64> = head.iter().zip(embeddings).map(|(a, b)| f64::from((0.5 * a + 0.5 * b) as f32)).collect();
    assert_eq!(untied["lm_head.weight"].values(), mean);
    // The donor's config calls the head tied, so loaders would not see what was written.
    let path = context.write("r.yml", &recipe("tied/ft1", "f32/ft1"));
    let run = context.merge_run(&path, &context.path("warned"), &[]);
    assert!(run.stderr.contains("tied"), "{}", run.stderr);
}
