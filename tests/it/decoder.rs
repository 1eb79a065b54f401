//! The decoder against transformers: logits, greedy texts and adapters of a tiny model per family
//! (`fixtures/models`), and of real ones where the shared folder is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use billon::internal::Adapter;
use billon::internal::ModelDir;
use billon::internal::{Decoder, DecoderOptions, Sampling, Segment, Sequence, WeightPool, WeightedAdapter, step};
use serde_json::Value;

use crate::context::fixture;

const FAMILIES: &[&str] =
    &["llama", "llama3", "llama_linear", "mistral", "phi3", "qwen2", "qwen2_yarn", "qwen3", "gemma2", "gemma3"];
const GREEDY: Sampling = Sampling { temperature: 0.0, key: 0 };

fn open(path: &Path) -> Decoder {
    open_with(path, Vec::new())
}

fn open_with(path: &Path, adapters: Vec<WeightedAdapter>) -> Decoder {
    let model = ModelDir::open(path).unwrap();
    Decoder::open(&model, &DecoderOptions { adapters, ..DecoderOptions::default() }).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn tokens(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// Logits of every position, computed in one segment.
fn logits(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    let segment = Segment { tokens, past: Vec::new(), factors: decoder.rope_factors(tokens.len()), keep: false };
    let rows: Vec<usize> = (0..tokens.len()).collect();
    let hidden = decoder.forward(&[segment], &rows).unwrap().hidden.unwrap();
    decoder.logits(&hidden, 0..tokens.len()).unwrap()
}

fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn greedy(decoder: &Decoder, prompt: &[u32], new: usize) -> Vec<u32> {
    let mut sequence = Sequence::new(prompt, GREEDY);
    while sequence.produced().len() < new {
        step(decoder, &mut [&mut sequence], 512).unwrap();
        if sequence.produced().last().is_some_and(|last| decoder.eos_token_ids().contains(last)) {
            break;
        }
    }
    sequence.produced().to_vec()
}

/// A folder of the workplace's shared models, if it is there.
#[allow(clippy::print_stdout, reason = "whoever reads the log must see what was not tested")]
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BILLON_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join("models").join(name);
    if path.is_dir() {
        return Some(path);
    }
    println!("SKIPPED: {} is not there", path.display());
    None
}

#[test]
fn every_family_has_the_logits_and_greedy_texts_of_transformers() {
    for family in FAMILIES {
        let folder = fixture("models").join(family);
        let expected = json(&folder.join("expected.json"));
        let decoder = open(&folder);
        let ids = tokens(&expected["ids"]);
        let whole = difference(&logits(&decoder, &ids), &floats(&expected["logits"]));
        let short = difference(&logits(&decoder, &ids[..9]), &floats(&expected["short_logits"]));
        println!("{family}: {whole:.1e} {short:.1e}");
        assert!(whole <= 1e-4 && short <= 1e-4, "{family}: {whole} {short}");
        for case in expected["greedy"].as_array().unwrap() {
            let new = tokens(&case["new"]);
            assert_eq!(greedy(&decoder, &tokens(&case["prompt"]), 24), new, "{family}");
        }
    }
}

/// A pool gives the next decoder what the last one packed, but never what an adapter changed.
#[test]
fn decoders_that_share_a_pool_are_what_they_are_alone() {
    let base = fixture("models/phi3");
    let model = ModelDir::open(&base).unwrap();
    let pool = Arc::new(WeightPool::default());
    let open = |adapters| {
        let options = DecoderOptions { adapters, pool: Some(Arc::clone(&pool)), ..DecoderOptions::default() };
        Decoder::open(&model, &options).unwrap()
    };
    let adapted = || {
        let adapter = Adapter::open(&fixture("models/adapters/phi3-fused")).unwrap();
        vec![WeightedAdapter { adapter, weight: 1.0 }]
    };
    let ids: Vec<u32> = (3..20).collect();
    let (plain, changed) = (logits(&open_with(&base, Vec::new()), &ids), logits(&open_with(&base, adapted()), &ids));
    assert_ne!(plain, changed);
    assert_eq!(logits(&open(adapted()), &ids), changed);
    let untouched = pool.bytes();
    assert_eq!(logits(&open(Vec::new()), &ids), plain);
    let all = pool.bytes();
    assert!(untouched > 0 && untouched < all, "{untouched} of {all} bytes are not the adapter's");
    assert_eq!(logits(&open(adapted()), &ids), changed);
    assert_eq!(logits(&open(Vec::new()), &ids), plain);
    assert_eq!(pool.bytes(), all, "nothing was packed twice");
    pool.clear();
    assert_eq!(pool.bytes(), 0);
}

/// The configs as transformers 4 wrote them describe the same models.
#[test]
fn old_config_keys_mean_the_same() {
    for family in ["llama3", "phi3", "gemma3"] {
        let folder = fixture("models").join(family);
        let old = tempfile::tempdir().unwrap();
        std::fs::copy(folder.join("config.v4.json"), old.path().join("config.json")).unwrap();
        std::fs::copy(folder.join("model.safetensors"), old.path().join("model.safetensors")).unwrap();
        assert_eq!(open(old.path()).config(), open(&folder).config(), "{family}");
    }
}

#[test]
fn adapters_give_the_logits_of_peft() {
    let adapter = |name: &str| Adapter::open(&fixture("models/adapters").join(name)).unwrap();
    for name in ["llama-rslora", "llama-plain", "phi3-fused", "llama-dora", "llama-saved", "qwen3-head"] {
        let expected = json(&fixture("models/adapters").join(name).join("expected.json"));
        let base = fixture("models").join(expected["base"].as_str().unwrap());
        let ids = tokens(&expected["ids"]);
        let theirs = floats(&expected["logits"]);
        let decoder = open_with(&base, vec![WeightedAdapter { adapter: adapter(name), weight: 1.0 }]);
        let found = difference(&logits(&decoder, &ids), &theirs);
        println!("{name}: {found:.1e}");
        assert!(found <= 1e-4, "{name}: {found}");
        assert!(difference(&logits(&open(&base), &ids), &theirs) > 0.1, "{name} must matter");
    }
    let expected = json(&fixture("models/adapters/weighted.json"));
    let adapters = expected["adapters"].as_object().unwrap();
    let adapters = adapters
        .iter()
        .map(|(name, weight)| WeightedAdapter { adapter: adapter(name), weight: weight.as_f64().unwrap() as f32 });
    let decoder = open_with(&fixture("models/llama"), adapters.collect());
    let found = difference(&logits(&decoder, &tokens(&expected["ids"])), &floats(&expected["logits"]));
    assert!(found <= 1e-4, "weighted: {found}");
}

/// The same rows alone, beside others, behind a past cut anywhere, and with other rows unwanted:
/// the same bits.
#[test]
fn rows_do_not_depend_on_their_batch_or_on_how_their_past_is_cut() {
    for family in FAMILIES {
        let folder = fixture("models").join(family);
        let ids = tokens(&json(&folder.join("expected.json"))["ids"]);
        let decoder = open(&folder);
        let factors = decoder.rope_factors(ids.len());
        let alone = logits(&decoder, &ids);
        let vocabulary = decoder.config().vocab_size;
        let other: Vec<u32> = ids.iter().rev().map(|id| id % 60).collect();
        let foreign = |tokens| Segment { tokens, past: Vec::new(), factors: decoder.rope_factors(13), keep: false };
        for cuts in [&[][..], &[1], &[39], &[3, 4, 20], &[13, 26, 38]] {
            let mut past = Vec::new();
            let mut start = 0;
            for &cut in cuts {
                let segment = Segment { tokens: &ids[start..cut], past: past.clone(), factors, keep: true };
                let block = decoder.forward(&[segment, foreign(&other[..13])], &[]).unwrap().kept.swap_remove(0);
                past.push(block.unwrap());
                start = cut;
            }
            let segment = Segment { tokens: &ids[start..], past, factors, keep: false };
            let segments = [foreign(&other[..7]), segment, foreign(&other[7..20])];
            let last = 7 + ids.len() - start - 1;
            for mut wanted in [vec![last], vec![0, 7, last, last + 3], (7..=last).collect()] {
                wanted.dedup();
                let hidden = decoder.forward(&segments, &wanted).unwrap().hidden.unwrap();
                for (index, row) in wanted.iter().enumerate().filter(|(_, row)| (7..=last).contains(*row)) {
                    let position = start + row - 7;
                    let ours = decoder.logits(&hidden, index..index + 1).unwrap();
                    assert_eq!(ours, alone[position * vocabulary..][..vocabulary], "{family} {cuts:?} {wanted:?}");
                }
            }
        }
    }
}

#[test]
fn real_models_have_the_published_numbers() {
    let mut folders: Vec<PathBuf> =
        ["stories260k", "stories260k-qwen2", "stories260k-phi3"].iter().filter_map(|name| shared(name)).collect();
    if let Some(path) = std::env::var_os("BILLON_SMOLLM2") {
        folders.push(path.into());
    }
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let shared_name = if name.starts_with("stories260k") { "stories260k" } else { "smollm2-135m-instruct" };
        let Some(expected) = shared(shared_name) else { return };
        let expected = json(&expected.join("expected.json"));
        let decoder = open(&folder);
        for case in expected["perplexity"].as_array().unwrap() {
            for kind in ["text", "shuffled"] {
                let ids = tokens(&case[format!("{kind}_ids")]);
                let theirs = case[format!("{kind}_mean_nll")].as_f64().unwrap();
                let segment =
                    Segment { tokens: &ids, past: Vec::new(), factors: decoder.rope_factors(ids.len()), keep: false };
                let rows: Vec<usize> = (0..ids.len()).collect();
                let hidden = decoder.forward(&[segment], &rows).unwrap().hidden.unwrap();
                let targets: Vec<(usize, u32)> = ids[1..].iter().copied().enumerate().collect();
                let sum: f64 = decoder.log_probs(&hidden, &targets).unwrap().iter().map(|(logprob, _)| logprob).sum();
                let ours = -sum / targets.len() as f64;
                println!("{name} {kind}: {ours:.6} {theirs}");
                // The file keeps five decimals.
                assert!((ours - theirs).abs() < 2e-5, "{name} {kind}: {ours} {theirs}");
            }
        }
        for case in expected["greedy"].as_array().unwrap() {
            let ids = tokens(&case["ids"]);
            let all = logits(&decoder, &ids);
            let last = &all[all.len() - decoder.config().vocab_size..];
            let top = tokens(&case["top5_ids"]);
            let ours: Vec<f32> = top.iter().map(|id| last[*id as usize]).collect();
            assert!(difference(&ours, &floats(&case["top5_logits"])) < 2e-4, "{name}: {ours:?} {case}");
            let new = tokens(&case["new_ids"]);
            assert_eq!(greedy(&decoder, &ids, new.len()), new, "{name}");
        }
    }
}
