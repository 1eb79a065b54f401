//! From a recipe to variables in a decoder, and back to files' tensors.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use candle_core::Tensor;
use ndarray::Array2;

use super::full::FullProjection;
use super::lora::{Dora, LoraProjection};
use super::refresh::Refresh;
use super::start::same_targets;
use crate::compute::nn::PackedMatrix;
use crate::error::{Error, Result};
use crate::lora::{self, Adapter, Factors, LoraConfig, SavedTensor};
use crate::model::ops::PackedLinear;
use crate::model::{Decoder, Projection};
use crate::parallel::Workers;
use crate::rng::{Philox, stream_key};
use crate::suggest::nearest;
use crate::train::error::TrainError;
use crate::train::parameter::{LearningRateGroup, Parameter};
use crate::train::recipe::{AdapterRecipe, TrainRecipe};

/// A decoder whose parameters are trained.
pub(crate) struct TrainableModel {
    /// The decoder that uses them.
    pub decoder: Arc<Decoder>,
    /// The parameters, in the model's order.
    pub parameters: Vec<Parameter>,
    /// The adapter's settings; none where the model itself is trained.
    pub lora: Option<LoraConfig>,
    /// Warnings about the limits of the trained parameters.
    pub warnings: Vec<String>,
    refresh: Vec<Arc<dyn Refresh>>,
    /// Threads that train.
    pub(crate) workers: Workers,
}

/// Makes a recipe's parameters and puts them into the decoder.
///
/// Factors start as PEFT starts them (A uniform in ±1/√inputs, B zero, magnitudes the rows' lengths), or as
/// `start` has them; everything trained whole starts from the model's own values. The recipe must be [`settled`](super::settled)
/// with the adapter that it starts from.
///
/// # Errors
/// Modules that no layer has, a start that does not fit, settings that are not supported.
pub(crate) fn inject(
    mut decoder: Decoder,
    recipe: &TrainRecipe,
    start: Option<&Adapter>,
    workers: Workers,
) -> Result<TrainableModel> {
    let mut modules: Vec<Module> = Vec::new();
    decoder.map_projections(|name, projection| {
        if let Some(linear) = projection.frozen() {
            let part = (name.first_row, linear.clone());
            match modules.iter_mut().find(|module| module.name == name.module) {
                Some(module) => module.parts.push(part),
                None => modules.push(Module { name: name.module.clone(), parts: vec![part] }),
            }
        }
        projection
    });
    let mut build =
        Build { parameters: Vec::new(), refresh: Vec::new(), replaced: BTreeMap::new(), warnings: Vec::new() };
    let lora = match &recipe.adapter {
        AdapterRecipe::Lora(settings) => {
            let own = super::config::config(settings, &recipe.base_model)?;
            let config = match start {
                // With what the recipe can't say: which layers are left out, and how the factors once began.
                Some(start) => {
                    let mut config = start.config().clone();
                    config.dropout = own.dropout;
                    config
                }
                None => own.clone(),
            };
            if config.use_dora && config.dropout > 0.0 {
                let reason = "DoRA drops nothing here: set lora_dropout to 0".to_owned();
                return Err(TrainError::Unsupported { key: "lora_dropout", reason }.into());
            }
            let targets = lora::targets(&own, modules.iter().map(|module| module.name.as_str()))?;
            if let Some(start) = start {
                same_targets(&targets, start)?;
            }
            for module in &modules {
                if targets.contains(&module.name) {
                    build.lora(module, &config, start, recipe.seed)?;
                } else if lora::is_saved_whole(&config, &module.name) {
                    build.full(module)?;
                }
            }
            let whole = |name: &str| lora::is_saved_whole(&config, name);
            build.outside_layers(&mut decoder, &whole, false)?;
            build.restore(start)?;
            every_module_exists(&config, &build.parameters, &modules)?;
            Some(config)
        }
        AdapterRecipe::Full => {
            for module in &modules {
                build.full(module)?;
            }
            build.outside_layers(&mut decoder, &|_| true, true)?;
            None
        }
    };
    let Build { parameters, refresh, mut replaced, warnings } = build;
    decoder.map_projections(|name, old| replaced.remove(&(name.module.clone(), name.first_row)).unwrap_or(old));
    let trainable = TrainableModel { decoder: Arc::new(decoder), parameters, lora, warnings, refresh, workers };
    trainable.refresh()?;
    Ok(trainable)
}

/// One linear layer of the checkpoint, with the parts that the decoder cuts it into.
struct Module {
    name: String,
    parts: Vec<(usize, PackedLinear)>,
}

