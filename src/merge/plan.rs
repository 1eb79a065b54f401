//! From a recipe and opened models to a complete plan: every output tensor knows its inputs,
//! parameters, dtype and place before the first byte is computed.

use std::collections::{BTreeMap, BTreeSet};

use super::chunk::CHUNK_ELEMENTS;
use super::method::{self, BaseRule, FOREIGN_METHODS, InputContract, MergeMethod, TensorParameters, Values};
use super::parameters::{ParameterResolver, Position};
use super::sources::{Model, PlannedResult, Resolver};
use crate::arch::{self, Place};
use crate::backend::Precision;
use crate::checkpoint::config::{ConfigEdit, ModelConfig};
use crate::checkpoint::layout::{Layout, OutputTensor};
use crate::checkpoint::model_dir::Tensor;
use crate::dtype::DType;
use crate::error::ErrorKind;
use crate::recipe::schema::TokenizerSource;
use crate::recipe::setting::Setting;
use crate::recipe::{Assembly, Diagnostics, ModelReference, OutputSlice, Recipe, Source, Span};
use crate::rng::stream_key;

/// Choices that are not part of a recipe.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Seed of random masks.
    pub seed: u64,
    /// Largest shard, in bytes of tensor data.
    pub max_shard_bytes: u64,
    /// Overrides the recipe's `trim_scope`.
    pub trim_scope: Option<&'static str>,
    /// Unknown keys are warnings.
    pub lenient: bool,
    /// Merge models of different architectures.
    pub allow_crimes: bool,
    /// Cut vocabulary tensors to the smallest row count.
    pub truncate_embeddings: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            max_shard_bytes: 5_000_000_000,
            trim_scope: None,
            lenient: false,
            allow_crimes: false,
            truncate_embeddings: false,
        }
    }
}

/// One input of an output tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct JobInput {
    /// Index into [`MergePlan::models`].
    pub model: usize,
    /// Name of the tensor there.
    pub name: String,
    /// Where it is; the range covers just the elements that take part.
    pub tensor: Tensor,
}

/// One output tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorJob {
    /// Index into [`MergePlan::outputs`].
    pub output: usize,
    /// Its inputs in recipe order.
    pub inputs: Vec<JobInput>,
    /// What the method is given.
    pub parameters: TensorParameters,
    /// Copied from its first input without arithmetic: integers, and tensors only one model has.
    pub verbatim: bool,
}

impl TensorJob {
    /// Bytes of all inputs.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.inputs.iter().map(|i| i.tensor.bytes()).sum()
    }
}

/// Everything a merge will do.
#[derive(Debug)]
pub struct MergePlan {
    /// The method.
    pub method: &'static dyn MergeMethod,
    /// The models.
    pub models: Vec<Model>,
    /// Index of the model whose config and tokenizer are taken over.
    pub donor: usize,
    /// Output tensors by name.
    pub outputs: Vec<OutputTensor>,
    /// What is done for each, in file order.
    pub jobs: Vec<TensorJob>,
    /// Where they go.
    pub layout: Layout,
    /// Changes to the donor's config.
    pub config: ConfigEdit,
    /// Seed of random masks.
    pub seed: u64,
}

