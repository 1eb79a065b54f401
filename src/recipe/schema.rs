//! A merge recipe as a value.

use super::reference::ModelReference;
use super::setting::Parameters;
use crate::dtype::DType;
use crate::yaml::{Span, Spanned};

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
    pub(crate) base_model: Option<Spanned<ModelReference>>,
    /// Top-level `parameters`.
    pub(crate) parameters: Parameters,
    /// `modules.default.parameters`.
    pub(crate) module_parameters: Parameters,
    pub(crate) dtype: Option<DType>,
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
    pub(crate) model: Spanned<ModelReference>,
    /// First layer and one past the last, for slices.
    pub(crate) layer_range: Option<Spanned<(i64, i64)>>,
    /// Parameters of this input.
    pub(crate) parameters: Parameters,
}

impl Recipe {
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
    /// Model that is merged, as the recipe names it.
    #[must_use]
    pub fn reference(&self) -> &ModelReference {
        &self.model.value
    }
}