impl Module {
    fn outputs(&self) -> usize {
        self.parts.iter().map(|(_, part)| part.weight.n()).sum()
    }

    fn inputs(&self) -> usize {
        self.parts.first().map_or(0, |(_, part)| part.weight.k())
    }
}

struct Build {
    parameters: Vec<Parameter>,
    refresh: Vec<Arc<dyn Refresh>>,
    /// By module and first row.
    replaced: BTreeMap<(String, usize), Box<dyn Projection>>,
    warnings: Vec<String>,
}

impl Build {
    fn parameter(
        &mut self,
        name: String,
        shape: &[usize],
        values: Vec<f32>,
        group: LearningRateGroup,
    ) -> Result<Tensor> {
        let parameter = Parameter::new(name, shape, values, group)?;
        let tensor = parameter.variable.as_tensor().clone();
        self.parameters.push(parameter);
        Ok(tensor)
    }

    fn lora(&mut self, module: &Module, config: &LoraConfig, start: Option<&Adapter>, seed: u64) -> Result<()> {
        let name = &module.name;
        let (r, scale) = config.rank_and_scale(name)?;
        let (n, k) = (module.outputs(), module.inputs());
        let factors = start.and_then(|start| start.factors().get(name));
        if start.is_some() && factors.is_none_or(|f| (f.inputs(), f.outputs(), f.rank()) != (k, n, r)) {
            let reason = format!("the adapter to start from has no factors {r}x{k} and {n}x{r} for `{name}`");
            return Err(TrainError::Unsupported { key: "init_from", reason }.into());
        }
        let a = factors
            .map_or_else(|| uniform(seed, name, r * k, 1.0 / (k as f32).sqrt()), |f| f.a().iter().copied().collect());
        let b = factors.map_or_else(|| vec![0.0; n * r], |f| f.b().iter().copied().collect());
        let a = self.parameter(format!("{name}.lora_A.weight"), &[r, k], a, LearningRateGroup::Plain)?;
        let b = self.parameter(format!("{name}.lora_B.weight"), &[n, r], b, LearningRateGroup::LoraB)?;
        let projection = |first_row: usize, base: &PackedLinear, dora: Option<Dora>| LoraProjection {
            base: base.clone(),
            a: a.clone(),
            b: b.clone(),
            first_row,
            scale: scale as f32,
            dropout: config.dropout as f32,
            module: name.clone(),
            dora,
        };
        let magnitude = if config.use_dora {
            let values = match factors.and_then(|factors| factors.magnitude()) {
                Some(magnitude) => magnitude.to_vec(),
                None => {
                    let mut norms = Vec::with_capacity(n);
                    for (first_row, base) in &module.parts {
                        norms.extend(projection(*first_row, base, None).norms().map_err(TrainError::from)?);
                    }
                    norms
                }
            };
            Some(self.parameter(format!("{name}.lora_magnitude_vector"), &[n], values, LearningRateGroup::LoraB)?)
        } else {
            None
        };
        for (first_row, base) in &module.parts {
            let dora = magnitude.as_ref().map(|m| Dora { magnitude: m.clone(), norm: RwLock::new(Vec::new().into()) });
            let projection = Arc::new(projection(*first_row, base, dora));
            if config.use_dora {
                self.refresh.push(Arc::clone(&projection) as Arc<dyn Refresh>);
            }
            self.replaced.insert((name.clone(), *first_row), Box::new(projection));
        }
        Ok(())
    }

    fn full(&mut self, module: &Module) -> Result<()> {
        let (n, k) = (module.outputs(), module.inputs());
        let (mut values, mut biases) = (Vec::with_capacity(n * k), Vec::new());
        for (_, part) in &module.parts {
            values.extend(rows(&part.weight));
            biases.extend(part.bias.iter().flat_map(|bias| bias.iter().copied()));
        }
        let weight = self.parameter(format!("{}.weight", module.name), &[n, k], values, LearningRateGroup::Plain)?;
        let bias = if biases.is_empty() {
            None
        } else {
            Some(self.parameter(format!("{}.bias", module.name), &[n], biases, LearningRateGroup::Plain)?)
        };
        for (first_row, part) in &module.parts {
            let packed = Arc::clone(&part.weight);
            let projection = Arc::new(FullProjection::new(weight.clone(), bias.clone(), *first_row, packed));
            self.refresh.push(Arc::clone(&projection) as Arc<dyn Refresh>);
            self.replaced.insert((module.name.clone(), *first_row), Box::new(projection));
        }
        Ok(())
    }