impl MergePlan {
    /// Bytes that the map pass reads.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.jobs.iter().map(TensorJob::bytes_read).sum()
    }

    /// Bytes of all shards.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.layout.bytes()
    }

    /// Number of parameters of the output.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.outputs.iter().map(|o| o.shape.iter().product::<u64>()).sum()
    }

    /// A bound on resident memory with `threads` threads: the window of mapped inputs, a chunk of
    /// every input and the output per thread, and what trimming collects of the largest tensor.
    #[must_use]
    pub fn peak_memory(&self, threads: usize) -> u64 {
        let window = self.bytes_read().min(super::executor::WINDOW_BYTES);
        let largest = self.outputs.iter().map(|o| o.shape.iter().product::<u64>()).max().unwrap_or(0);
        let inputs = self.jobs.iter().map(|j| j.inputs.len()).max().unwrap_or(0) as u64;
        let per_thread = (inputs + 1) * CHUNK_ELEMENTS.min(largest) * 4;
        let trimming = if self.jobs.iter().any(|j| self.method.statistics(&j.parameters).needs_data()) {
            (largest / 8).min(16 << 20) * 4 * inputs.saturating_sub(1)
        } else {
            0
        };
        (24 << 20) + window + per_thread * threads as u64 + trimming
    }

    /// The donor's config with the changes made.
    #[must_use]
    pub fn edited_config(&self) -> Option<String> {
        self.models[self.donor].config.as_ref().and_then(|c| c.edited(&self.config).ok())
    }

    /// What this plan leaves behind, for stages that build on it.
    #[must_use]
    pub fn result(&self) -> PlannedResult {
        let tensors = self.outputs.iter().zip(&self.layout.places).map(|(output, &(shard, offset))| {
            let range = offset..offset + output.bytes();
            (output.name.clone(), Tensor { dtype: output.dtype, shape: output.shape.clone(), shard, range })
        });
        let config = self.edited_config().and_then(|text| ModelConfig::parse("config.json".as_ref(), text).ok());
        PlannedResult { tensors: tensors.collect(), config }
    }
}

/// Plans a recipe. `None` when it can't be planned; the reasons are then in `diagnostics`.
pub fn plan(
    recipe: &Recipe,
    resolver: &Resolver,
    options: &PlanOptions,
    diagnostics: &mut Diagnostics,
) -> Option<MergePlan> {
    plan_with(recipe, resolver, BTreeMap::new(), options, diagnostics)
}

/// Like [`plan`], with some models already open.
pub fn plan_with(
    recipe: &Recipe,
    resolver: &Resolver,
    opened: BTreeMap<ModelReference, Model>,
    options: &PlanOptions,
    diagnostics: &mut Diagnostics,
) -> Option<MergePlan> {
    let mut recipe = recipe.clone();
    if let Some(scope) = options.trim_scope {
        recipe.parameters.set("trim_scope", recipe.method.span, Setting::constant(scope, recipe.method.span));
    }
    let method = find_method(&recipe, diagnostics);
    let (models, index) = open_models(&recipe, resolver, opened, diagnostics);
    let method = method?;
    let mut parameters = ParameterResolver::new(&recipe, method, diagnostics);
    let models = models?;
    check_models(&recipe, &models, options, diagnostics);
    check_tokenizer(&recipe, &models, diagnostics);
    let donor = recipe.base_model.as_ref().and_then(|b| index.get(&b.value)).copied().unwrap_or(0);
    let slices = slices(&recipe, &models, &index, method.contract(), diagnostics)?;
    let mut planner = Planner {
        recipe: &recipe,
        method,
        models: &models,
        options,
        parameters: &mut parameters,
        diagnostics,
        outputs: Vec::new(),
        truncated_to: None,
    };
    planner.add_tensors(&slices, donor);
    let (mut outputs, truncated_to) = (std::mem::take(&mut planner.outputs), planner.truncated_to);
    let names: BTreeSet<&str> = outputs
        .iter()
        .flat_map(|(o, job)| std::iter::once(o.name.as_str()).chain(job.inputs.iter().map(|i| i.name.as_str())))
        .collect();
    parameters.report_filters(&names, diagnostics);
    if diagnostics.has_errors() {
        return None;
    }
    outputs.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let (outputs, mut jobs): (Vec<OutputTensor>, Vec<TensorJob>) = outputs.into_iter().unzip();
    let layout = Layout::plan(&outputs, options.max_shard_bytes);
    for (i, job) in jobs.iter_mut().enumerate() {
        job.output = i;
    }
    jobs.sort_by_key(|job| layout.places[job.output]);
    one_precision_per_model_trim(&mut jobs, method);
    let layers = recipe.is_layerwise().then(|| slices.iter().map(|s| s.layers).sum());
    let config = config_edit(&recipe, &models[donor], &outputs, layers, &slices, truncated_to, diagnostics);
    Some(MergePlan { method, models, donor, outputs, jobs, layout, config, seed: options.seed })
}

