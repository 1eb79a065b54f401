//! Builds a plan step by step, noting all faults on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::merge_plan::{MergePlan, TensorJob};
use super::planner::Planner;
use super::{config, fit, models, names, planner, slices, vocabularies};
use crate::checkpoint::layout::{Layout, OutputTensor};
use crate::error::ErrorKind;
use crate::merge::methods;
use crate::merge::methods::{FOREIGN_METHODS, MergeMethod};
use crate::merge::plan::options::MergeOptions;
use crate::merge::plan::parameters::ParameterResolver;
use crate::merge::plan::sources::{Model, Resolver};
use crate::recipe::setting::Setting;
use crate::recipe::{Diagnostics, ModelReference, Recipe};
use crate::yaml::diagnostic::Severity;

/// Plans a recipe. `None` when it can't be planned; the reasons are then in `diagnostics`.
pub(crate) fn plan(
    recipe: &Recipe,
    resolver: &Resolver,
    options: &MergeOptions,
    diagnostics: &mut Diagnostics,
) -> Option<MergePlan> {
    plan_with(recipe, resolver, BTreeMap::new(), options, diagnostics)
}

/// Like [`plan`], with some models already open.
pub(crate) fn plan_with(
    recipe: &Recipe,
    resolver: &Resolver,
    opened: BTreeMap<ModelReference, Model>,
    options: &MergeOptions,
    diagnostics: &mut Diagnostics,
) -> Option<MergePlan> {
    let mut recipe = recipe.clone();
    if let Some(scope) = options.trim_scope {
        recipe.parameters.set("trim_scope", recipe.method.span, Setting::constant(scope.name(), recipe.method.span));
    }
    let method = find_method(&recipe, diagnostics);
    let (models, index) = models::open(&recipe, resolver, opened, diagnostics);
    let method = method?;
    let mut parameters = ParameterResolver::new(&recipe, method, diagnostics);
    let donor = recipe.base_model.as_ref().and_then(|b| index.get(&b.value)).copied().unwrap_or(0);
    let before = diagnostics.list().len();
    let span = |reference: &ModelReference| {
        let source = recipe.sources().map(|source| &source.model).find(|model| model.value == *reference);
        source.or(recipe.base_model.as_ref().filter(|base| base.value == *reference)).map(|model| model.span)
    };
    let models = names::align(models?, donor, span, diagnostics);
    let unrelated = diagnostics.list().iter().skip(before).any(|d| d.severity == Severity::Error);
    models::check(&recipe, &models, options, diagnostics);
    models::check_tokenizer(&recipe, &models, diagnostics);
    fit::check(&recipe, &models, donor, options, diagnostics);
    vocabularies::check(&recipe, &models, donor, options, diagnostics);
    if unrelated {
        // Every tensor would be missing from one of the models.
        return None;
    }
    let slices = slices::plan(&recipe, &models, &index, method.contract(), diagnostics)?;
    fit::check_layer_types(&models, &slices, options, diagnostics);
    let mut planner = Planner {
        recipe: &recipe,
        method,
        models: &models,
        index: &index,
        options,
        parameters: &mut parameters,
        diagnostics,
        outputs: Vec::new(),
        truncated_to: None,
        donor,
        copied_buffers: BTreeMap::new(),
    };
    planner.add_tensors(&slices, donor);
    planner.report_buffers();
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
    planner::one_precision_per_model_trim(&mut jobs);
    if recipe.is_layerwise()
        && let Some((encoder, layers)) = models[donor].stack.encoder()
    {
        let message = format!(
            "`slices` choose layers of the decoder (`{}*`); the encoder keeps its {layers} layers (`{encoder}*`)",
            models[donor].stack.prefix()
        );
        diagnostics.warning(None, message, None);
    }
    let layers = recipe.is_layerwise().then(|| slices.iter().map(|s| s.layers).sum());
    let edit = config::edit(&recipe, &models[donor], &outputs, layers, &slices, truncated_to, diagnostics);
    let config = match models[donor].config.as_ref().map(|config| config.edited(&edit)).transpose() {
        Ok(config) => config,
        Err(error) => {
            let message = format!("config.json of `{}` cannot be changed: {error}", models[donor].reference);
            diagnostics.model_error(ErrorKind::Internal, None, message, "this is a defect of billon: please report it");
            return None;
        }
    };
    Some(MergePlan { method, models, donor, outputs, jobs, layout, config })
}

fn find_method(recipe: &Recipe, diagnostics: &mut Diagnostics) -> Option<&'static dyn MergeMethod> {
    let name = recipe.method.value.as_str();
    let found = methods::find(name);
    if found.is_none() {
        if FOREIGN_METHODS.contains(&name) {
            let message = format!("method `{name}` is mergekit's and not part of this version of billon");
            let have: Vec<&str> = methods::REGISTRY.iter().map(|m| m.name()).collect();
            diagnostics.error_help(recipe.method.span, message, format!("methods here: {}", have.join(", ")));
        } else {
            let names: Vec<&str> = methods::REGISTRY.iter().map(|m| m.name()).collect();
            let help = crate::suggest::nearest(name, &names)
                .map_or_else(|| format!("methods: {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
            diagnostics.error_help(recipe.method.span, format!("unknown merge method `{name}`"), help);
        }
    }
    found
}
