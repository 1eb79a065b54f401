//! Layers that each slice of the output takes from each model.

use std::collections::{BTreeMap, BTreeSet};

use super::models::ModelIndex;
use crate::merge::methods::{BaseRule, InputContract};
use crate::merge::plan::sources::Model;
use crate::recipe::{Assembly, Diagnostics, OutputSlice, Recipe, Source};

/// A slice with its models found and its range checked.
pub(super) struct PlannedSlice<'a> {
    pub(super) slice: Option<&'a OutputSlice>,
    /// Model, its source (none for a base that is only named as such), first layer.
    pub(super) inputs: Vec<(usize, Option<&'a Source>, u64)>,
    pub(super) base: Option<usize>,
    pub(super) layers: u64,
    /// Layers that only the base has, to be copied.
    pub(super) kept: bool,
    /// A source was refused, so that counting the inputs would mislead.
    incomplete: bool,
}

impl PlannedSlice<'_> {
    /// The place of a model among the inputs that are not the base, in the order of the recipe.
    pub(super) fn place(&self, model: usize) -> Option<usize> {
        let tuned = self.inputs.iter().map(|(model, ..)| *model).filter(|model| Some(*model) != self.base);
        tuned.into_iter().position(|other| other == model)
    }
}

pub(super) fn plan<'a>(
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
            report_repeated(sources, index, diagnostics);
            if let Some(base) = base {
                let base = index[&base.value];
                if !inputs.iter().any(|(model, ..)| *model == base) {
                    inputs.push((base, None, 0));
                }
            }
            let base = base.map(|b| index[&b.value]);
            let extra = if recipe.keeps_base_only { layers_of_base_only(&inputs, base, models) } else { None };
            let counts: BTreeSet<u64> = inputs.iter().map(|(m, ..)| models[*m].stack.count()).collect();
            if counts.len() > 1 && extra.is_none() {
                let list: Vec<String> = inputs
                    .iter()
                    .map(|(m, ..)| format!("`{}` has {}", models[*m].reference, models[*m].stack.count()))
                    .collect();
                diagnostics.error_help(
                    recipe.method.span,
                    format!("the models have different numbers of layers: {}", list.join(", ")),
                    "use `slices:` to pick layers, or `base_only: keep` to copy layers that only the base has",
                );
            }
            let layers = extra.as_ref().map_or_else(|| counts.last().copied().unwrap_or(0), |extra| extra.start);
            let mut slices = vec![PlannedSlice { slice: None, inputs, base, layers, kept: false, incomplete: false }];
            if let Some((base, extra)) = base.zip(extra) {
                let (inputs, layers) = (vec![(base, None, extra.start)], extra.end - extra.start);
                let base = Some(base);
                slices.push(PlannedSlice { slice: None, inputs, base, layers, kept: true, incomplete: false });
            }
            slices
        }
        Assembly::Slices(slices) => slices
            .iter()
            .map(|slice| {
                report_repeated(&slice.sources, index, diagnostics);
                let base = slice.base_model.as_ref().or(base).map(|b| index[&b.value]);
                planned_slice(slice, models, index, base, diagnostics)
            })
            .collect(),
    };
    for slice in planned.iter().filter(|s| !s.incomplete && !s.kept) {
        check_contract(recipe, slice, contract, models, diagnostics);
    }
    (!diagnostics.has_errors() || planned.iter().all(|s| !s.inputs.is_empty())).then_some(planned)
}

/// The layers that the base has after those of all other models, which have the same number.
fn layers_of_base_only(
    inputs: &[(usize, Option<&Source>, u64)],
    base: Option<usize>,
    models: &[Model],
) -> Option<std::ops::Range<u64>> {
    let all = models[base?].stack.count();
    let others = inputs.iter().map(|(m, ..)| *m).filter(|m| Some(*m) != base);
    let others: BTreeSet<u64> = others.map(|m| models[m].stack.count()).collect();
    let shared = others.first().copied().filter(|shared| others.len() == 1 && *shared < all)?;
    Some(shared..all)
}

/// One model may take part once, however its directory is spelled.
fn report_repeated(sources: &[Source], index: &ModelIndex, diagnostics: &mut Diagnostics) {
    let mut seen: BTreeMap<usize, &Source> = BTreeMap::new();
    for source in sources {
        let Some(first) = seen.insert(index[&source.model.value], source) else { continue };
        let (name, before) = (&source.model.value, &first.model.value);
        let also = if name == before { String::new() } else { format!(", first as `{before}`") };
        diagnostics.error_help(
            source.model.span,
            format!("model `{name}` is listed twice{also}"),
            "a model can take part once in a slice; add up its weights, or use two slices",
        );
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
    let layers = lengths.first().copied().unwrap_or(0);
    PlannedSlice { slice: Some(slice), inputs, base, layers, kept: false, incomplete }
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