fn find_method(recipe: &Recipe, diagnostics: &mut Diagnostics) -> Option<&'static dyn MergeMethod> {
    let name = recipe.method.value.as_str();
    let found = method::find(name);
    if found.is_none() {
        if FOREIGN_METHODS.contains(&name) {
            let message = format!("method `{name}` is mergekit's and not part of this version of billon");
            let have: Vec<&str> = method::REGISTRY.iter().map(|m| m.name()).collect();
            diagnostics.error_help(recipe.method.span, message, format!("methods here: {}", have.join(", ")));
        } else {
            let names: Vec<&str> = method::REGISTRY.iter().map(|m| m.name()).collect();
            let help = crate::recipe::diagnostic::nearest(name, &names)
                .map_or_else(|| format!("methods: {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
            diagnostics.error_help(recipe.method.span, format!("unknown merge method `{name}`"), help);
        }
    }
    found
}

type ModelIndex = BTreeMap<ModelReference, usize>;

fn open_models(
    recipe: &Recipe,
    resolver: &Resolver,
    mut opened: BTreeMap<ModelReference, Model>,
    diagnostics: &mut Diagnostics,
) -> (Option<Vec<Model>>, ModelIndex) {
    let slice_bases: Vec<_> = match &recipe.assembly {
        Assembly::Slices(slices) => slices.iter().filter_map(|s| s.base_model.as_ref()).collect(),
        Assembly::Models(_) => Vec::new(),
    };
    let references = recipe.sources().map(|s| &s.model).chain(&recipe.base_model).chain(slice_bases);
    let mut models = Vec::new();
    let mut index = ModelIndex::new();
    let mut complete = true;
    let mut failed = BTreeSet::new();
    for reference in references {
        if index.contains_key(&reference.value) || failed.contains(&reference.value) {
            continue;
        }
        let model =
            opened.remove(&reference.value).or_else(|| resolver.open(&reference.value, reference.span, diagnostics));
        match model {
            Some(model) => {
                index.insert(reference.value.clone(), models.len());
                models.push(model);
            }
            None => {
                complete = false;
                failed.insert(reference.value.clone());
            }
        }
    }
    ((complete && !models.is_empty()).then_some(models), index)
}

fn check_models(recipe: &Recipe, models: &[Model], options: &PlanOptions, diagnostics: &mut Diagnostics) {
    let mut known = models.iter().filter_map(|m| m.architecture().map(|a| (m, a)));
    if let Some((first, architecture)) = known.next() {
        for (model, other) in known.filter(|(_, a)| *a != architecture) {
            let message = format!("`{}` is a {architecture} but `{}` is a {other}", first.reference, model.reference);
            let span = recipe.sources().find(|s| s.model.value == model.reference).map(|s| s.model.span);
            if options.allow_crimes {
                diagnostics.warning(span, message, None);
            } else {
                let help = "pass --allow-crimes to merge them all the same";
                diagnostics.model_error(ErrorKind::Mismatch, span, message, help);
            }
        }
    }
    for model in models {
        let config = model.config.as_ref().and_then(ModelConfig::layer_count);
        if let Some(config) = config.filter(|c| model.stack.count() > 0 && *c != model.stack.count()) {
            let message = format!(
                "`{}`: config.json says {config} layers but the weights have {} (`{}*`)",
                model.reference,
                model.stack.count(),
                model.stack.prefix()
            );
            diagnostics.warning(None, message, None);
        }
    }
}

/// A tokenizer source changes nothing when all models have the same tokenizer; anything else would
/// mean rewriting vocabularies.
fn check_tokenizer(recipe: &Recipe, models: &[Model], diagnostics: &mut Diagnostics) {
    if let Some(span) = recipe.chat_template {
        diagnostics.error_help(
            span,
            "`chat_template` is not supported by this version",
            "remove the key: the donor's template is copied; edit it in the output's tokenizer_config.json",
        );
    }
    let Some(tokenizer) = &recipe.tokenizer else { return };
    let texts: BTreeSet<Option<Vec<u8>>> = models
        .iter()
        .map(|m| m.dir.as_ref().and_then(|d| std::fs::read(d.root().join("tokenizer.json")).ok()))
        .collect();
    let rows: BTreeSet<u64> = models
        .iter()
        .flat_map(|m| m.tensors.iter().filter(|(name, _)| arch::is_vocabulary_indexed(name)))
        .filter_map(|(_, t)| t.shape.first().copied())
        .collect();
    let same = texts.len() == 1 && texts.first().is_some_and(Option::is_some) && rows.len() <= 1;
    if tokenizer.value == TokenizerSource::Custom || !same {
        diagnostics.error_help(
            tokenizer.span,
            "building a new tokenizer is not supported by this version, and these models do not all have the same one",
            "give all models the same tokenizer.json and vocabulary size first, or remove the key to copy the donor's",
        );
    }
}

/// A slice with its models found and its range checked.
struct PlannedSlice<'a> {
    slice: Option<&'a OutputSlice>,
    /// Model, its source (none for a base that is only named as such), first layer.
    inputs: Vec<(usize, Option<&'a Source>, u64)>,
    base: Option<usize>,
    layers: u64,
    /// A source was refused, so that counting the inputs would mislead.
    incomplete: bool,
}

fn slices<'a>(
    recipe: &'a Recipe,
    models: &[Model],
    index: &ModelIndex,
    contract: InputContract,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<PlannedSlice<'a>>> {
    let base = recipe.base_model.as_ref();
    let planned = match &recipe.assembly {
        Assembly::Models(sources) => {
            let mut inputs: Vec<_> = sources.iter().map(|s| (index[&s.model.value], Some(s), 0)).collect();
            report_repeated(sources, diagnostics);
            if let Some(base) = base {
                let base = index[&base.value];
                if !inputs.iter().any(|(model, ..)| *model == base) {
                    inputs.push((base, None, 0));
                }
            }
            let counts: BTreeSet<u64> = inputs.iter().map(|(m, ..)| models[*m].stack.count()).collect();
            if counts.len() > 1 {
                let list: Vec<String> = inputs
                    .iter()
                    .map(|(m, ..)| format!("`{}` has {}", models[*m].reference, models[*m].stack.count()))
                    .collect();
                diagnostics.error_help(
                    recipe.method.span,
                    format!("the models have different numbers of layers: {}", list.join(", ")),
                    "use `slices:` to pick layers",
                );
            }
            let layers = counts.last().copied().unwrap_or(0);
            vec![PlannedSlice { slice: None, inputs, base: base.map(|b| index[&b.value]), layers, incomplete: false }]
        }
        Assembly::Slices(slices) => slices
            .iter()
            .map(|slice| {
                report_repeated(&slice.sources, diagnostics);
                let base = slice.base_model.as_ref().or(base).map(|b| index[&b.value]);
                planned_slice(slice, models, index, base, diagnostics)
            })
            .collect(),
    };
    for slice in planned.iter().filter(|s| !s.incomplete) {
        check_contract(recipe, slice, contract, models, diagnostics);
    }
    (!diagnostics.has_errors() || planned.iter().all(|s| !s.inputs.is_empty())).then_some(planned)
}

