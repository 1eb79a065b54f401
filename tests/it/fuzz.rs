//! The fuzz targets: they compile with every test run and hold for their seeds and some hundred mutations of each, and
//! the lock file of `fuzz/` belongs to its manifest and to ours.

use std::collections::BTreeSet;
use std::path::Path;

use crate::context::fixture;
use crate::fuzz_targets::{adapter, gguf, header, lock, recipe, results, task, template};

/// Mutations of each seed.
const MUTATIONS: u64 = 200;

/// Flips bits, cuts and doubles pieces; the same every time.
fn mutated(seed: &[u8], number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut bytes = seed.to_vec();
    for _ in 0..=draw(3) {
        let (from, length) = (draw(bytes.len()), draw(9));
        let to = (from + length).min(bytes.len());
        match draw(4) {
            0 if !bytes.is_empty() => bytes[from] ^= 1 << draw(8),
            1 => drop(bytes.drain(from..to)),
            2 => {
                let piece = bytes[from..to].to_vec();
                let at = draw(bytes.len());
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(from.max(1)),
        }
    }
    bytes
}

fn hold(run: fn(&[u8]), seeds: &[Vec<u8>]) {
    run(&[]);
    for seed in seeds {
        run(seed);
        for number in 0..MUTATIONS {
            run(&mutated(seed, number));
        }
    }
}

/// Bytes before a file's.
fn after(start: &[u8], name: &str) -> Vec<u8> {
    let file = std::fs::read(fixture(name)).unwrap();
    [start, &file[..file.len().min(4000)]].concat()
}

/// Two bytes of length, a first part of that length, and the rest.
fn parts(first: &[u8], second: &[u8]) -> Vec<u8> {
    [&u16::try_from(first.len()).unwrap().to_le_bytes(), first, second].concat()
}

#[test]
fn headers_hold() {
    let header = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F64","shape":[2],"data_offsets":[8,24]},"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}}"#;
    hold(header::run, &[[&[1, 24, 0], header.as_slice()].concat()]);
    hold(gguf::run, &[after(&[255, 255], "gguf/llama3.gguf")]);
}

#[test]
fn recipes_and_tasks_hold() {
    let recipe = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/multi-stage.yml")).unwrap();
    hold(recipe::run, &[[b"a", recipe.as_slice()].concat()]);
    hold(task::run, &[after(&[], "tasks/prompts/plain.yaml")]);
}

#[test]
fn adapters_and_templates_hold() {
    let config = std::fs::read(fixture("models/adapters/llama-plain/adapter_config.json")).unwrap();
    let weights = br#"{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":{"dtype":"F32","shape":[8,8],"data_offsets":[0,256]},"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight":{"dtype":"F32","shape":[8,8],"data_offsets":[256,4096]}}"#;
    hold(adapter::run, &[parts(&config, weights)]);
    hold(template::run, &[after(&[1], "eval/model/chat_template.jinja")]);
}

#[test]
fn locks_and_results_hold() {
    let lock = br#"{"lock_version": 1, "billon_version": "0.1.0", "seed": 0, "options": {}, "recipe": "merge_method: linear\n", "stages": [], "inputs": {}, "outputs": {"model.safetensors": {"bytes": 8, "sha256": null}}}"#;
    hold(lock::run, &[lock.to_vec()]);
    let results = br#"{"results": {"t": {"alias": "t", "acc,none": 1.0, "acc_stderr,none": "N/A"}}, "group_subtasks": {"g": ["t"]}, "configs": {"t": {"task": "t"}}, "higher_is_better": {"t": {"acc": true}}}"#;
    let samples = br#"{"doc_id": 0, "doc": {}, "target": "0", "arguments": {}, "resps": [[["-1.0", "True"]]], "filtered_resps": [["-1.0", "True"]], "filter": "none", "metrics": ["acc"], "doc_hash": "a", "prompt_hash": "b", "target_hash": "c", "acc": 1.0}"#;
    hold(results::run, &[parts(results, samples)]);
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Names of a manifest's `[dependencies]`.
fn wanted(manifest: &str) -> BTreeSet<String> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    // Features that are off by default bring nothing here.
    let lines = lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.contains("optional = true"));
    lines.filter_map(|line| Some(line.split_once('=')?.0.trim().to_owned())).collect()
}

/// Names of the dependencies that a lock gives a package.
fn locked(lock: &str, package: &str) -> BTreeSet<String> {
    let block = lock.split("[[package]]").find(|block| block.contains(&format!("\nname = \"{package}\"\n"))).unwrap();
    let lines = block.lines().skip_while(|line| *line != "dependencies = [").skip(1);
    let lines = lines.take_while(|line| *line != "]");
    lines.map(|line| line.trim_matches([' ', '"', ',']).split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn the_lock_of_the_fuzz_targets_is_current() {
    let lock = read("fuzz/Cargo.lock");
    assert_eq!(locked(&lock, "billon"), wanted(&read("Cargo.toml")));
    assert_eq!(locked(&lock, "billon-fuzz"), wanted(&read("fuzz/Cargo.toml")));
}

#[test]
fn every_fuzz_target_has_a_dictionary_and_seeds() {
    let (manifest, seeds, guide) = (read("fuzz/Cargo.toml"), read("fuzz/seeds.sh"), read("CONTRIBUTING.md"));
    let names: Vec<&str> = manifest.split("[[bin]]\nname = \"").skip(1).map(|b| b.split('"').next().unwrap()).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/{name}.dict")).is_file(), "{name}");
        assert!(
            seeds.contains(&format!("fuzz/corpus/{name}/"))
                || seeds.contains(&format!("parts \"{name}/"))
                || seeds.contains(&format!("parts {name}/")),
            "{name}"
        );
        assert!(guide.contains(&format!(" {name} ")) || guide.contains(&format!(" {name};")), "{name}");
    }
}
