//! Recipes that name adapters (`model+adapter`), against the formulas in f64 and against the same
//! merge of baked checkpoints; and merges in memory against the same merges on disk.

use std::collections::BTreeMap;
use std::path::Path;

use billon::internal::merge_kernels::Cpu;
use billon::internal::nn::WeightDtype;
use billon::internal::{Adapter, Factors, LoraConfig, SavedTensor, TargetModules};
use billon::internal::{CancelFlag, Progress, Silent};
use billon::internal::{Decoder, DecoderOptions, Segment, WeightedAdapter};
use billon::internal::{LocalOptions, Workers};
use billon::internal::{MergeOptions, MergedModel, RecipeFile, in_memory};
use billon::internal::{ModelDir, TensorSource};
use billon::internal::{open_merged, open_model};
use ndarray::Array2;
use safetensors::Dtype;

use crate::checkpoint::{self, Numbers, Stored, Tensors};
use crate::context::{Context, fixture};
use crate::formulas::{self, Options, Tuned};

const Q: &str = "model.layers.0.self_attn.q_proj";
const UP: &str = "model.layers.0.mlp.up_proj";
const NORM: &str = "model.norm";
/// Rows and columns; the first is more than a chunk of the executor, and chunks end inside rows.
const SHAPES: [(&str, [usize; 2]); 2] = [(Q, [601, 1001]), (UP, [13, 5])];

/// An adapter's parts, and its scale.
struct Parts {
    factors: BTreeMap<String, Factors>,
    scale: f64,
    norm: Option<Vec<f32>>,
}

fn normal(seed: u64, count: usize, deviation: f64) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    (0..count).map(|_| (deviation * numbers.normal()) as f32).collect()
}

fn parts(seed: u64, rank: usize, scale: f64, dora: bool) -> Parts {
    let factors = SHAPES.iter().enumerate().map(|(i, (module, [outputs, inputs]))| {
        let seed = seed + 10 * i as u64;
        let magnitude = dora.then(|| normal(seed + 2, *outputs, 1.0).iter().map(|v| v.abs() + 0.5).collect());
        let matrix =
            |seed, shape: [usize; 2]| Array2::from_shape_vec(shape, normal(seed, shape.iter().product(), 0.1)).unwrap();
        let (a, b) = (matrix(seed, [rank, *inputs]), matrix(seed + 1, [*outputs, rank]));
        ((*module).to_owned(), Factors { a, b, magnitude })
    });
    Parts { factors: factors.collect(), scale, norm: dora.then(|| normal(seed + 50, 97, 1.0)) }
}

impl Parts {
    fn save(&self, folder: &Path, rank: usize) {
        let mut config = LoraConfig::new("base", rank, self.scale * rank as f64, TargetModules::AllLinear);
        config.use_dora = self.norm.is_some();
        config.modules_to_save = self.norm.iter().map(|_| "norm".to_owned()).collect();
        let saved = self.norm.iter().map(|norm| (format!("{NORM}.weight"), SavedTensor::of(&[97], norm)));
        let adapter = Adapter::from_parts(config, self.factors.clone(), saved.collect()).unwrap();
        adapter.save(folder, "base", false).unwrap();
    }

    /// The adapted tensors by the formula.
    fn baked(&self, base: &Tensors) -> BTreeMap<String, Vec<f64>> {
        let mut baked: BTreeMap<String, Vec<f64>> = base.iter().map(|(name, t)| (name.clone(), t.values())).collect();
        if let Some(norm) = &self.norm {
            baked.insert(format!("{NORM}.weight"), norm.iter().map(|v| f64::from(*v)).collect());
        }
        for (module, f) in &self.factors {
            let weight = baked.get_mut(&format!("{module}.weight")).unwrap();
            for (row, values) in weight.chunks_mut(f.a.ncols()).enumerate() {
                for (b, a) in f.b.row(row).iter().zip(f.a.rows()) {
                    let b = self.scale * f64::from(*b);
                    values.iter_mut().zip(a).for_each(|(w, a)| *w += b * f64::from(*a));
                }
                if let Some(magnitude) = &f.magnitude {
                    let length = values.iter().map(|v| v * v).sum::<f64>().sqrt();
                    let gain = f64::from(magnitude[row]) / length;
                    for value in values.iter_mut() {
                        *value *= gain;
                    }
                }
            }
        }
        baked
    }
}