fn report_repeated(sources: &[Source], diagnostics: &mut Diagnostics) {
    let mut seen = BTreeSet::new();
    for source in sources {
        if !seen.insert(&source.model.value) {
            diagnostics.error_help(
                source.model.span,
                format!("model `{}` is listed twice", source.model.value),
                "a model can take part once in a slice; add up its weights, or use two slices",
            );
        }
    }
}

fn planned_slice<'a>(
    slice: &'a OutputSlice,
    models: &[Model],
    index: &ModelIndex,
    base: Option<usize>,
    diagnostics: &mut Diagnostics,
) -> PlannedSlice<'a> {
    let mut lengths = BTreeSet::new();
    let mut inputs = Vec::new();
    for source in &slice.sources {
        let model = index[&source.model.value];
        let count = models[model].stack.count();
        let Some(range) = &source.layer_range else { continue };
        let (start, end) = range.value;
        let valid = start >= 0 && end >= start && u64::try_from(end).is_ok_and(|end| end <= count);
        if !valid {
            diagnostics.error_help(
                range.span,
                format!("layer range [{start}, {end}] does not fit `{}`", source.model.value),
                format!("the model has {count} layers: 0 <= start <= end <= {count}"),
            );
            continue;
        }
        lengths.insert((end - start).unsigned_abs());
        inputs.push((model, Some(source), start.unsigned_abs()));
    }
    if lengths.len() > 1 {
        diagnostics.error(slice.span, "the sources of a slice must span the same number of layers");
    }
    let incomplete = inputs.len() < slice.sources.len();
    PlannedSlice { slice: Some(slice), inputs, base, layers: lengths.first().copied().unwrap_or(0), incomplete }
}

