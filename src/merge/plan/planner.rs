//! Collects the output tensors of all slices with their inputs and parameters.

use std::collections::{BTreeMap, BTreeSet};

use super::models::ModelIndex;
use super::options::MergeOptions;
use super::slices::PlannedSlice;
use super::{JobInput, TensorJob};
use crate::arch::{self, Place};
use crate::checkpoint::layout::OutputTensor;
use crate::compute::merge::ComputeType;
use crate::dtype::DType;
use crate::error::ErrorKind;
use crate::merge::methods::{
    BaseRule, MergeMethod, MethodError, MethodFault, MethodInput, Reduction, Role, Sparsify, TensorParameters,
};
use crate::merge::plan::parameters::{ParameterResolver, Position};
use crate::merge::plan::sources::Model;
use crate::recipe::Diagnostics;
use crate::recipe::{ModelReference, Recipe, Source, Span};
use crate::rng::stream_key;

/// Reason why copied buffers are mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Buffers {
    Missing,
    Different,
}

/// Collects output tensors.
pub(super) struct Planner<'a, 'r> {
    pub(super) recipe: &'a Recipe,
    pub(super) method: &'static dyn MergeMethod,
    pub(super) models: &'a [Model],
    pub(super) index: &'a ModelIndex,
    pub(super) options: &'a MergeOptions,
    pub(super) parameters: &'a mut ParameterResolver<'r>,
    pub(super) diagnostics: &'a mut Diagnostics,
    pub(super) outputs: Vec<(OutputTensor, TensorJob)>,
    pub(super) truncated_to: Option<u64>,
    pub(super) donor: usize,
    /// Buffers that some models lack or have otherwise, by why, those models and the one copied from.
    pub(super) copied_buffers: BTreeMap<(Buffers, Vec<usize>, usize), Vec<String>>,
}

