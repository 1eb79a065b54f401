//! `trim_scope: model`: the TIES authors' trim over the whole task vector, against a plain sort.

use crate::checkpoint;
use crate::context::{Context, fixture};
use crate::formulas::{Options, Tuned, consensus};

/// Density whose share of all elements is not whole.
const DENSITY: f64 = 0.3;

#[test]
fn the_whole_task_vector_is_trimmed_at_one_threshold() {
    let names = ["base", "ft1", "ft2"];
    let inputs: Vec<_> = names.iter().map(|n| checkpoint::read(&fixture(&format!("checkpoints/f32/{n}")))).collect();
    let recipe = format!(
        "merge_method: ties\nbase_model: {:?}\ntrim_scope: model\nmodels:\n{}",
        fixture("checkpoints/f32/base").display().to_string(),
        names[1..]
            .iter()
            .map(|n| format!(
                "- model: {:?}\n  parameters: {{weight: 0.7, density: {DENSITY}}}\n",
                fixture(&format!("checkpoints/f32/{n}")).display().to_string()
            ))
            .collect::<String>()
    );
    let context = Context::new();
    let merged = checkpoint::read(&context.merge("out", &recipe, &["--quiet"]));

    // The authors flatten the task vector, take the (n - floor(n d))-th smallest magnitude, counted
    // from 1, and keep everything that is at least as large.
    let thresholds: Vec<f64> = inputs[1..]
        .iter()
        .map(|tuned| {
            let mut all: Vec<f64> = inputs[0]
                .iter()
                .flat_map(|(name, base)| {
                    let pairs = tuned[name].values().into_iter().zip(base.values());
                    pairs.map(|(t, b)| f64::from((t as f32 - b as f32).abs())).collect::<Vec<_>>()
                })
                .collect();
            all.sort_by(f64::total_cmp);
            let kept = (all.len() as f64 * DENSITY) as usize;
            all[all.len() - kept - 1]
        })
        .collect();

    let mut per_tensor_would_differ = false;
    for (name, base) in &inputs[0] {
        let base = base.values();
        let tuned: Vec<Tuned> =
            inputs[1..].iter().map(|t| Tuned { values: t[name].values(), weight: 0.7, density: DENSITY }).collect();
        let keep: Vec<Vec<bool>> = tuned
            .iter()
            .zip(&thresholds)
            .map(|(t, threshold)| {
                let magnitude = |e: usize| f64::from((t.values[e] as f32 - base[e] as f32).abs());
                (0..base.len()).map(|e| magnitude(e) >= *threshold).collect()
            })
            .collect();
        let kept = keep[0].iter().filter(|k| **k).count();
        per_tensor_would_differ |= kept != (DENSITY * base.len() as f64) as usize;
        let options = Options { normalize: true, rescale: false, lambda: 1.0, wide: false };
        let expected = consensus(&base, &tuned, &keep, options, true);
        for (e, (ours, truth)) in merged[name].values().into_iter().zip(&expected.values).enumerate() {
            let tolerance = 4.0 * f64::from(f32::EPSILON) * expected.magnitude[e];
            assert!(expected.close[e] || (ours - truth).abs() <= tolerance, "{name}[{e}]: {ours} for {truth}");
        }
    }
    assert!(per_tensor_would_differ, "the fixtures can't tell the two scopes apart");
}