fn check_contract(
    recipe: &Recipe,
    slice: &PlannedSlice<'_>,
    contract: InputContract,
    models: &[Model],
    diagnostics: &mut Diagnostics,
) {
    let span = slice.slice.map_or(recipe.method.span, |s| s.span);
    let method = &recipe.method.value;
    let present = slice.base.is_some_and(|base| slice.inputs.iter().any(|(model, ..)| *model == base));
    if contract.base == BaseRule::Required && !present {
        match slice.base {
            None => diagnostics.error_help(
                span,
                format!("method `{method}` needs a `base_model`"),
                "name the model that the others were fine-tuned from",
            ),
            Some(base) => diagnostics.error_help(
                span,
                format!("method `{method}` needs the base model among the sources of the slice"),
                format!("add `{}` with its layer range", models[base].reference),
            ),
        }
        return;
    }
    let counted = if contract.base == BaseRule::Ignored {
        slice.inputs.len()
    } else {
        slice.inputs.iter().filter(|(model, ..)| Some(*model) != slice.base).count()
    };
    if counted < contract.least || counted > contract.most {
        let what = if contract.base == BaseRule::Ignored { "" } else { " besides the base" };
        let wanted = if contract.least == contract.most {
            format!("exactly {} model{}{what}", contract.least, if contract.least == 1 { "" } else { "s" })
        } else {
            format!("at least {} model{}{what}", contract.least, if contract.least == 1 { "" } else { "s" })
        };
        diagnostics.error(span, format!("method `{method}` takes {wanted}; here are {counted}"));
    }
}

/// Collects output tensors.
struct Planner<'a, 'r> {
    recipe: &'a Recipe,
    method: &'static dyn MergeMethod,
    models: &'a [Model],
    options: &'a PlanOptions,
    parameters: &'a mut ParameterResolver<'r>,
    diagnostics: &'a mut Diagnostics,
    outputs: Vec<(OutputTensor, TensorJob)>,
    truncated_to: Option<u64>,
}

