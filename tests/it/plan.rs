//! `billon plan` tells the truth about the merge and writes nothing.

use serde_json::Value;

use crate::checkpoint;
use crate::context::{Context, fixture};

#[test]
fn the_plan_is_what_the_merge_does() {
    let context = Context::new();
    let recipe = fixture("mergekit/recipes/slices_gradients.yml");
    let arguments = ["--max-shard-size", "20KB", "--threads", "2"];
    let run = context.run([&["plan", recipe.to_str().unwrap(), "--json"], &arguments[..]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let plan: Value = serde_json::from_str(&run.stdout).unwrap();
    let stage = &plan["stages"][0];
    assert!(!context.path("out").exists());
    assert_eq!(context.leftovers(), [""; 0]);

    let out = context.path("out");
    let done = context.merge_run(&recipe, &out, &[&arguments[..], &["--json"]].concat());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    for key in ["bytes_read", "bytes_written", "method", "models"] {
        assert_eq!(report[key], stage[key], "{key}");
    }
    let tensors = checkpoint::read(&out);
    let planned = stage["tensors"].as_array().unwrap();
    assert_eq!(planned.len(), tensors.len());
    let mut bytes = 0;
    for tensor in planned {
        let stored = &tensors[tensor["name"].as_str().unwrap()];
        assert_eq!(tensor["shape"], serde_json::json!(stored.shape));
        assert_eq!(tensor["dtype"], format!("{:?}", stored.dtype));
        assert_eq!(tensor["bytes"], stored.bytes.len());
        bytes += stored.bytes.len();
    }
    assert!(stage["bytes_written"].as_u64().unwrap() as usize >= bytes);
    for shard in stage["shards"].as_array().unwrap() {
        let size = std::fs::metadata(out.join(shard[0].as_str().unwrap())).unwrap().len();
        assert_eq!(shard[1], size);
    }
}

#[test]
fn gradients_are_resolved_per_tensor() {
    let context = Context::new();
    let recipe = fixture("mergekit/recipes/slerp_gradient_filters.yml");
    let run = context.run(["plan", recipe.to_str().unwrap(), "--json"]);
    let plan: Value = serde_json::from_str(&run.stdout).unwrap();
    let t = |name: &str| {
        let tensors = plan["stages"][0]["tensors"].as_array().unwrap();
        tensors.iter().find(|t| t["name"] == name).unwrap()["parameters"]["t"].as_f64().unwrap()
    };
    // Five values over three layers: the first, the middle and the last; outside the layers the first of the list.
    for (layer, attention, mlp, norm) in [(0, 0.0, 1.0, 0.25), (1, 0.3, 0.7, 0.5), (2, 1.0, 0.0, 0.75)] {
        assert_eq!(t(&format!("model.layers.{layer}.self_attn.q_proj.weight")), attention);
        assert_eq!(t(&format!("model.layers.{layer}.mlp.up_proj.weight")), mlp);
        assert_eq!(t(&format!("model.layers.{layer}.input_layernorm.weight")), norm);
    }
    assert_eq!(t("lm_head.weight"), 0.25);
    assert_eq!(t("model.norm.weight"), 0.25);
}

#[test]
fn a_dry_run_prints_the_plan() {
    let context = Context::new();
    let recipe = fixture("mergekit/recipes/ties.yml");
    let recipe = recipe.to_str().unwrap();
    let plan = context.run(["plan", recipe]);
    let dry = context.run(["merge", recipe, "--dry-run"]);
    assert_eq!((plan.code, dry.code), (Some(0), Some(0)));
    assert_eq!(plan.stdout, dry.stdout);
    for part in
        ["model.layers.2.mlp.up_proj.weight", "density=0.2", "fixtures/checkpoints/f32/ft3", "model.safetensors"]
    {
        assert!(plan.stdout.contains(part), "{part} is not in:\n{}", plan.stdout);
    }
}
