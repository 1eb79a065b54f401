//! Reading of merge recipes: mergekit's keys, nothing ignored.

use super::reference::ModelReference;
use super::schema::{Assembly, OutputSlice, Recipe, Source, TokenizerSource};
use super::setting::{Parameters, Setting};
use crate::dtype::DType;
use crate::suggest;
use crate::yaml::{Diagnostics, Field, Fields, FromYaml, Kind, Node, Spanned};

/// Keys that a document may have.
const DOCUMENT_KEYS: &[&str] = &[
    "merge_method",
    "models",
    "slices",
    "modules",
    "base_model",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
    "name",
    "trim_scope",
    "base_only",
];
const MODEL_KEYS: &[&str] = &["model", "parameters"];
const SLICE_KEYS: &[&str] = &["sources", "base_model", "parameters", "residual_weight"];
const SOURCE_KEYS: &[&str] = &["model", "layer_range", "parameters"];
const MODULE_KEYS: &[&str] = &["slices", "models", "parameters"];

impl Recipe {
    /// Reads a recipe. `document` is its number in the file, which keys random masks.
    pub(crate) fn read(document: usize, node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let fields = Fields::of(node, "a recipe", diagnostics)?.known("key", DOCUMENT_KEYS, diagnostics);
        let method = fields.required("merge_method", diagnostics);
        let mut module_parameters = Parameters::default();
        let assembly = assembly(fields, &mut module_parameters, diagnostics);
        let mut parameters = parameters(fields, diagnostics);
        if let Some(field) = fields.get("trim_scope")
            && let Some(word) = field.read::<String>(diagnostics)
        {
            parameters.set("trim_scope", field.key, Setting::constant(&word, field.node.span));
        }
        let tokenizer = tokenizer(fields, diagnostics);
        Some(Self {
            span: node.span,
            document,
            keeps_base_only: base_only(fields, diagnostics),
            name: fields.get("name").and_then(|field| field.read(diagnostics)),
            method: method?,
            assembly: assembly?,
            base_model: fields.optional("base_model", diagnostics),
            parameters,
            module_parameters,
            dtype: fields.optional("dtype", diagnostics),
            out_dtype: fields.optional("out_dtype", diagnostics),
            tokenizer,
            chat_template: fields.given("chat_template").map(|field| field.key),
        })
    }
}

fn assembly(fields: Fields<'_>, module: &mut Parameters, diagnostics: &mut Diagnostics) -> Option<Assembly> {
    let given: Vec<Field<'_>> =
        ["models", "slices", "modules"].into_iter().filter_map(|key| fields.given(key)).collect();
    match given.as_slice() {
        [] => {
            diagnostics.error(fields.span(), "one of `models`, `slices` and `modules` is needed");
            None
        }
        [field] => match field.name {
            "models" => models(*field, diagnostics),
            "slices" => slices(*field, diagnostics),
            _ => modules(*field, module, diagnostics),
        },
        [_, second, ..] => {
            diagnostics.error(second.key, "only one of `models`, `slices` and `modules` may be given");
            None
        }
    }
}

fn modules(field: Field<'_>, parameters: &mut Parameters, diagnostics: &mut Diagnostics) -> Option<Assembly> {
    let mut assembly = None;
    for module in field.fields(diagnostics)?.iter() {
        if module.name != "default" {
            diagnostics.error_help(
                module.key,
                format!("module `{}` is not supported", module.name),
                "models with one decoder have the module `default`",
            );
            continue;
        }
        let fields = Fields::of(module.node, "a module", diagnostics)?.known("key", MODULE_KEYS, diagnostics);
        *parameters = self::parameters(fields, diagnostics);
        assembly = match (fields.get("models"), fields.get("slices")) {
            (Some(list), None) => models(list, diagnostics),
            (None, Some(list)) => slices(list, diagnostics),
            _ => {
                diagnostics.error(fields.span(), "a module needs exactly one of `models` and `slices`");
                None
            }
        };
    }
    assembly
}