impl Planner<'_, '_> {
    fn add_tensors(&mut self, slices: &[PlannedSlice<'_>], donor: usize) {
        let (Some(first), Some(last)) = (slices.first(), slices.last()) else { return };
        for (slice, place) in [(first, Place::Before), (last, Place::After)] {
            let names: BTreeSet<&str> = slice
                .inputs
                .iter()
                .flat_map(|(model, ..)| {
                    let model = &self.models[*model];
                    let outside =
                        move |name: &&str| model.stack.layer(name).is_none() && model.stack.place(name) == place;
                    model.tensors.keys().map(String::as_str).filter(outside)
                })
                .collect();
            for name in names {
                // Tensors outside the layers take the first value of a gradient, final norm and
                // head included.
                self.add(slice, name, 0.0, |_, _| name.to_owned());
            }
        }
        let mut output_layer = 0;
        for slice in slices {
            for layer in 0..slice.layers {
                let rests: BTreeSet<&str> = slice
                    .inputs
                    .iter()
                    .flat_map(|(model, _, start)| {
                        let model = &self.models[*model];
                        let wanted = start + layer;
                        model.tensors.keys().filter_map(move |name| {
                            model.stack.layer(name).filter(|(number, _)| *number == wanted).map(|(_, rest)| rest)
                        })
                    })
                    .collect();
                let t = if slice.layers > 1 { layer as f64 / (slice.layers - 1) as f64 } else { 1.0 };
                for rest in rests {
                    let output = self.models[donor].stack.name(output_layer, rest);
                    self.add(slice, &output, t, |model, start| model.stack.name(start + layer, rest));
                }
                output_layer += 1;
            }
        }
    }

    /// Adds one output tensor; `input_name` gives its name in a model.
    fn add(&mut self, slice: &PlannedSlice<'_>, output: &str, t: f64, input_name: impl Fn(&Model, u64) -> String) {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (model, source, start) in &slice.inputs {
            let entry = &self.models[*model];
            let name = input_name(entry, *start);
            let tied = || arch::tied_source(&name, entry.tensors.keys().map(String::as_str)).map(str::to_owned);
            let present = if entry.tensors.contains_key(&name) { Some(name.clone()) } else { tied() };
            match present {
                Some(name) => found.push((
                    *model,
                    *source,
                    JobInput { model: *model, tensor: entry.tensors[&name].clone(), name },
                )),
                None => missing.push((*model, name)),
            }
        }
        let mut lone = false;
        if let Some((model, name)) = missing.first() {
            if !self.may_be_missing(output, *model, name, &found, slice) {
                return;
            }
            lone = self.method.copies_lone_tensor() && found.len() == 1;
        }
        if !self.same_shapes(output, &mut found) {
            return;
        }
        let Some((_, _, first)) = found.first() else { return };
        let (shape, dtypes) = (first.tensor.shape.clone(), found.iter().map(|f| f.2.tensor.dtype));
        let floating = dtypes.clone().all(DType::is_float);
        let stored = dtypes.clone().reduce(DType::promote).unwrap_or(DType::F32);
        if !floating && !self.identical(output, &found) {
            return;
        }
        let dtype =
            if floating { self.recipe.out_dtype.or(self.recipe.dtype).unwrap_or(stored) } else { first.tensor.dtype };
        let wide = dtype == DType::F64 || stored == DType::F64 || self.recipe.dtype == Some(DType::F64);
        let precision = if wide { Precision::F64 } else { Precision::F32 };
        let parameters = self.tensor_parameters(slice, output, t, &found, &shape, precision);
        let base_alone = parameters.base.is_some() && found.len() == 1;
        let verbatim = lone || base_alone || !floating;
        if !verbatim && let Err(message) = self.method.check(&parameters) {
            self.diagnostics.error(self.recipe.method.span, format!("tensor `{output}`: {message}"));
        }
        let inputs: Vec<JobInput> =
            found.into_iter().map(|(_, _, input)| input).take(if verbatim { 1 } else { usize::MAX }).collect();
        let tensor = OutputTensor { name: output.to_owned(), dtype, shape };
        self.outputs.push((tensor, TensorJob { output: 0, inputs, parameters, verbatim }));
    }

    fn tensor_parameters(
        &mut self,
        slice: &PlannedSlice<'_>,
        output: &str,
        t: f64,
        found: &[(usize, Option<&Source>, JobInput)],
        shape: &[u64],
        precision: Precision,
    ) -> TensorParameters {
        let position = Position { slice: slice.slice, t };
        let has_base = self.method.contract().base != BaseRule::Ignored;
        let base = found.iter().position(|(model, ..)| has_base && Some(*model) == slice.base);
        let shared = self.parameters.shared(output, position, self.diagnostics);
        let mut inputs: Vec<Values> = Vec::new();
        let mut stream_keys = Vec::new();
        for (i, (model, source, input)) in found.iter().enumerate() {
            let reference = self.models[*model].reference.to_string();
            let span = source
                .map(|s| s.model.span)
                .or_else(|| self.recipe.base_model.as_ref().map(|b| b.span))
                .unwrap_or(self.recipe.method.span);
            let label = (reference.as_str(), span);
            let is_base = base == Some(i);
            inputs.push(self.parameters.input(*source, is_base, &input.name, position, label, self.diagnostics));
            stream_keys.push(stream_key(self.options.seed, &[&reference, output]));
        }
        TensorParameters { shape: shape.to_vec(), shared, inputs, base, stream_keys, precision }
    }

