use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::*;
use crate::compute::merge::cpu::Cpu;
use crate::event::{CancelFlag, Reporter, Silent};
use crate::inspect::open::open;
use crate::merge::execute::chunk::CHUNK_ELEMENTS;
use crate::merge::plan::sources::Resolver;
use crate::parallel::Workers;

/// Values as they are stored, and the bytes.
fn encode(dtype: Dtype, values: &[f64]) -> (Vec<f64>, Vec<u8>) {
    let one = |value: &f64| match dtype {
        Dtype::BF16 => {
            let x = half::bf16::from_f64(*value);
            (x.to_f64(), x.to_le_bytes().to_vec())
        }
        Dtype::F16 => {
            let x = half::f16::from_f64(*value);
            (x.to_f64(), x.to_le_bytes().to_vec())
        }
        Dtype::F32 => (f64::from(*value as f32), (*value as f32).to_le_bytes().to_vec()),
        Dtype::F64 => (*value, value.to_le_bytes().to_vec()),
        _ => (*value, vec![*value as u8]),
    };
    let pairs: Vec<_> = values.iter().map(one).collect();
    (pairs.iter().map(|p| p.0).collect(), pairs.into_iter().flat_map(|p| p.1).collect())
}

type Spec<'a> = (&'a str, Dtype, Vec<usize>, Vec<f64>);

/// Writes a checkpoint and returns what is in it.
fn write(dir: &Path, tensors: &[Spec<'_>]) -> (Model, BTreeMap<String, Vec<f64>>) {
    std::fs::create_dir_all(dir).unwrap();
    let encoded: Vec<_> = tensors.iter().map(|t| encode(t.1, &t.3)).collect();
    let views = tensors.iter().zip(&encoded).map(|(t, e)| (t.0, TensorView::new(t.1, t.2.clone(), &e.1).unwrap()));
    safetensors::serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
    let values = tensors.iter().zip(&encoded).map(|(t, e)| (t.0.to_owned(), e.0.clone())).collect();
    (open(dir.to_str().unwrap(), &Resolver::default()).unwrap(), values)
}

/// Numbers between -1 and 1; about one in eight repeats whatever the seed, so that deltas are zero.
fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let draw = |i: u64, seed: u64| {
        let mut x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xd1b5_4a32_d192_ed03);
        x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ (x >> 29)
    };
    (0..n as u64)
        .map(|i| draw(i, if draw(i, 77).is_multiple_of(8) { 0 } else { seed }) >> 11)
        .map(|x| x as f64 / (1_u64 << 52) as f64 - 1.0)
        .collect()
}

fn compare_with(base: &Model, tuned: &[Model], threads: usize) -> Result<TaskVectorReport> {
    compare(base, tuned, &Cpu, Workers::new(threads), Progress { reporter: &Silent, cancel: &CancelFlag::new() })
}

/// Straight from the definitions, all in f64.
fn check(group: &GroupSummary, base: &[f64], tuned: &[Vec<f64>]) {
    let close = |found: Option<f64>, wanted: f64, what: &str| {
        let found = found.unwrap_or_else(|| panic!("{}: {what} is absent", group.name));
        assert!((found - wanted).abs() <= 1e-6 * wanted.abs().max(1e-3), "{}: {what} {found} {wanted}", group.name);
    };
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let deltas: Vec<Vec<f64>> = tuned.iter().map(|t| t.iter().zip(base).map(|(t, b)| t - b).collect()).collect();
    assert_eq!(group.elements, base.len() as u64);
    close(group.base_norm, norm(base), "base norm");
    for (found, delta) in group.task_vectors.iter().zip(&deltas) {
        close(found.norm, norm(delta), "norm");
        close(found.relative_norm, norm(delta) / norm(base), "relative norm");
        let zeros = delta.iter().filter(|x| **x == 0.0).count();
        assert_eq!(found.zeros, zeros as u64);
        close(found.zero_share, zeros as f64 / base.len() as f64, "zeros");
        close(found.largest, delta.iter().fold(0.0, |m, x| x.abs().max(m)), "largest");
    }
    for pair in &group.pairs {
        let (a, b) = (&deltas[pair.first], &deltas[pair.second]);
        let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        close(pair.cosine, dot / (norm(a) * norm(b)), "cosine");
    }
    let (mut conflicts, mut contested) = (0, 0);
    for i in 0..base.len() {
        let positive = deltas.iter().filter(|d| d[i] > 0.0).count();
        let negative = deltas.iter().filter(|d| d[i] < 0.0).count();
        conflicts += u64::from(positive > 0 && negative > 0);
        contested += u64::from(positive + negative > 1);
    }
    if let Some(found) = group.sign_conflicts {
        assert_eq!((found.conflicts, found.contested), (conflicts, contested), "{}", group.name);
        close(found.rate, conflicts as f64 / contested as f64, "conflict rate");
    }
}