impl Planner<'_, '_> {
    pub(super) fn add_tensors(&mut self, slices: &[PlannedSlice<'_>], donor: usize) {
        let merged = || slices.iter().filter(|slice| !slice.kept);
        let (Some(first), Some(last)) = (merged().next(), merged().next_back()) else { return };
        for (slice, place) in [(first, Place::Before), (last, Place::After)] {
            let names: BTreeSet<&str> = slice
                .inputs
                .iter()
                .flat_map(|(model, ..)| {
                    let model = &self.models[*model];
                    let stack = &model.stack;
                    let outside = move |name: &&str| {
                        stack.layer(name).is_none()
                            && stack.predicted_layer(name).is_none()
                            && stack.place(name) == place
                    };
                    model.tensors.keys().map(String::as_str).filter(outside)
                })
                .collect();
            for name in names {
                // Tensors outside the layers take the first value of a gradient, final norm and
                // head included; those of another stack follow its layers.
                let stacks = slice.inputs.iter().map(|(model, ..)| &self.models[*model].stack);
                let t = stacks.map(|stack| stack.position(name)).fold(0.0, f64::max);
                self.add(slice, name, t, |_, _| name.to_owned());
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
        self.add_predicted_layers(last, donor, output_layer);
    }

    /// Layers of multi-token prediction are numbered on from the last layer, and follow it in gradients.
    fn add_predicted_layers(&mut self, slice: &PlannedSlice<'_>, donor: usize, layers: u64) {
        let predicted: BTreeSet<(u64, &str)> = slice
            .inputs
            .iter()
            .flat_map(|(model, ..)| {
                let model = &self.models[*model];
                model.tensors.keys().filter_map(|name| model.stack.predicted_layer(name))
            })
            .collect();
        for (number, rest) in predicted {
            let output = self.models[donor].stack.name(layers + number, rest);
            self.add(slice, &output, 1.0, |model, _| model.stack.name(model.stack.count() + number, rest));
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
        let buffer =
            found.iter().any(|(_, _, input)| arch::is_buffer(&input.name, input.tensor.dtype, &input.tensor.shape));
        if buffer {
            self.add_buffer(slice, output, t, found, &missing);
            return;
        }
        let mut lone = false;
        let kept = self.recipe.keeps_base_only
            && !missing.is_empty()
            && found.len() == 1
            && slice.base.is_some_and(|base| base == found[0].0)
            || slice.kept;
        if let Some((model, name)) = missing.first().filter(|_| !kept) {
            if !self.may_be_missing(output, *model, name, &found, slice) {
                return;
            }
            lone = self.method.info().copies_lone_tensor && found.len() == 1;
        }
        if !self.same_shapes(output, &mut found) {
            return;
        }
        let (_, _, first) = found.first().expect("the name of an output comes from a model that has the tensor");
        let (shape, dtypes) = (first.tensor.shape.clone(), found.iter().map(|f| f.2.tensor.dtype));
        let floating = dtypes.clone().all(DType::is_float);
        let stored = dtypes.clone().reduce(DType::promote).unwrap_or(DType::F32);
        if !floating && !self.identical(output, &found) {
            return;
        }
        let dtype =
            if floating { self.recipe.out_dtype.or(self.recipe.dtype).unwrap_or(stored) } else { first.tensor.dtype };
        let wide = dtype == DType::F64 || stored == DType::F64 || self.recipe.dtype == Some(DType::F64);
        let precision = if wide { ComputeType::F64 } else { ComputeType::F32 };
        let parameters = self.tensor_parameters(slice, output, t, &found, &shape, precision, kept);
        let base_alone = parameters.base().is_some() && found.len() == 1;
        let verbatim = kept || lone || base_alone || !floating;
        let reduction = if verbatim { Reduction::None } else { self.checked_reduction(output, &parameters) };
        let inputs: Vec<JobInput> =
            found.into_iter().map(|(_, _, input)| input).take(if verbatim { 1 } else { usize::MAX }).collect();
        let tensor = OutputTensor { name: output.to_owned(), dtype, shape };
        self.outputs.push((tensor, TensorJob { output: 0, inputs, parameters, reduction, verbatim }));
    }

    /// Buffers are copied as they are stored, from the config source where it has one: they are computed
    /// from the config, so that a mean or a rounded copy of them would fit no model.
    fn add_buffer(
        &mut self,
        slice: &PlannedSlice<'_>,
        output: &str,
        t: f64,
        mut found: Vec<(usize, Option<&Source>, JobInput)>,
        missing: &[(usize, String)],
    ) {
        let shape: Vec<u64> = found.first().expect("a buffer was found in a model").2.tensor.shape.clone();
        let integers = found.iter().all(|(_, _, input)| !input.tensor.dtype.is_float());
        // Anything else that is stored as integers means what it says.
        let exact = integers || !arch::is_buffer(output, DType::F32, &shape);
        if exact && !(self.same_shapes(output, &mut found) && self.identical(output, &found)) {
            return;
        }
        let chosen = found.iter().position(|(model, ..)| *model == self.donor).unwrap_or(0);
        let (model, _, input) = &found[chosen];
        let (model, tensor) = (*model, input.tensor.clone());
        let bytes = self.models[model].bytes(&tensor);
        let different = found.iter().filter(|(other, _, input)| {
            let same = (input.tensor.dtype, &input.tensor.shape) == (tensor.dtype, &tensor.shape);
            !(same && self.models[*other].bytes(&input.tensor) == bytes)
        });
        let different: Vec<usize> = different.map(|(other, ..)| *other).collect();
        let missing = missing.iter().map(|(model, _)| *model).collect();
        for (why, models) in [(Buffers::Missing, missing), (Buffers::Different, different)] {
            if !models.is_empty() {
                self.copied_buffers.entry((why, models, model)).or_default().push(output.to_owned());
            }
        }
        let parameters = self.tensor_parameters(slice, output, t, &found, &tensor.shape, ComputeType::F32, true);
        let inputs = vec![found.swap_remove(chosen).2];
        let output = OutputTensor { name: output.to_owned(), dtype: tensor.dtype, shape: tensor.shape };
        self.outputs
            .push((output, TensorJob { output: 0, inputs, parameters, reduction: Reduction::None, verbatim: true }));
    }

    /// Says which buffers were copied though some models lack them.
    pub(super) fn report_buffers(&mut self) {
        for ((why, others, source), names) in std::mem::take(&mut self.copied_buffers) {
            let quoted = |model: &usize| format!("`{}`", self.models[*model].reference);
            let models = others.iter().map(quoted).collect::<Vec<_>>().join(", ");
            let first = names.first().expect("an entry is made with its first name");
            let others = names.len() - 1;
            let (names, are) = match others {
                0 => (format!("buffer `{first}`"), "is"),
                1 => (format!("buffer `{first}` and 1 other"), "are"),
                _ => (format!("buffer `{first}` and {others} others"), "are"),
            };
            let source = quoted(&source);
            let what = match why {
                Buffers::Missing => format!("missing from {models} and"),
                Buffers::Different => format!("not the same in {models} and"),
            };
            let message = format!("{names} {are} {what} copied from {source}");
            self.diagnostics.warning(None, message, None);
        }
    }

    /// The reduction that the method wants of a tensor, once its parameters have a meaning together. A parameter
    /// that is missing was noted before.
    fn checked_reduction(&mut self, output: &str, parameters: &TensorParameters) -> Reduction {
        let result = self.method.check(parameters).and_then(|refused| {
            if let Some(message) = refused {
                // Parameters rarely differ between tensors: once is enough, with the first one named.
                if !self.diagnostics.list().iter().any(|d| d.message.starts_with(&message)) {
                    let message = format!("{message} (first at tensor `{output}`)");
                    self.diagnostics.error(self.recipe.method.span, message);
                }
            }
            self.method.reduction(parameters)
        });
        match result {
            Ok(reduction) => reduction,
            Err(MethodFault::NoValue { .. }) if self.diagnostics.has_errors() => Reduction::None,
            Err(fault) => {
                let message = fault.at(self.method.name(), output).to_string();
                self.diagnostics.model_error(ErrorKind::Internal, None, message, MethodError::HINT);
                Reduction::None
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of a tensor")]
    fn tensor_parameters(
        &mut self,
        slice: &PlannedSlice<'_>,
        output: &str,
        t: f64,
        found: &[(usize, Option<&Source>, JobInput)],
        shape: &[u64],
        precision: ComputeType,
        kept: bool,
    ) -> TensorParameters {
        let shape = shape.to_vec();
        if kept {
            // Copied, whatever parameters say.
            let inputs = vec![MethodInput { role: Role::Tuned, values: Vec::new(), stream_key: 0 }];
            return TensorParameters { shape, shared: Vec::new(), inputs, precision };
        }
        let position = Position { slice: slice.slice, t };
        let has_base = self.method.contract().base != BaseRule::Ignored;
        let base = found.iter().position(|(model, ..)| has_base && Some(*model) == slice.base);
        let shared = self.parameters.shared(output, position, self.diagnostics);
        let mut inputs = Vec::new();
        for (i, (model, source, input)) in found.iter().enumerate() {
            let reference = self.models[*model].reference.to_string();
            let span = source
                .map(|s| s.model.span)
                .or_else(|| self.recipe.base_model.as_ref().map(|b| b.span))
                .unwrap_or(self.recipe.method.span);
            let label = (reference.as_str(), span);
            let role = if base == Some(i) { Role::Base } else { Role::Tuned };
            let values = self.parameters.input(*source, role, &input.name, position, label, self.diagnostics);
            // By place in the recipe, so that the masks do not follow the spelling of paths. The number of the
            // document keeps masks of different stages apart.
            let place = slice.place(*model).map_or_else(|| "base".to_owned(), |place| place.to_string());
            let document = self.recipe.document.to_string();
            let stream_key = stream_key(self.options.seed, &[&document, &place, output]);
            inputs.push(MethodInput { role, values, stream_key });
        }
        TensorParameters { shape, shared, inputs, precision }
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
        let holder = found.first().map(|f| self.models[f.0].reference.to_string());
        let holder = holder.expect("the name of an output comes from a model that has the tensor");
        let span = self.source_span(model);
        if !arch::is_optional(name, &lacking.stack) {
            let message = format!("tensor `{name}` is in `{holder}` but not in `{}`", lacking.reference);
            self.diagnostics.model_error(
                ErrorKind::Mismatch,
                span,
                message,
                if found.len() == 1 && slice.base.is_some_and(|base| found[0].0 == base) {
                    "the checkpoint is incomplete, or the models do not belong together; `base_only: keep` in the \
                     recipe copies what only the base has"
                } else {
                    "the checkpoint is incomplete, or the models do not belong together"
                },
            );
            return false;
        }
        let contract = self.method.contract();
        let base_found = found.iter().any(|(m, ..)| Some(*m) == slice.base);
        let counted =
            found.iter().filter(|(m, ..)| contract.base == BaseRule::Ignored || Some(*m) != slice.base).count();
        let holds = counted >= contract.least && (contract.base != BaseRule::Required || base_found);
        let copied = self.method.info().copies_lone_tensor && found.len() == 1;
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
                "add the tensor to the model, or remove it from the others; `base_only: keep` in the recipe copies \
                 what only the base has",
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
            "the vocabularies differ: give the models the same tokenizer first, or cut to the smallest with \
             `billon merge --unsafe-truncate-embeddings`"
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
        let leads = |reference: &ModelReference| self.index.get(reference) == Some(&model);
        let listed = self.recipe.sources().find(|s| leads(&s.model.value)).map(|s| s.model.span);
        listed.or_else(|| self.recipe.base_model.as_ref().filter(|b| leads(&b.value)).map(|b| b.span))
    }
}

/// A threshold for a whole task vector compares keys of all its tensors, so they must be of one
/// working type.
pub(super) fn one_precision_per_model_trim(jobs: &mut [TensorJob]) {
    let whole = |job: &TensorJob| {
        matches!(&job.reduction, Reduction::Sparsify { rules, .. }
            if rules.iter().any(|r| matches!(r, Sparsify::LargestOfModel { .. })))
    };
    if jobs.iter().any(|j| j.parameters.precision == ComputeType::F64) && jobs.iter().any(whole) {
        for job in jobs {
            job.parameters.precision = ComputeType::F64;
        }
    }
}
