//! The recipe document: mergekit's keys, nothing ignored.

use super::reference::ModelReference;
use super::setting::{Parameters, Setting};
use crate::dtype::DType;
use crate::yaml::diagnostic::Diagnostics;
use crate::yaml::{Kind, Node, Span, Spanned};

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

/// One merge: a method, the models or layers that it takes, and its parameters.
///
/// A recipe is read from a file ([`RecipeFile`](super::RecipeFile)) or made in Rust, from [`Recipe::new`] on.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Where the document starts.
    pub(crate) span: Span,
    /// Its number in the file, from 0.
    pub(crate) document: usize,
    /// `base_only: keep`: tensors and layers that only the base model has are copied from it.
    pub(crate) keeps_base_only: bool,
    /// Name under which other documents of the file use its result.
    pub(crate) name: Option<Spanned<String>>,
    /// `merge_method`.
    pub(crate) method: Spanned<String>,
    /// What is put together.
    pub(crate) assembly: Assembly,
    /// `base_model`.
    pub(crate) base_model: Option<Spanned<ModelReference>>,
    /// Top-level `parameters`.
    pub(crate) parameters: Parameters,
    /// `modules.default.parameters`.
    pub(crate) module_parameters: Parameters,
    /// `dtype`.
    pub(crate) dtype: Option<DType>,
    /// `out_dtype`.
    pub(crate) out_dtype: Option<DType>,
    /// `tokenizer_source` or `tokenizer`.
    pub(crate) tokenizer: Option<Spanned<TokenizerSource>>,
    /// Place of `chat_template`.
    pub(crate) chat_template: Option<Span>,
}

/// Source of the output's tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenizerSource {
    /// The base model's.
    Base,
    /// Of all models together.
    Union,
    /// One model's.
    Model(ModelReference),
    /// The full form with per-token rules.
    Custom,
}

/// `models` or `slices`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Assembly {
    /// Whole models; every source spans all layers.
    Models(Vec<Source>),
    /// Layer-wise assembly.
    Slices(Vec<OutputSlice>),
}

/// Consecutive layers of the output, and their sources.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutputSlice {
    /// Where it is written.
    pub(crate) span: Span,
    /// Its inputs.
    pub(crate) sources: Vec<Source>,
    /// Overrides the recipe's base model.
    pub(crate) base_model: Option<Spanned<ModelReference>>,
    /// Parameters of this slice.
    pub(crate) parameters: Parameters,
}

/// An input of a slice, or of a whole-model merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The model.
    pub(crate) model: Spanned<ModelReference>,
    /// First layer and one past the last, for slices.
    pub(crate) layer_range: Option<Spanned<(i64, i64)>>,
    /// Parameters of this input.
    pub(crate) parameters: Parameters,
}

impl Recipe {
    /// Reads a recipe. `document` is its number in the file, which keys random masks.
    pub(crate) fn read(document: usize, node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        Reader { diagnostics }.document(document, node)
    }

    /// Every reference to a model.
    pub(crate) fn references_mut(&mut self) -> Vec<&mut ModelReference> {
        let mut references: Vec<&mut ModelReference> = self.base_model.iter_mut().map(|b| &mut b.value).collect();
        if let Some(Spanned { value: TokenizerSource::Model(model), .. }) = &mut self.tokenizer {
            references.push(model);
        }
        match &mut self.assembly {
            Assembly::Models(sources) => references.extend(sources.iter_mut().map(|s| &mut s.model.value)),
            Assembly::Slices(slices) => {
                for slice in slices {
                    references.extend(slice.base_model.iter_mut().map(|b| &mut b.value));
                    references.extend(slice.sources.iter_mut().map(|s| &mut s.model.value));
                }
            }
        }
        references
    }

    /// All slices, with `models` as one slice without layer ranges.
    #[must_use]
    pub fn is_layerwise(&self) -> bool {
        matches!(self.assembly, Assembly::Slices(_))
    }

    /// Every source in order of writing.
    #[must_use]
    pub fn sources(&self) -> Box<dyn Iterator<Item = &Source> + '_> {
        match &self.assembly {
            Assembly::Models(sources) => Box::new(sources.iter()),
            Assembly::Slices(slices) => Box::new(slices.iter().flat_map(|s| s.sources.iter())),
        }
    }

    /// Every parameter scope, widest first.
    #[must_use]
    pub fn scopes(&self) -> Vec<&Parameters> {
        let mut scopes = vec![&self.parameters, &self.module_parameters];
        if let Assembly::Slices(slices) = &self.assembly {
            scopes.extend(slices.iter().map(|s| &s.parameters));
        }
        scopes.extend(self.sources().map(|s| &s.parameters));
        scopes
    }
}