/// A bf16 base, a LoRA and a DoRA adapter.
fn family(context: &Context) -> (Tensors, [Parts; 2]) {
    let mut base = Tensors::new();
    let shapes = SHAPES.iter().map(|(module, shape)| (*module, shape.to_vec())).chain([(NORM, vec![97])]);
    for (i, (module, shape)) in shapes.enumerate() {
        let values: Vec<f64> = normal(i as u64, shape.iter().product(), 0.05).iter().map(|v| f64::from(*v)).collect();
        base.insert(format!("{module}.weight"), Stored::new(Dtype::BF16, &shape, &values));
    }
    checkpoint::write(&context.path("base"), &base, None);
    let parts = [parts(100, 3, 1.5, false), parts(200, 4, 0.25, true)];
    parts[0].save(&context.path("one"), 3);
    parts[1].save(&context.path("two"), 4);
    (base, parts)
}

const OPTIONS: [&str; 2] = ["--quiet", "--force"];

#[test]
fn a_merge_of_adapters_is_the_merge_of_baked_f32_checkpoints() {
    let context = Context::new();
    let (base, parts) = family(&context);
    let path = |name: &str| context.path(name).display().to_string();
    // Baking: a passthrough, in text form and in mergekit's object form.
    let forms = [
        format!("{:?}", path("base+one")),
        format!("{{model: {:?}, lora: {{path: {:?}}}}}", path("base"), path("two")),
    ];
    let forms = forms.map(|form| form.replace("base+one", &format!("base+{}", path("one"))));
    let exact = [parts[0].baked(&base), parts[1].baked(&base)];
    for ((name, form), exact) in ["baked1", "baked2"].iter().zip(&forms).zip(&exact) {
        let recipe = format!("merge_method: passthrough\ndtype: float32\nmodels: [{{model: {form}}}]\n");
        let baked = checkpoint::read(&context.merge(name, &recipe, &OPTIONS));
        for (tensor, exact) in exact {
            let worst = baked[tensor].values().iter().zip(exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            println!("{name} {tensor}: {worst:.1e}");
            assert!(worst <= 1e-6, "{name} {tensor}: {worst}");
        }
    }
    // Without a dtype the output keeps the base's: the f32 sum rounded once.
    let recipe = format!("merge_method: passthrough\nmodels: [{{model: {}}}]\n", forms[1]);
    let rounded = checkpoint::read(&context.merge("rounded", &recipe, &OPTIONS));
    let whole = checkpoint::read(&context.path("baked2"));
    for (tensor, stored) in &rounded {
        let shape = stored.shape.clone();
        assert_eq!(stored, &Stored::new(Dtype::BF16, &shape, &whole[tensor].values()), "{tensor}");
    }
    let baked = context.path("cli");
    let arguments = ["adapter", "bake", &path("base"), &path("two"), baked.to_str().unwrap(), "--quiet"];
    let run = context.run(arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(checkpoint::read(&baked), rounded);
    for (method, parameters) in
        [("task_arithmetic", "normalize: false"), ("ties", "normalize: true"), ("dare_ties", "")]
    {
        let recipe = |models: [&str; 2]| {
            format!(
                "merge_method: {method}\ndtype: float32\nbase_model: {:?}\nparameters: {{{parameters}}}\nmodels:\n  \
                 - {{model: {}, parameters: {{weight: 0.6, density: 0.4}}}}\n  \
                 - {{model: {}, parameters: {{weight: 0.3, density: 0.7}}}}\n",
                path("base"),
                models[0],
                models[1]
            )
        };
        let recipe = |models| {
            let text: String = recipe(models);
            if method == "task_arithmetic" {
                text.replace(", density: 0.4", "").replace(", density: 0.7", "")
            } else {
                text
            }
        };
        if method == "dare_ties" {
            // Masks are drawn by the model's name, so there is nothing to compare with but itself.
            let one = context.merge("dare1", &recipe([&forms[0], &forms[1]]), &[&OPTIONS[..], &["-j", "1"]].concat());
            let two = context.merge("dare2", &recipe([&forms[0], &forms[1]]), &[&OPTIONS[..], &["-j", "2"]].concat());
            assert_eq!(checkpoint::read(&one), checkpoint::read(&two));
            continue;
        }
        let out = context.merge("adapted", &recipe([&forms[0], &forms[1]]), &OPTIONS);
        let adapted = checkpoint::read(&out);
        let baked = [format!("{:?}", path("baked1")), format!("{:?}", path("baked2"))];
        let baked = checkpoint::read(&context.merge("from_baked", &recipe([&baked[0], &baked[1]]), &OPTIONS));
        assert_eq!(adapted, baked, "{method}");
        // And the formula on values that only this test computed.
        for (tensor, stored) in &adapted {
            let tuned = |i: usize, weight, density| Tuned { values: exact[i][tensor].clone(), weight, density };
            let tuned = [tuned(0, 0.6, 0.4), tuned(1, 0.3, 0.7)];
            let start = base[tensor].values();
            let options = Options { normalize: method == "ties", rescale: false, lambda: 1.0, wide: true };
            let elected = if method == "ties" {
                formulas::ties(&start, &tuned, options)
            } else {
                formulas::task_arithmetic(&start, &tuned, options)
            };
            // Elements on a threshold, or with an election that is almost a draw, may go either way in f32.
            let values = stored.values();
            let far: Vec<usize> = (0..values.len())
                .filter(|&e| !elected.close[e] && (values[e] - elected.values[e]).abs() > 1e-6)
                .collect();
            println!("{method} {tensor}: {} of {} differ", far.len(), values.len());
            let allowed = if method == "ties" { values.len() / 100_000 + 1 } else { 0 };
            assert!(far.len() <= allowed, "{method} {tensor}: {far:?}");
        }
        // The lock knows the adapters' files, and `verify` derives the tensors again.
        let lock = std::fs::read_to_string(out.join("billon.lock.json")).unwrap();
        assert_eq!(lock.matches("adapter_model.safetensors").count(), 2);
        let verified = context.run(["verify", out.to_str().unwrap(), "--sample", "9"]);
        assert_eq!(verified.code, Some(0), "{}", verified.stderr);
        assert!(verified.stdout.contains("derived"), "{}", verified.stdout);
    }
    // A changed adapter is noticed.
    let weights = context.path("one/adapter_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let verified = context.run(["verify", context.path("adapted").to_str().unwrap()]);
    assert!(verified.stdout.contains("adapter_model.safetensors"), "{} {}", verified.stdout, verified.stderr);
}

#[test]
fn adapters_that_do_not_fit_their_model_are_refused_where_they_are_named() {
    let context = Context::new();
    let adapters = fixture("models/adapters");
    let refusal = |base: &str, adapter: &str| {
        let model = format!("{}+{}", fixture("models").join(base).display(), adapters.join(adapter).display());
        let recipe = context.write("r.yml", &format!("merge_method: passthrough\nmodels:\n  - model: {model:?}\n"));
        let run = context.run(["plan", recipe.to_str().unwrap()]);
        assert_ne!(run.code, Some(0), "{base}+{adapter}");
        assert!(run.stderr.contains("r.yml:3"), "{}", run.stderr);
        run.stderr
    };
    assert!(refusal("phi3", "llama-plain").contains("which `"), "another family");
    assert!(refusal("mistral", "llama-plain").contains("as ["), "other shapes");
    assert!(refusal("llama", "llama-saved").contains("tie_word_embeddings"));
    assert!(refusal("llama", "none").contains("was not found"));
    assert!(refusal("llama", "../llama").contains("is no adapter"));
}

fn merged(text: &str) -> MergedModel {
    let options = MergeOptions { workers: Workers::new(2), ..MergeOptions::default() };
    let cancel = CancelFlag::default();
    let progress = Progress { reporter: &Silent, cancel: &cancel };
    let recipe = RecipeFile::parse("recipe.yml".as_ref(), text, false);
    in_memory(&recipe, &options, &Cpu, progress).unwrap()
}

fn logits(source: &dyn TensorSource) -> Vec<f32> {
    logits_with(source, &DecoderOptions::default())
}

fn logits_with(source: &dyn TensorSource, options: &DecoderOptions) -> Vec<f32> {
    let decoder = Decoder::open(source, options).unwrap();
    let tokens: Vec<u32> = (3..40).collect();
    let segment =
        Segment { tokens: &tokens, past: Vec::new(), factors: decoder.rope_factors(tokens.len()), keep: false };
    let rows: Vec<usize> = (0..tokens.len()).collect();
    let hidden = decoder.forward(&[segment], &rows).unwrap().hidden.unwrap();
    decoder.logits(&hidden, 0..rows.len()).unwrap()
}

#[test]
fn a_merge_in_memory_has_the_bytes_and_logits_of_the_one_on_disk() {
    let context = Context::new();
    let base = fixture("models/llama").display().to_string();
    let adapter = |name: &str| format!("{base}+{}", fixture("models/adapters").join(name).display());
    let single = format!(
        "merge_method: task_arithmetic\nbase_model: {base:?}\ndtype: bfloat16\nmodels:\n  \
         - {{model: {:?}, parameters: {{weight: 0.5}}}}\n  - {{model: {:?}, parameters: {{weight: 0.4}}}}\n",
        adapter("llama-rslora"),
        adapter("llama-dora")
    );
    let stages = format!(
        "name: first\n{single}---\nmerge_method: linear\nmodels:\n  - {{model: first, parameters: {{weight: 2}}}}\n  \
         - {{model: {base:?}, parameters: {{weight: 1}}}}\n"
    );
    for (name, recipe) in [("single", single), ("stages", stages)] {
        let disk = ModelDir::open(&context.merge(name, &recipe, &OPTIONS)).unwrap();
        let memory = merged(&recipe);
        assert_eq!(memory.model.tensors().len(), disk.tensors().len());
        for (tensor, place) in memory.model.tensors() {
            assert_eq!(memory.model.bytes(place), disk.bytes(&disk.tensors()[tensor]), "{name} {tensor}");
        }
        assert_eq!(memory.model.config().unwrap().value(), disk.config().unwrap().value());
        let (ours, theirs) = (logits(memory.model.as_ref()), logits(&disk));
        assert!(ours.iter().zip(&theirs).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
        let plain = logits(&ModelDir::open(&fixture("models/llama")).unwrap());
        assert!(ours.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 0.1), "{name} must matter");
        let files: Vec<String> = memory.identity().into_iter().map(|(name, _)| name).collect();
        assert!(files.iter().any(|name| name.ends_with("llama-dora/adapter_model.safetensors")), "{files:?}");
    }
}

/// Adding an adapter while opening and baking it in f32 beforehand are the same model.
#[test]
fn a_decoder_with_an_adapter_is_the_decoder_of_the_baked_model() {
    let base = fixture("models/llama");
    for name in ["llama-rslora", "llama-dora"] {
        let folder = fixture("models/adapters").join(name);
        let recipe = format!(
            "merge_method: passthrough\nmodels: [{{model: {:?}}}]\n",
            format!("{}+{}", base.display(), folder.display())
        );
        let adapters = vec![WeightedAdapter { adapter: Adapter::open(&folder).unwrap(), weight: 1.0 }];
        let options = DecoderOptions { adapters, ..DecoderOptions::default() };
        let (ours, baked) =
            (logits_with(&ModelDir::open(&base).unwrap(), &options), logits(merged(&recipe).model.as_ref()));
        assert!(ours.iter().zip(&baked).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
    }
}

/// A merge in memory is asked like a directory, under an identity of its own.
#[test]
fn a_merge_in_memory_opens_for_evaluation() {
    let base = fixture("eval/model");
    let options = LocalOptions { batch_tokens: 64, seed: 0, workers: Workers::new(2) };
    let cancel = CancelFlag::default();
    let progress = Progress { reporter: &Silent, cancel: &cancel };
    let open = |scale: &str| {
        let recipe = format!(
            "merge_method: passthrough\nmodels: [{{model: {:?}, parameters: {{scale: {scale}}}}}]\n",
            base.display().to_string()
        );
        open_merged(&merged(&recipe), WeightDtype::F32, options, progress).unwrap()
    };
    let (same, scaled) = (open("1.0"), open("1.01"));
    let directory = open_model(&base, &[], WeightDtype::F32, None, options, progress).unwrap();
    assert_eq!(same.parameters, directory.parameters);
    assert_eq!(same.tokenizer.sha256(), directory.tokenizer.sha256());
    let digests = [&same, &scaled, &directory].map(|opened| opened.identity.digest());
    assert!(digests[0] != digests[1] && digests[0] != digests[2] && digests[1] != digests[2]);
    assert_eq!(open("1.0").identity.digest(), digests[0]);
    assert_eq!(same.model.decoder().eos_token_ids(), directory.model.decoder().eos_token_ids());
}