    /// Whether a tensor that some models lack can be merged from the others. If not, says why.
    fn may_be_missing(
        &mut self,
        output: &str,
        model: usize,
        name: &str,
        found: &[(usize, Option<&Source>, JobInput)],
        slice: &PlannedSlice<'_>,
    ) -> bool {
        let lacking = &self.models[model];
        let holder = found.first().map(|f| self.models[f.0].reference.to_string()).unwrap_or_default();
        let span = self.source_span(model);
        if !arch::is_optional(name, &lacking.stack) {
            let message = format!("tensor `{name}` is in `{holder}` but not in `{}`", lacking.reference);
            self.diagnostics.model_error(
                ErrorKind::Mismatch,
                span,
                message,
                "the checkpoint is incomplete, or the models do not belong together",
            );
            return false;
        }
        let contract = self.method.contract();
        let base_found = found.iter().any(|(m, ..)| Some(*m) == slice.base);
        let counted =
            found.iter().filter(|(m, ..)| contract.base == BaseRule::Ignored || Some(*m) != slice.base).count();
        let holds = counted >= contract.least && (contract.base != BaseRule::Required || base_found);
        let copied = self.method.copies_lone_tensor() && found.len() == 1;
        if !holds && !copied {
            let message = format!(
                "tensor `{output}` is in `{holder}` but not in `{}`, and method `{}` can't merge it without",
                lacking.reference,
                self.method.name()
            );
            self.diagnostics.model_error(
                ErrorKind::Mismatch,
                span,
                message,
                "add the tensor to the model, or remove it from the others",
            );
            return false;
        }
        let message = format!("tensor `{output}` is missing from `{}` and merged without it", lacking.reference);
        self.diagnostics.warning(None, message, None);
        true
    }

    /// Whether all inputs have one shape; vocabulary rows may be cut when that was asked for.
    fn same_shapes(&mut self, output: &str, found: &mut [(usize, Option<&Source>, JobInput)]) -> bool {
        let shapes: BTreeSet<&[u64]> = found.iter().map(|f| f.2.tensor.shape.as_slice()).collect();
        if shapes.len() <= 1 {
            return true;
        }
        let only_rows = shapes.iter().map(|s| s.get(1..)).collect::<BTreeSet<_>>().len() == 1;
        let rows = shapes.iter().filter_map(|s| s.first().copied()).min().unwrap_or(0);
        let list: Vec<String> =
            found.iter().map(|f| format!("{:?} in `{}`", f.2.tensor.shape, self.models[f.0].reference)).collect();
        let message = format!("tensor `{output}` has shape {}", list.join(" but "));
        let vocabulary = arch::is_vocabulary_indexed(output) && only_rows;
        if vocabulary && self.options.truncate_embeddings {
            for (_, _, input) in found.iter_mut() {
                input.tensor.shape[0] = rows;
                let bytes = input.tensor.elements() * input.tensor.dtype.bytes() as u64;
                input.tensor.range.end = input.tensor.range.start + bytes;
            }
            self.truncated_to = Some(rows);
            self.diagnostics.warning(None, format!("{message}; cut to {rows} rows, tokens after that are lost"), None);
            return true;
        }
        let help = if vocabulary {
            "the vocabularies differ: give the models the same tokenizer first, or pass --unsafe-truncate-embeddings \
             to cut to the smallest"
        } else {
            "only models of one shape can be merged"
        };
        let span =
            found.iter().find(|f| f.2.tensor.shape != found[0].2.tensor.shape).and_then(|f| self.source_span(f.0));
        self.diagnostics.model_error(ErrorKind::Mismatch, span, message, help);
        false
    }

