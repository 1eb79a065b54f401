//! Finding models, and refusing those that cannot be merged.

use safetensors::Dtype;

use crate::checkpoint::{self, Stored, Tensors};
use crate::context::{Context, Run, fixture};

/// A copy of a fixture, to be broken.
fn copied(context: &Context, model: &str) -> std::path::PathBuf {
    let copy = context.path("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(fixture("checkpoints").join(model)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn merged_with(context: &Context, models: &[&std::path::Path], options: &[&str]) -> Run {
    let mut recipe = "merge_method: linear\nparameters: {weight: 0.5}\nmodels:\n".to_owned();
    for model in models {
        recipe += &format!("- model: {:?}\n", model.display().to_string());
    }
    let recipe = context.write("r.yml", &recipe);
    context.merge_run(&recipe, &context.path("out"), options)
}

fn refused(context: &Context, run: &Run, parts: &[&str]) {
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for part in parts {
        assert!(run.stderr.contains(part), "{part:?} is not in:\n{}", run.stderr);
    }
    assert!(!context.path("out").exists() && context.leftovers().is_empty());
}

#[test]
fn models_of_the_hugging_face_cache_are_found_by_name_and_revision() {
    let context = Context::new();
    let repository = context.path("hub/models--acme--tiny");
    for (branch, commit, model) in [("main", "1111111111", "ft1"), ("v2", "2222222222", "ft2")] {
        let snapshot = repository.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(repository.join("blobs")).unwrap();
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::write(repository.join("refs").join(branch), commit).unwrap();
        // As the cache has it: the snapshot is links to blobs.
        let blob = repository.join("blobs").join(model);
        std::fs::copy(fixture(&format!("checkpoints/f32/{model}/model.safetensors")), &blob).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{model}"), snapshot.join("model.safetensors")).unwrap();
    }
    let merge = |reference: &str| {
        let recipe = context.write("r.yml", &format!("merge_method: passthrough\nmodels: [{{model: {reference}}}]\n"));
        let mut command = context.command();
        command.env("HF_HUB_CACHE", context.path("hub")).arg("merge").arg(recipe);
        command.arg(context.path("out")).arg("--force").output().unwrap()
    };
    for (reference, model) in [("acme/tiny", "ft1"), ("acme/tiny@v2", "ft2"), ("acme/tiny@2222222222", "ft2")] {
        assert_eq!(merge(reference).status.code(), Some(0));
        let expected = checkpoint::read(&fixture(&format!("checkpoints/f32/{model}")));
        assert_eq!(checkpoint::read(&context.path("out")), expected, "{reference}");
    }
    let missing = merge("acme/tiny@v3");
    assert_eq!(missing.status.code(), Some(2));
    let message = String::from_utf8(missing.stderr).unwrap();
    assert!(message.contains("`v3`") && message.contains("models--acme--tiny"), "{message}");
}

#[test]
fn damaged_files_are_named() {
    let context = Context::new();
    let copy = copied(&context, "bf16/ft1");
    let other = fixture("checkpoints/bf16/base");
    let shard = copy.join("model-00002-of-00003.safetensors");
    let whole = std::fs::read(&shard).unwrap();
    let run = |bytes: Option<&[u8]>| {
        match bytes {
            Some(bytes) => std::fs::write(&shard, bytes).unwrap(),
            None => std::fs::remove_file(&shard).unwrap(),
        }
        merged_with(&context, &[&other, &copy], &[])
    };
    let file = "model-00002-of-00003.safetensors";
    refused(&context, &run(Some(&whole[..whole.len() - 2])), &[file, "model.layers."]);
    refused(&context, &run(Some(&whole[..5])), &[file]);
    let mut garbled = whole.clone();
    garbled[9] = b'!';
    refused(&context, &run(Some(&garbled)), &[file]);
    let mut endless = whole.clone();
    endless[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(&context, &run(Some(&endless)), &[file]);
    refused(&context, &run(None), &[file, "model.layers."]);
}

#[test]
fn quantised_and_pickled_models_are_refused_by_name() {
    let context = Context::new();
    let copy = copied(&context, "f32/ft1");
    let other = fixture("checkpoints/f32/ft2");
    let config = std::fs::read_to_string(copy.join("config.json")).unwrap();
    let quantised = config.replacen('{', "{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4},", 1);
    std::fs::write(copy.join("config.json"), quantised).unwrap();
    refused(&context, &merged_with(&context, &[&other, &copy], &[]), &["GPTQ", "copy"]);
    std::fs::write(copy.join("config.json"), config).unwrap();
    std::fs::rename(copy.join("model.safetensors"), copy.join("pytorch_model.bin")).unwrap();
    refused(&context, &merged_with(&context, &[&other, &copy], &[]), &["pytorch_model.bin", "pickle"]);
}

/// A model of one float and one integer tensor, with a vocabulary of `rows`.
fn little(context: &Context, name: &str, number: i64, rows: usize) -> std::path::PathBuf {
    let values: Vec<f64> = (0..rows * 2).map(|e| e as f64 + number as f64).collect();
    let embeddings = Stored::new(Dtype::F32, &[rows, 2], &values);
    let weight = Stored::new(Dtype::F32, &[3], &[1.0, 2.0, number as f64]);
    let position = Stored { dtype: Dtype::I64, shape: vec![1], bytes: number.to_le_bytes().to_vec() };
    let tensors: Tensors = [
        ("model.embed_tokens.weight", embeddings.clone()),
        ("lm_head.weight", embeddings),
        ("model.layers.0.w.weight", weight),
        ("model.layers.0.position_ids", position),
    ]
    .into_iter()
    .map(|(name, stored)| (name.to_owned(), stored))
    .collect();
    let directory = context.path(name);
    let config = format!("{{\"vocab_size\": {rows}, \"num_hidden_layers\": 1, \"torch_dtype\": \"float32\"}}\n");
    checkpoint::write(&directory, &tensors, Some(&config));
    directory
}

#[test]
fn integers_are_copied_when_equal_and_refused_when_not() {
    let context = Context::new();
    let (a, b, c) = (little(&context, "a", 5, 4), little(&context, "b", 5, 4), little(&context, "c", 6, 4));
    let run = merged_with(&context, &[&a, &c], &[]);
    refused(&context, &run, &["model.layers.0.position_ids", "I64"]);
    let run = merged_with(&context, &[&a, &b], &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let name = "model.layers.0.position_ids";
    assert_eq!(checkpoint::read(&context.path("out"))[name], checkpoint::read(&a)[name]);
}

#[test]
fn different_vocabularies_are_an_error_unless_cut_on_purpose() {
    let context = Context::new();
    let (a, b) = (little(&context, "a", 5, 7), little(&context, "b", 5, 4));
    let run = merged_with(&context, &[&a, &b], &[]);
    refused(&context, &run, &["model.embed_tokens.weight", "[7, 2]", "[4, 2]", "--unsafe-truncate-embeddings"]);
    let run = merged_with(&context, &[&a, &b], &["--unsafe-truncate-embeddings"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let out = context.path("out");
    let (merged, small) = (checkpoint::read(&out), checkpoint::read(&b));
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        assert_eq!(merged[name], small[name], "the first rows are equal in both");
    }
    let config = std::fs::read_to_string(out.join("config.json")).unwrap();
    assert_eq!(config, std::fs::read_to_string(b.join("config.json")).unwrap());
}