impl Source {
    /// The model.
    #[must_use]
    pub fn reference(&self) -> &ModelReference {
        &self.model.value
    }
}

struct Reader<'a> {
    diagnostics: &'a mut Diagnostics,
}

type Entries = [(Spanned<String>, Node)];

impl Reader<'_> {
    fn document(&mut self, document: usize, node: &Node) -> Option<Recipe> {
        let entries = self.mapping(node, "a recipe")?;
        self.known(entries, DOCUMENT_KEYS, "key");
        let method = match find(entries, "merge_method") {
            Some((_, value)) => self.word(value, "merge_method"),
            None => {
                self.diagnostics.error(node.span, "`merge_method` is missing");
                None
            }
        };
        let mut module_parameters = Parameters::default();
        let assembly = self.assembly(node, entries, &mut module_parameters);
        let mut parameters = self.parameters(entries);
        if let Some((key, value)) = find(entries, "trim_scope")
            && let Some(word) = self.word(value, "trim_scope")
        {
            parameters.set("trim_scope", key.span, Setting::constant(&word.value, word.span));
        }
        let tokenizer = self.tokenizer(entries);
        let chat_template =
            find(entries, "chat_template").filter(|(_, v)| v.kind != Kind::Null).map(|(key, _)| key.span);
        Some(Recipe {
            span: node.span,
            document,
            keeps_base_only: self.base_only(entries),
            name: find(entries, "name").and_then(|(_, value)| self.word(value, "name")),
            method: method?,
            assembly: assembly?,
            base_model: self.base_model(entries),
            parameters,
            module_parameters,
            dtype: self.dtype(entries, "dtype"),
            out_dtype: self.dtype(entries, "out_dtype"),
            tokenizer,
            chat_template,
        })
    }

    fn assembly(&mut self, node: &Node, entries: &Entries, module: &mut Parameters) -> Option<Assembly> {
        let given: Vec<_> = ["models", "slices", "modules"]
            .into_iter()
            .filter_map(|key| find(entries, key).filter(|(_, v)| v.kind != Kind::Null))
            .collect();
        match given.as_slice() {
            [] => {
                self.diagnostics.error(node.span, "one of `models`, `slices` and `modules` is needed");
                None
            }
            [(key, value)] => match key.value.as_str() {
                "models" => self.models(value),
                "slices" => self.slices(value),
                _ => self.modules(value, module),
            },
            [_, (key, _), ..] => {
                self.diagnostics.error(key.span, "only one of `models`, `slices` and `modules` may be given");
                None
            }
        }
    }

    fn modules(&mut self, node: &Node, parameters: &mut Parameters) -> Option<Assembly> {
        let mut assembly = None;
        for (key, value) in self.mapping(node, "`modules`")? {
            if key.value != "default" {
                self.diagnostics.error_help(
                    key.span,
                    format!("module `{}` is not supported", key.value),
                    "models with one decoder have the module `default`",
                );
                continue;
            }
            let entries = self.mapping(value, "a module")?;
            self.known(entries, MODULE_KEYS, "key");
            *parameters = self.parameters(entries);
            assembly = match (find(entries, "models"), find(entries, "slices")) {
                (Some((_, models)), None) => self.models(models),
                (None, Some((_, slices))) => self.slices(slices),
                _ => {
                    self.diagnostics.error(value.span, "a module needs exactly one of `models` and `slices`");
                    None
                }
            };
        }
        assembly
    }

    fn models(&mut self, node: &Node) -> Option<Assembly> {
        let items = self.list(node, "models")?;
        let mut sources = Vec::new();
        for item in items {
            let Some(entries) = self.mapping(item, "an entry of `models`") else { continue };
            if let Some((key, _)) = find(entries, "layer_range") {
                self.diagnostics.error_help(
                    key.span,
                    "`models` takes whole models, without `layer_range`",
                    "use `slices:` with `sources:` to pick layers",
                );
            }
            let rest: Vec<_> = entries.iter().filter(|(k, _)| k.value != "layer_range").cloned().collect();
            self.known(&rest, MODEL_KEYS, "key");
            sources.extend(self.source(item, &rest));
        }
        Some(Assembly::Models(sources))
    }

    fn slices(&mut self, node: &Node) -> Option<Assembly> {
        let items = self.list(node, "slices")?;
        let mut slices = Vec::new();
        for item in items {
            let Some(entries) = self.mapping(item, "an entry of `slices`") else { continue };
            self.known(entries, SLICE_KEYS, "key");
            if let Some((key, _)) = find(entries, "residual_weight") {
                self.diagnostics.warning(key.span, "`residual_weight` has no effect (nor has it in mergekit)", None);
            }
            let Some((_, sources)) = find(entries, "sources") else {
                self.diagnostics.error(item.span, "a slice needs `sources`");
                continue;
            };
            let Some(sources) = self.list(sources, "sources") else { continue };
            let mut read = Vec::new();
            for source in sources {
                let Some(entries) = self.mapping(source, "an entry of `sources`") else { continue };
                self.known(entries, SOURCE_KEYS, "key");
                if find(entries, "layer_range").is_none() {
                    self.diagnostics.error(source.span, "a source needs `layer_range: [start, end]`");
                }
                read.extend(self.source(source, entries));
            }
            slices.push(OutputSlice {
                span: item.span,
                sources: read,
                base_model: self.base_model(entries),
                parameters: self.parameters(entries),
            });
        }
        Some(Assembly::Slices(slices))
    }

    fn source(&mut self, node: &Node, entries: &Entries) -> Option<Source> {
        let parameters = self.parameters(entries);
        let layer_range = find(entries, "layer_range").and_then(|(_, value)| self.layer_range(value));
        let Some((_, model)) = find(entries, "model") else {
            self.diagnostics.error(node.span, "`model` is missing");
            return None;
        };
        let model = self.reference(model)?;
        Some(Source { model, layer_range, parameters })
    }

    fn layer_range(&mut self, node: &Node) -> Option<Spanned<(i64, i64)>> {
        if let Kind::Sequence(items) = &node.kind
            && let [start, end] = items.as_slice()
        {
            let read = |n: &Node| n.text().and_then(|t| t.trim().parse::<i64>().ok());
            if let (Some(start), Some(end)) = (read(start), read(end)) {
                return Some(Spanned { value: (start, end), span: node.span });
            }
        }
        self.diagnostics.error(node.span, "`layer_range` is a list of two whole numbers, `[start, end]`");
        None
    }

    fn parameters(&mut self, entries: &Entries) -> Parameters {
        let found = find(entries, "parameters");
        found.map_or_else(Parameters::default, |(_, node)| Parameters::parse(node, self.diagnostics))
    }

    /// `base_only`: what becomes of tensors and layers that no model but the base has.
    fn base_only(&mut self, entries: &Entries) -> bool {
        let Some((_, node)) = find(entries, "base_only").filter(|(_, v)| v.kind != Kind::Null) else { return false };
        if find(entries, "base_model").is_none() {
            self.diagnostics.error_help(node.span, "`base_only` needs a `base_model`", "name the base model");
        }
        match node.text().map(str::trim) {
            Some("keep") => true,
            Some("refuse") => false,
            _ => {
                let help = "`keep` copies what only the base model has, `refuse` is the default";
                let message = format!("`base_only` is `keep` or `refuse`, not {}", node.describe());
                self.diagnostics.error_help(node.span, message, help);
                false
            }
        }
    }

    fn base_model(&mut self, entries: &Entries) -> Option<Spanned<ModelReference>> {
        find(entries, "base_model").filter(|(_, v)| v.kind != Kind::Null).and_then(|(_, node)| self.reference(node))
    }

    /// A model reference: text, or `{model: {path, revision}, lora: {path, revision}}`.
    fn reference(&mut self, node: &Node) -> Option<Spanned<ModelReference>> {
        let parsed = match &node.kind {
            Kind::Scalar { text, .. } => ModelReference::parse(text),
            Kind::Mapping(entries) => {
                self.known(entries, &["model", "lora", "override_architecture"], "key");
                let Some((_, model)) = find(entries, "model").or_else(|| find(entries, "path")) else {
                    self.diagnostics.error(node.span, "`model` is missing");
                    return None;
                };
                let (path, revision) = self.path(model)?;
                let adapter = match find(entries, "lora").filter(|(_, v)| v.kind != Kind::Null) {
                    Some((_, lora)) => Some(self.path(lora)?),
                    None => None,
                };
                Ok(ModelReference { path, revision, adapter })
            }
            _ => Err(format!("expected a model, found {}", node.describe())),
        };
        match parsed {
            Ok(value) => Some(Spanned { value, span: node.span }),
            Err(message) => {
                self.diagnostics.error(node.span, message);
                None
            }
        }
    }

    fn path(&mut self, node: &Node) -> Option<(String, Option<String>)> {
        match &node.kind {
            Kind::Scalar { text, .. } => match ModelReference::parse(text) {
                Ok(ModelReference { path, revision, adapter: None }) => Some((path, revision)),
                Ok(_) => {
                    let help = "write it under `lora`; a directory with `+` in its name as `{path: ...}`";
                    self.diagnostics.error_help(node.span, "an adapter does not belong here", help);
                    None
                }
                Err(message) => {
                    self.diagnostics.error(node.span, message);
                    None
                }
            },
            Kind::Mapping(entries) => {
                self.known(entries, &["path", "revision"], "key");
                let text = |key| find(entries, key).and_then(|(_, v)| v.text()).map(str::to_owned);
                if text("path").is_none() {
                    self.diagnostics.error(node.span, "`path` is missing");
                }
                Some((text("path")?, text("revision")))
            }
            _ => {
                self.diagnostics.error(node.span, format!("expected a path, found {}", node.describe()));
                None
            }
        }
    }

    fn dtype(&mut self, entries: &Entries, key: &str) -> Option<DType> {
        let (_, node) = find(entries, key).filter(|(_, v)| v.kind != Kind::Null)?;
        let word = self.word(node, key)?;
        let dtype = DType::from_recipe(&word.value);
        if dtype.is_none() {
            let short = word.value.trim_start_matches("torch.").to_lowercase();
            let meant = match short.as_str() {
                "bf16" => Some("bfloat16"),
                "fp16" | "f16" | "half" => Some("float16"),
                "fp32" | "f32" | "float" => Some("float32"),
                "fp64" | "f64" | "double" => Some("float64"),
                _ => crate::yaml::diagnostic::nearest(&short, &DType::RECIPE_NAMES),
            };
            let help = match meant {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("one of {}", DType::RECIPE_NAMES.join(", ")),
            };
            self.diagnostics.error_help(word.span, format!("unknown {key} `{}`", word.value), help);
        }
        dtype
    }

    fn tokenizer(&mut self, entries: &Entries) -> Option<Spanned<TokenizerSource>> {
        let given = |key: &str| find(entries, key).filter(|(_, v)| v.kind != Kind::Null);
        if let (Some((key, _)), Some(_)) = (given("tokenizer"), given("tokenizer_source")) {
            self.diagnostics.error(key.span, "only one of `tokenizer` and `tokenizer_source` may be given");
        }
        let (key, node) = given("tokenizer_source").or_else(|| given("tokenizer"))?;
        let mut node = node;
        let mut custom = false;
        if let (Kind::Mapping(inner), "tokenizer") = (&node.kind, key.value.as_str()) {
            self.known(inner, &["source", "tokens", "pad_to_multiple_of"], "key");
            custom = inner.iter().any(|(k, v)| k.value != "source" && v.kind != Kind::Null);
            match find(inner, "source") {
                Some((_, source)) => node = source,
                None => return Some(Spanned { value: TokenizerSource::Union, span: key.span }),
            }
        }
        let value = match node.text() {
            _ if custom => TokenizerSource::Custom,
            Some("base") => TokenizerSource::Base,
            Some("union") => TokenizerSource::Union,
            _ => TokenizerSource::Model(self.reference(node)?.value),
        };
        Some(Spanned { value, span: key.span })
    }

    fn word(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        match node.text().filter(|t| !t.trim().is_empty()) {
            Some(text) => Some(Spanned { value: text.trim().to_owned(), span: node.span }),
            None => {
                self.diagnostics.error(node.span, format!("`{what}` is a word, not {}", node.describe()));
                None
            }
        }
    }

    fn mapping<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n Entries> {
        match &node.kind {
            Kind::Mapping(entries) => Some(entries),
            _ => {
                self.diagnostics.error(node.span, format!("{what} is a mapping, not {}", node.describe()));
                None
            }
        }
    }

    fn list<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::Sequence(items) if !items.is_empty() => Some(items),
            Kind::Sequence(_) => {
                self.diagnostics.error(node.span, format!("`{key}` is empty"));
                None
            }
            _ => {
                self.diagnostics.error(node.span, format!("`{key}` is a list, not {}", node.describe()));
                None
            }
        }
    }

    fn known(&mut self, entries: &Entries, known: &[&str], what: &str) {
        for (key, _) in entries {
            if !known.contains(&key.value.as_str()) {
                self.diagnostics.unknown(key.span, what, &key.value, known);
            }
        }
    }
}

fn find<'n>(entries: &'n Entries, key: &str) -> Option<&'n (Spanned<String>, Node)> {
    entries.iter().find(|(k, _)| k.value == key)
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