fn models(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Assembly> {
    let mut sources = Vec::new();
    for item in field.some_items(diagnostics)? {
        let Some(fields) = Fields::of(item, "an entry of `models`", diagnostics) else { continue };
        if let Some(range) = fields.get("layer_range") {
            diagnostics.error_help(
                range.key,
                "`models` takes whole models, without `layer_range`",
                "use `slices:` with `sources:` to pick layers",
            );
        }
        let unknown = |field: &Field<'_>| field.name != "layer_range" && !MODEL_KEYS.contains(&field.name);
        for field in fields.iter().filter(unknown) {
            diagnostics.unknown(field.key, "key", field.name, MODEL_KEYS);
        }
        sources.extend(source(fields, None, diagnostics));
    }
    Some(Assembly::Models(sources))
}

fn slices(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Assembly> {
    let mut slices = Vec::new();
    for item in field.some_items(diagnostics)? {
        let Some(fields) = Fields::of(item, "an entry of `slices`", diagnostics) else { continue };
        fields.known("key", SLICE_KEYS, diagnostics);
        if let Some(weight) = fields.get("residual_weight") {
            diagnostics.warning(weight.key, "`residual_weight` has no effect (nor has it in mergekit)", None);
        }
        let Some(list) = fields.get("sources") else {
            diagnostics.error(item.span, "a slice needs `sources`");
            continue;
        };
        let Some(list) = list.some_items(diagnostics) else { continue };
        let mut sources = Vec::new();
        for item in list {
            let Some(fields) = Fields::of(item, "an entry of `sources`", diagnostics) else { continue };
            fields.known("key", SOURCE_KEYS, diagnostics);
            let range = fields.get("layer_range");
            if range.is_none() {
                diagnostics.error(item.span, "a source needs `layer_range: [start, end]`");
            }
            let range = range.and_then(|range| layer_range(range, diagnostics));
            sources.extend(source(fields, range, diagnostics));
        }
        slices.push(OutputSlice {
            span: item.span,
            sources,
            base_model: fields.optional("base_model", diagnostics),
            parameters: parameters(fields, diagnostics),
        });
    }
    Some(Assembly::Slices(slices))
}

fn source(
    fields: Fields<'_>,
    layer_range: Option<Spanned<(i64, i64)>>,
    diagnostics: &mut Diagnostics,
) -> Option<Source> {
    let parameters = parameters(fields, diagnostics);
    let model = fields.required("model", diagnostics)?;
    Some(Source { model, layer_range, parameters })
}

fn layer_range(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Spanned<(i64, i64)>> {
    let bound = |node: &Node| node.text().and_then(|text| text.trim().parse::<i64>().ok());
    if let Kind::Sequence(items) = &field.node.kind
        && let [start, end] = items.as_slice()
        && let (Some(start), Some(end)) = (bound(start), bound(end))
    {
        return Some(Spanned { value: (start, end), span: field.node.span });
    }
    diagnostics.error(field.node.span, "`layer_range` must be a list of two whole numbers, `[start, end]`");
    None
}

fn parameters(fields: Fields<'_>, diagnostics: &mut Diagnostics) -> Parameters {
    let field = fields.given("parameters");
    field.map_or_else(Parameters::default, |field| Parameters::parse(field, diagnostics))
}

/// Whether tensors and layers that no model but the base has are kept.
fn base_only(fields: Fields<'_>, diagnostics: &mut Diagnostics) -> bool {
    let Some(field) = fields.given("base_only") else { return false };
    if fields.get("base_model").is_none() {
        diagnostics.error_help(field.node.span, "`base_only` needs a `base_model`", "name the base model");
    }
    match field.scalar().map(str::trim) {
        Some("keep") => true,
        Some("refuse") => false,
        _ => {
            let help = "`keep` copies what only the base model has, `refuse` is the default";
            field.refuse("`keep` or `refuse`", Some(help.to_owned()), diagnostics);
            false
        }
    }
}

/// A model reference: text, or `{model: {path, revision}, lora: {path, revision}}`.
impl FromYaml for ModelReference {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let parsed = match &field.node.kind {
            Kind::Scalar { text, .. } => Self::parse(text),
            Kind::Mapping(_) => {
                let known = ["model", "lora", "override_architecture"];
                let fields = field.fields(diagnostics)?.known("key", &known, diagnostics);
                let model = match fields.get("path").filter(|_| fields.get("model").is_none()) {
                    Some(path) => path,
                    None => fields.needed("model", diagnostics)?,
                };
                let (path, revision) = path(model, diagnostics)?;
                let adapter = match fields.given("lora") {
                    Some(lora) => Some(self::path(lora, diagnostics)?),
                    None => None,
                };
                Ok(Self { path, revision, adapter })
            }
            _ => Err(field.mismatch("a model")),
        };
        parsed.map_err(|message| diagnostics.error(field.node.span, message)).ok()
    }
}

/// A path with its revision.
fn path(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<(String, Option<String>)> {
    match &field.node.kind {
        Kind::Scalar { text, .. } => match ModelReference::parse(text) {
            Ok(ModelReference { path, revision, adapter: None }) => Some((path, revision)),
            Ok(_) => {
                let help = "write it under `lora`; a directory with `+` in its name as `{path: ...}`";
                diagnostics.error_help(field.node.span, "an adapter does not belong here", help);
                None
            }
            Err(message) => {
                diagnostics.error(field.node.span, message);
                None
            }
        },
        Kind::Mapping(_) => {
            let fields = field.fields(diagnostics)?.known("key", &["path", "revision"], diagnostics);
            let path = fields.required("path", diagnostics)?;
            Some((path, fields.optional("revision", diagnostics)))
        }
        _ => {
            field.expected("a path", diagnostics);
            None
        }
    }
}

/// A dtype by mergekit's name; of other frameworks' short names, the name is given.
impl FromYaml for DType {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let word: String = field.read(diagnostics)?;
        let dtype = Self::from_recipe(&word);
        if dtype.is_none() {
            let short = word.trim_start_matches("torch.").to_lowercase();
            let meant = match short.as_str() {
                "bf16" => Some("bfloat16"),
                "fp16" | "f16" | "half" => Some("float16"),
                "fp32" | "f32" | "float" => Some("float32"),
                "fp64" | "f64" | "double" => Some("float64"),
                _ => suggest::nearest(&short, &Self::RECIPE_NAMES),
            };
            let help = match meant {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("one of {}", Self::RECIPE_NAMES.join(", ")),
            };
            diagnostics.error_help(field.node.span, format!("unknown {} `{word}`", field.name), help);
        }
        dtype
    }
}

fn tokenizer(fields: Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Spanned<TokenizerSource>> {
    let (own, source) = (fields.given("tokenizer"), fields.given("tokenizer_source"));
    if let (Some(field), Some(_)) = (own, source) {
        diagnostics.error(field.key, "only one of `tokenizer` and `tokenizer_source` may be given");
    }
    let field = source.or(own)?;
    let mut source = field;
    let mut custom = false;
    if field.name == "tokenizer" && matches!(field.node.kind, Kind::Mapping(_)) {
        let inner = field.fields(diagnostics)?;
        inner.known("key", &["source", "tokens", "pad_to_multiple_of"], diagnostics);
        custom = inner.iter().any(|field| field.name != "source" && !field.is_null());
        match inner.get("source") {
            Some(named) => source = named,
            None => return Some(Spanned { value: TokenizerSource::Union, span: field.key }),
        }
    }
    let value = match source.scalar() {
        _ if custom => TokenizerSource::Custom,
        Some("base") => TokenizerSource::Base,
        Some("union") => TokenizerSource::Union,
        _ => TokenizerSource::Model(source.read(diagnostics)?),
    };
    Some(Spanned { value, span: field.key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::RecipeFile;

    fn parse(text: &str) -> (Vec<Recipe>, Diagnostics) {
        let file = RecipeFile::parse("r.yml".as_ref(), text, false);
        (file.recipes().to_vec(), file.diagnostics().clone())
    }

    #[test]
    fn reads_every_form_of_a_recipe() {
        let (recipes, diagnostics) = parse(
            "merge_method: ties\nbase_model: org/base@main\ndtype: torch.bfloat16\nparameters: {normalize: yes, lambda: 1e-1}\n\
             models:\n- model: {model: {path: a, revision: r}}\n  parameters: {density: [0.1, 0.9]}\n- model: b+lora\n\
             ---\nname: second\nmerge_method: passthrough\nslices:\n- sources:\n  - {model: a, layer_range: [0, 2]}\n",
        );
        assert_eq!(diagnostics.list(), []);
        assert_eq!(recipes.len(), 2);
        assert_eq!(recipes[0].dtype, Some(DType::BF16));
        assert_eq!(recipes[0].base_model.as_ref().unwrap().value.to_string(), "org/base@main");
        let references: Vec<_> = recipes[0].sources().map(|s| s.model.value.to_string()).collect();
        assert_eq!(references, ["a@r", "b+lora"]);
        assert!(recipes[1].is_layerwise());
    }

    #[test]
    fn every_fault_is_reported_at_once_with_its_place() {
        let (_, diagnostics) = parse(
            "merge_method: linear\ndtype: bf16\nmodles: []\nmodels:\n- model: a\n  paramters: {weight: 1}\n- modell: b\n",
        );
        let text = diagnostics.check().unwrap_err().to_string();
        for part in [
            "unknown dtype `bf16`",
            "did you mean `bfloat16`?",
            "r.yml:2:8",
            "unknown key `modles`",
            "did you mean `models`?",
            "unknown key `paramters`",
            "r.yml:6:3",
            "unknown key `modell`",
            "`model` is missing",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn references_as_objects_lose_no_part_in_silence() {
        for (reference, part) in [
            ("{model: a+b}", "an adapter does not belong here"),
            ("{model: a@b@c}", "more than one `@`"),
            ("{lora: b}", "`model` is missing"),
            ("{model: a, lora: b+c}", "an adapter does not belong here"),
            ("{model: {revision: x}}", "`path` is missing"),
        ] {
            let text = format!("merge_method: linear\nbase_model: {reference}\nmodels: [{{model: x}}]\n");
            let told = parse(&text).1.check().unwrap_err().to_string();
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
    }

    #[test]
    fn lenient_turns_unknown_keys_into_warnings() {
        let text = "merge_method: linear\nfoo: 1\nmodels: [{model: a}]\n";
        assert!(parse(text).1.has_errors());
        let file = RecipeFile::parse("r".as_ref(), text, true);
        let diagnostics = file.diagnostics();
        assert!(!diagnostics.has_errors());
        assert_eq!(diagnostics.warnings().len(), 1);
    }
}
