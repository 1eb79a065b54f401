//! The peak that `plan` tells is a bound: real merges stay below it, and not far below.

use std::path::Path;
use std::process::Command;

use safetensors::Dtype;
use serde_json::Value;

use crate::checkpoint::{self, Numbers, Stored, Tensors};
use crate::context::Context;

/// A bf16 model of some megabytes; fine-tunes differ from the base in the last bits of half the elements.
fn model(context: &Context, name: &str, number: u64) {
    let (mut base, mut noise) = (Numbers(1), Numbers(number));
    let mut tensor = |shape: [usize; 2]| {
        let mut bytes = Vec::with_capacity(shape[0] * shape[1] * 2);
        for _ in 0..shape[0] * shape[1] / 4 {
            let (stored, change) = (base.next(), if number == 0 { 0 } else { noise.next() });
            for lane in 0..4 {
                let bits = (stored >> (16 * lane)) as u16 & 0x80ff | 0x3c00;
                bytes.extend_from_slice(&(bits ^ ((change >> (16 * lane)) as u16 & 0x1f)).to_le_bytes());
            }
        }
        Stored { dtype: Dtype::BF16, shape: shape.to_vec(), bytes }
    };
    let mut tensors: Tensors = [("model.embed_tokens.weight".to_owned(), tensor([4096, 1024]))].into();
    for layer in 0..4 {
        for name in ["mlp.up_proj", "self_attn.q_proj"] {
            tensors.insert(format!("model.layers.{layer}.{name}.weight"), tensor([1024, 1024]));
        }
    }
    checkpoint::write(&context.path(name), &tensors, Some("{\"num_hidden_layers\": 4}"));
}

/// Runs a command and gives the peak of its resident memory, as the kernel counts it for its address space (`VmHWM`). What
/// `wait4` and `time` tell counts the parent's memory too, up to the exec.
fn peak(mut command: Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        // Until the exec the child is a copy of this process.
        if text.starts_with("Name:\tbillon\n") {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn the_planned_peak_is_never_below_the_measured_one() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let context = Context::new();
    for (number, name) in ["base", "one", "two", "three"].into_iter().enumerate() {
        model(&context, name, number as u64);
    }
    let path = |name: &str| context.path(name).display().to_string();
    let vectors = |method: &str, rest: &str| {
        let models: String = ["one", "two", "three"].map(|m| format!("- model: {:?}\n", path(m))).concat();
        format!(
            "merge_method: {method}\nbase_model: {:?}\nmodels:\n{models}parameters: {{weight: 0.5{rest}}}\n",
            path("base")
        )
    };
    let plain = |method: &str, rest: &str| {
        let models: String = ["one", "two"].map(|m| format!("- model: {:?}\n", path(m))).concat();
        format!("merge_method: {method}\nmodels:\n{models}parameters: {{weight: 0.5{rest}}}\n")
    };
    for (name, recipe) in [
        ("linear", plain("linear", "")),
        ("task_arithmetic", vectors("task_arithmetic", "")),
        ("nuslerp", plain("nuslerp", "")),
        ("nuslerp_rows", plain("nuslerp", ", nuslerp_flatten: false")),
        ("dare_ties", vectors("dare_ties", ", density: 0.3")),
        ("ties", vectors("ties", ", density: 0.3")),
        ("ties_of_the_model", vectors("ties", ", density: 0.3, trim_scope: model")),
    ] {
        let recipe = context.write(&format!("{name}.yml"), &recipe);
        for threads in ["1", "4"] {
            let arguments = ["plan", recipe.to_str().unwrap(), "--json", "-q", "-j", threads];
            let plan: Value = serde_json::from_str(&context.run(arguments).stdout).unwrap();
            let planned = plan["stages"][0]["peak_memory"].as_u64().unwrap();
            for hash in [&["--no-hash"][..], &[]] {
                let mut command = context.command();
                command.arg("merge").arg(&recipe).arg(Path::new(&path("out")));
                command.args(["--force", "-q", "-j", threads]).args(hash);
                let measured = peak(command);
                let run = format!("{name} with {threads} threads {hash:?}");
                assert!(measured <= planned, "{run}: {measured} is above {planned}");
                assert!(planned <= 3 * measured, "{run}: {planned} is far above {measured}");
            }
        }
    }
}