    /// Integers can't be averaged: they must be the same everywhere.
    fn identical(&mut self, output: &str, found: &[(usize, Option<&Source>, JobInput)]) -> bool {
        let (_, _, first) = &found[0];
        let reference = self.models[first.model].bytes(&first.tensor);
        for (model, _, input) in &found[1..] {
            let same =
                input.tensor.dtype == first.tensor.dtype && self.models[*model].bytes(&input.tensor) == reference;
            if !same {
                let message = format!(
                    "tensor `{output}` ({}) differs between `{}` and `{}`, and only floating-point tensors can be merged",
                    first.tensor.dtype, self.models[first.model].reference, self.models[*model].reference
                );
                let span = self.source_span(*model);
                self.diagnostics.model_error(ErrorKind::Mismatch, span, message, "");
                return false;
            }
        }
        true
    }

    fn source_span(&self, model: usize) -> Option<Span> {
        let reference = &self.models[model].reference;
        let listed = self.recipe.sources().find(|s| s.model.value == *reference).map(|s| s.model.span);
        listed.or_else(|| self.recipe.base_model.as_ref().filter(|b| b.value == *reference).map(|b| b.span))
    }
}

/// A threshold for a whole task vector compares keys of all its tensors, so they must be of one
/// working type.
fn one_precision_per_model_trim(jobs: &mut [TensorJob], method: &dyn MergeMethod) {
    let whole = |job: &TensorJob| {
        matches!(method.statistics(&job.parameters), method::Statistics::Sparsify { rules, .. }
            if rules.iter().any(|r| matches!(r, method::Sparsify::LargestOfModel { .. })))
    };
    if jobs.iter().any(|j| j.parameters.precision == Precision::F64) && jobs.iter().any(whole) {
        jobs.iter_mut().for_each(|job| job.parameters.precision = Precision::F64);
    }
}

fn config_edit(
    recipe: &Recipe,
    donor: &Model,
    outputs: &[OutputTensor],
    layers: Option<u64>,
    slices: &[PlannedSlice<'_>],
    vocab_size: Option<u64>,
    diagnostics: &mut Diagnostics,
) -> ConfigEdit {
    let Some(config) = &donor.config else {
        diagnostics.warning(None, format!("`{}` has no config.json, so none is written", donor.reference), None);
        return ConfigEdit::default();
    };
    // Without a recipe dtype the files have what the inputs had; config.json should not say otherwise.
    let uniform: BTreeSet<DType> = outputs.iter().map(|o| o.dtype).filter(|d| d.is_float()).collect();
    let stored = if uniform.len() == 1 { uniform.first().copied() } else { None };
    let dtype = recipe.out_dtype.or(recipe.dtype).or(stored).and_then(DType::torch_name);
    let tied = config.ties_word_embeddings();
    if tied && outputs.iter().any(|o| arch::role(&o.name) == arch::Role::Head) {
        let message =
            "config.json says the head is tied to the embeddings, so loaders will ignore the head written here";
        diagnostics.warning(None, message, Some("set `tie_word_embeddings` to false in the output".to_owned()));
    }
    let layer_types = layers.and_then(|_| restacked_layer_types(config, donor, slices));
    ConfigEdit { layer_count: layers, dtype, vocab_size, layer_types }
}

/// `layer_types` for the new stack: each output layer takes the type of its first source's layer.
fn restacked_layer_types(config: &ModelConfig, donor: &Model, slices: &[PlannedSlice<'_>]) -> Option<String> {
    let types = config.decoder().get("layer_types")?.as_array()?;
    if types.len() as u64 != donor.stack.count() {
        return None;
    }
    let mut kept = Vec::new();
    for slice in slices {
        let start = slice.inputs.first().map_or(0, |(_, _, start)| *start);
        for layer in 0..slice.layers {
            kept.push(types.get(usize::try_from(start + layer).ok()?)?.to_string());
        }
    }
    Some(format!("[{}]", kept.join(", ")))
}
