//! A merge recipe as a value.

use std::sync::Arc;

use super::reference::ModelReference;
use super::setting::Parameters;
use crate::dtype::DType;
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{Span, Spanned};

/// One or more recipes of a file.
#[derive(Debug)]
pub struct RecipeFile {
    /// The text.
    pub source: Arc<SourceText>,
    /// Its documents in order.
    pub recipes: Vec<Recipe>,
}

/// One document.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Where the document starts.
    pub span: Span,
    /// Its number in the file, from 0.
    pub document: usize,
    /// `base_only: keep`: tensors and layers that only the base model has are copied from it.
    pub keeps_base_only: bool,
    /// Name under which other documents of the file use its result.
    pub name: Option<Spanned<String>>,
    /// `merge_method`.
    pub method: Spanned<String>,
    /// What is put together.
    pub assembly: Assembly,
    /// `base_model`.
    pub base_model: Option<Spanned<ModelReference>>,
    /// Top-level `parameters`.
    pub parameters: Parameters,
    /// `modules.default.parameters`.
    pub module_parameters: Parameters,
    /// `dtype`.
    pub dtype: Option<DType>,
    /// `out_dtype`.
    pub out_dtype: Option<DType>,
    /// `tokenizer_source` or `tokenizer`.
    pub tokenizer: Option<Spanned<TokenizerSource>>,
    /// Place of `chat_template`.
    pub chat_template: Option<Span>,
}

/// Where the output's tokenizer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerSource {
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
pub enum Assembly {
    /// Whole models; every source spans all layers.
    Models(Vec<Source>),
    /// Layer-wise assembly.
    Slices(Vec<OutputSlice>),
}

/// A slice of the output.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSlice {
    /// Where it is written.
    pub span: Span,
    /// Its inputs.
    pub sources: Vec<Source>,
    /// Overrides the recipe's base model.
    pub base_model: Option<Spanned<ModelReference>>,
    /// Parameters of this slice.
    pub parameters: Parameters,
}

/// An input of a slice, or of a whole-model merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The model.
    pub model: Spanned<ModelReference>,
    /// First layer and one past the last, for slices.
    pub layer_range: Option<Spanned<(i64, i64)>>,
    /// Parameters of this input.
    pub parameters: Parameters,
}

impl Recipe {
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