    /// Norms, embeddings and the head. One matrix that the model uses as both stays one where `keeps_tie`; otherwise each
    /// that is trained gets a copy of its own, as PEFT's `modules_to_save` does.
    fn outside_layers(&mut self, decoder: &mut Decoder, whole: &dyn Fn(&str) -> bool, keeps_tie: bool) -> Result<()> {
        let mut failure: Option<Error> = None;
        let mut prefix = String::new();
        decoder.map_norms(|name, weight| {
            name.strip_suffix("norm.weight").unwrap_or(name).clone_into(&mut prefix);
            let module = name.strip_suffix(".weight").unwrap_or(name);
            if !whole(module) {
                return None;
            }
            self.parameter(name.to_owned(), &[weight.len()], weight.to_vec(), LearningRateGroup::Plain)
                .map_err(|error| failure = Some(error))
                .ok()
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let (vocabulary, hidden) = (decoder.config().vocab_size, decoder.config().hidden_size);
        let tied = decoder.config().tie_word_embeddings;
        let embedding = format!("{prefix}embed_tokens");
        let head_name = if prefix == "language_model.model." { "language_model.lm_head" } else { "lm_head" };
        let (trains_embedding, trains_head) = (whole(&embedding), whole(head_name));
        if tied && !keeps_tie && (trains_embedding || trains_head) {
            let trained = match (trains_embedding, trains_head) {
                (true, true) => "each is trained by itself",
                (true, false) => "only the embeddings are trained",
                _ => "only the head is trained",
            };
            self.warnings.push(format!(
                "`modules_to_save`: embeddings and head are one matrix in the base model; in the adapter they part, and \
                 {trained}, as in PEFT"
            ));
        }
        let mut table = None;
        if trains_embedding {
            let values = decoder.frozen_embedding().map(rows).expect("a decoder that trains its embedding has it");
            let variable =
                self.parameter(format!("{embedding}.weight"), &[vocabulary, hidden], values, LearningRateGroup::Plain)?;
            table = Some(variable.clone());
            decoder.train_embedding(variable);
        }
        if trains_head && let Some(linear) = decoder.head().frozen().cloned() {
            let weight = match table.filter(|_| tied && keeps_tie) {
                Some(table) => table,
                None => {
                    let values = rows(&linear.weight);
                    self.parameter(
                        format!("{head_name}.weight"),
                        &[vocabulary, hidden],
                        values,
                        LearningRateGroup::Plain,
                    )?
                }
            };
            let head = Arc::new(FullProjection::new(weight, None, 0, linear.weight));
            self.refresh.push(Arc::clone(&head) as Arc<dyn Refresh>);
            decoder.map_head(|_| Box::new(head));
        }
        Ok(())
    }

    /// Takes over what an adapter to start from has trained whole.
    fn restore(&mut self, start: Option<&Adapter>) -> Result<()> {
        let Some(start) = start else { return Ok(()) };
        for (name, tensor) in start.saved() {
            let parameter = self.parameters.iter().find(|parameter| parameter.name == *name);
            let mut values = vec![0.0; tensor.shape.iter().product::<u64>() as usize];
            crate::dtype::widen(tensor.dtype, &tensor.bytes, &mut values);
            match parameter.filter(|parameter| parameter.elements() == values.len()) {
                Some(parameter) => parameter.set(values)?,
                None => {
                    let reason = format!("the adapter to start from has a tensor `{name}` that this model has not");
                    return Err(TrainError::Unsupported { key: "init_from", reason }.into());
                }
            }
        }
        Ok(())
    }
}

/// Every name of `modules_to_save` has something trained whole; PEFT would look for it in vain at the end of the run.
fn every_module_exists(config: &LoraConfig, parameters: &[Parameter], modules: &[Module]) -> Result<(), TrainError> {
    let trained: Vec<&str> = parameters
        .iter()
        .filter(|parameter| !parameter.name.contains(".lora_"))
        .filter_map(|parameter| parameter.name.rsplit_once('.').map(|(module, _)| module))
        .collect();
    for name in &config.modules_to_save {
        let mut single = config.clone();
        single.modules_to_save = vec![name.clone()];
        if !trained.iter().any(|module| lora::is_saved_whole(&single, module)) {
            let ends = modules.iter().filter_map(|module| module.name.rsplit('.').next()).map(str::to_owned);
            let others = ["embed_tokens", "lm_head", "norm", "input_layernorm", "post_attention_layernorm"];
            let known: Vec<String> = ends.chain(others.map(str::to_owned)).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(TrainError::UnknownModule {
                name: name.clone(),
                nearest: nearest(name, &known).map(str::to_owned),
            });
        }
    }
    Ok(())
}

/// All rows of a packed weight.
fn rows(weight: &PackedMatrix) -> Vec<f32> {
    let mut values = vec![0.0; weight.n() * weight.k()];
    for (row, out) in values.chunks_exact_mut(weight.k().max(1)).enumerate() {
        weight.row(row, out);
    }
    values
}

/// Values evenly in ±`bound`.
fn uniform(seed: u64, name: &str, count: usize, bound: f32) -> Vec<f32> {
    let random = Philox::new(stream_key(seed, &["lora_A", name]));
    let draw = |counter: usize| random.block(counter as u64);
    let place = |u: u32| bound * (2.0 * (f64::from(u) + 0.5) / 4_294_967_296.0 - 1.0) as f32;
    (0..count.div_ceil(4)).flat_map(draw).take(count).map(place).collect()
}

impl TrainableModel {
    /// Derives what projections keep of their parameters again; after each optimiser step.
    ///
    /// # Errors
    /// Errors of the tensor library.
    pub(crate) fn refresh(&self) -> Result<(), TrainError> {
        self.workers.for_each_index(self.refresh.len(), |index| self.refresh[index].refresh())
    }

    /// Trained elements.
    #[must_use]
    pub(crate) fn elements(&self) -> u64 {
        self.parameters.iter().map(|parameter| parameter.elements() as u64).sum()
    }

    /// Replaces the parameters by an adapter's, of the same settings.
    ///
    /// # Errors
    /// A tensor that is missing or of another size.
    pub(crate) fn load(&self, adapter: &Adapter) -> Result<()> {
        for parameter in &self.parameters {
            let name = parameter.name.as_str();
            let factors = |suffix: &str| name.strip_suffix(suffix).and_then(|module| adapter.factors().get(module));
            let values = if let Some(factors) = factors(".lora_A.weight") {
                factors.a().iter().copied().collect()
            } else if let Some(factors) = factors(".lora_B.weight") {
                factors.b().iter().copied().collect()
            } else if let Some(factors) = factors(".lora_magnitude_vector") {
                factors.magnitude().expect("a parameter of this name is one of DoRA").to_vec()
            } else if let Some(tensor) = adapter.saved().get(name) {
                let mut values = vec![0.0; tensor.shape.iter().product::<u64>() as usize];
                crate::dtype::widen(tensor.dtype, &tensor.bytes, &mut values);
                values
            } else {
                Vec::new()
            };
            if values.len() != parameter.elements() {
                let reason = format!("tensor `{name}` is missing or has another size");
                return Err(TrainError::Checkpoint { path: adapter.path().to_owned(), reason }.into());
            }
            parameter.set(values)?;
        }
        Ok(self.refresh()?)
    }

    /// The parameters as a PEFT adapter; none where the model itself is trained.
    ///
    /// # Errors
    /// Errors of the tensor library.
    pub(crate) fn adapter(&self) -> Result<Option<Adapter>> {
        let Some(config) = &self.lora else { return Ok(None) };
        let empty = || Factors { a: Array2::default((0, 0)), b: Array2::default((0, 0)), magnitude: None };
        let (mut factors, mut saved) = (BTreeMap::<String, Factors>::new(), BTreeMap::new());
        for parameter in &self.parameters {
            let values = parameter.values()?;
            let dims = parameter.variable.dims().to_vec();
            let matrix = |values| {
                let shape = parameter.variable.dims2()?;
                Array2::from_shape_vec(shape, values).map_err(candle_core::Error::wrap)
            };
            let name = parameter.name.as_str();
            if let Some(module) = name.strip_suffix(".lora_A.weight") {
                factors.entry(module.to_owned()).or_insert_with(empty).a = matrix(values).map_err(TrainError::from)?;
            } else if let Some(module) = name.strip_suffix(".lora_B.weight") {
                factors.entry(module.to_owned()).or_insert_with(empty).b = matrix(values).map_err(TrainError::from)?;
            } else if let Some(module) = name.strip_suffix(".lora_magnitude_vector") {
                factors.entry(module.to_owned()).or_insert_with(empty).magnitude = Some(values);
            } else {
                let shape: Vec<u64> = dims.iter().map(|dim| *dim as u64).collect();
                saved.insert(name.to_owned(), SavedTensor::of(&shape, &values));
            }
        }
        Ok(Some(Adapter::from_parts(config.clone(), factors, saved)?))
    }
}