#[test]
fn statistics_match_their_definitions_whatever_the_threads() {
    let dir = tempfile::tempdir().unwrap();
    let large = CHUNK_ELEMENTS as usize + 1237;
    let layout: [(&str, Dtype, Dtype, Vec<usize>); 6] = [
        ("model.embed_tokens.weight", Dtype::BF16, Dtype::BF16, vec![large]),
        ("model.layers.0.mlp.up_proj.weight", Dtype::F16, Dtype::F16, vec![3, 67]),
        ("model.layers.1.mlp.up_proj.weight", Dtype::F32, Dtype::BF16, vec![3, 67]),
        ("model.layers.10.mlp.up_proj.weight", Dtype::F64, Dtype::F32, vec![1]),
        ("model.layers.10.self_attn.q_proj.bias", Dtype::F64, Dtype::F64, vec![17, 5]),
        ("model.norm.weight", Dtype::F32, Dtype::F32, vec![1023]),
    ];
    let specs = |seed: u64, of_base: bool| -> Vec<Spec<'_>> {
        layout
            .iter()
            .zip(0..)
            .map(|((name, base, tuned, shape), k)| {
                let values = numbers(seed * 100 + k, shape.iter().product());
                (*name, if of_base { *base } else { *tuned }, shape.clone(), values)
            })
            .collect()
    };
    let (base, base_values) = write(&dir.path().join("base"), &specs(1, true));
    let (tuned, tuned_values): (Vec<_>, Vec<_>) =
        (2..5).map(|seed| write(&dir.path().join(seed.to_string()), &specs(seed, false))).unzip();
    let report = compare_with(&base, &tuned, 1).unwrap();
    assert_eq!(report, compare_with(&base, &tuned, 3).unwrap());

    let check_names = |group: &GroupSummary, wanted: &[&str]| {
        let join = |values: &BTreeMap<String, Vec<f64>>| -> Vec<f64> {
            wanted.iter().flat_map(|n| values[*n].clone()).collect()
        };
        assert_eq!(group.tensors, wanted.len());
        check(group, &join(&base_values), &tuned_values.iter().map(join).collect::<Vec<_>>());
    };
    let names = layout.each_ref().map(|l| l.0);
    check_names(&report.total, &names);
    assert_eq!(report.tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), names);
    for (group, name) in report.tensors.iter().zip(&names) {
        check_names(group, &[name]);
    }
    let modules: Vec<_> = report.modules.iter().map(|m| m.name.as_str()).collect();
    let expected =
        [names[0], "model.layers.*.mlp.up_proj.weight", "model.layers.*.self_attn.q_proj.bias", "model.norm.weight"];
    assert_eq!(modules, expected);
    check_names(&report.modules[1], &names[1..4]);
    let layers: Vec<_> = report.layers.iter().map(|l| (l.name.as_str(), l.layer)).collect();
    assert_eq!(layers, [("layer 0", Some(0)), ("layer 1", Some(1)), ("layer 10", Some(10)), ("outside layers", None)]);
    check_names(&report.layers[2], &names[3..5]);
    check_names(&report.layers[3], &[names[0], names[5]]);
    assert!(report.skipped.is_empty() && report.non_finite.is_empty());
}

#[test]
fn what_can_not_be_compared_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let spec = |name, dtype, n: usize| (name, dtype, vec![n], vec![1.0; n]);
    let base = [
        spec("a.weight", Dtype::F32, 2),
        spec("cut.weight", Dtype::F32, 3),
        spec("empty", Dtype::F32, 0),
        spec("head.weight", Dtype::F32, 1),
        spec("mask", Dtype::U8, 4),
    ];
    let (base, _) = write(&dir.path().join("base"), &base);
    let nan = ("a.weight", Dtype::F32, vec![2], vec![f64::NAN, 1.0]);
    let tuned = [
        nan,
        spec("cut.weight", Dtype::F32, 2),
        spec("empty", Dtype::F32, 0),
        spec("mask", Dtype::U8, 4),
        spec("new.weight", Dtype::F32, 1),
    ];
    let (tuned, _) = write(&dir.path().join("tuned"), &tuned);
    let report = compare_with(&base, &[tuned], 2).unwrap();
    let (b, t) = (report.base.as_str(), report.tuned[0].as_str());
    let plain = |s: &'_ Skipped| (s.tensor.clone(), s.model.clone(), s.reason.clone());
    let skipped: Vec<_> = report.skipped.iter().map(plain).collect();
    let expected = [
        ("cut.weight", t, SkipReason::Shape { found: vec![2], base: vec![3] }),
        ("head.weight", t, SkipReason::Missing),
        ("mask", b, SkipReason::NotFloating { dtype: "U8" }),
        ("mask", t, SkipReason::NotFloating { dtype: "U8" }),
        ("new.weight", b, SkipReason::Missing),
    ];
    assert_eq!(skipped, expected.map(|(tensor, model, reason)| (tensor.to_owned(), model.to_owned(), reason)));
    assert_eq!(report.non_finite, [NonFinite { tensor: "a.weight".into(), model: t.into() }]);
    assert_eq!(report.total.task_vectors[0].norm, None);
    assert_eq!(report.tensors[1].task_vectors[0].zero_share, None);
    let (other, _) = write(&dir.path().join("other"), &[spec("z", Dtype::F32, 1)]);
    let error = compare_with(&base, &[other], 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
}

#[test]
fn events_come_in_order_and_a_raised_flag_stops() {
    #[derive(Default)]
    struct Recorder(Mutex<Vec<Event>>);
    impl Reporter for Recorder {
        fn event(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let n = CHUNK_ELEMENTS as usize + 1;
    let (base, _) = write(&dir.path().join("b"), &[("w", Dtype::BF16, vec![n], vec![1.0; n])]);
    let (tuned, _) = write(&dir.path().join("t"), &[("w", Dtype::F32, vec![n], vec![1.5; n])]);
    let (recorder, cancel) = (Recorder::default(), CancelFlag::new());
    let tuned = [tuned];
    compare(&base, &tuned, &Cpu, Workers::default(), Progress { reporter: &recorder, cancel: &cancel }).unwrap();
    let bytes_read = n as u64 * 6;
    let expected = [
        Event::PlanReady { tensors: 1, bytes_read, bytes_written: 0 },
        Event::BytesRead(CHUNK_ELEMENTS * 6),
        Event::BytesRead(6),
        Event::Finished,
    ];
    assert_eq!(*recorder.0.lock().unwrap(), expected);
    cancel.cancel();
    let stopped = compare(&base, &tuned, &Cpu, Workers::new(2), Progress { reporter: &Silent, cancel: &cancel });
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
}
