//! Recipes made in Rust, which stand in no text.

use super::reference::ModelReference;
use super::schema::{Assembly, OutputSlice, Recipe, Source};
use super::setting::{Parameters, Setting};
use crate::dtype::DType;
use crate::yaml::{Diagnostics, Span, Spanned};

/// A value without a place in a text.
fn made<T>(value: T) -> Spanned<T> {
    Spanned { value, span: Span::default() }
}

impl Recipe {
    /// A recipe of a method, with no models yet.
    #[must_use]
    pub fn new(method: &str) -> Self {
        Self {
            span: Span::default(),
            document: 0,
            keeps_base_only: false,
            name: None,
            method: made(method.to_owned()),
            assembly: Assembly::Models(Vec::new()),
            base_model: None,
            parameters: Parameters::default(),
            module_parameters: Parameters::default(),
            dtype: None,
            out_dtype: None,
            tokenizer: None,
            chat_template: None,
        }
    }

    /// Names the result, so that other recipes can use it as a model.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(made(name.to_owned()));
        self
    }

    /// Sets the model that the others were fine-tuned from.
    #[must_use]
    pub fn with_base_model(mut self, model: ModelReference) -> Self {
        self.base_model = Some(made(model));
        self
    }

    /// Adds a whole model. A recipe has either models or slices: this replaces slices.
    #[must_use]
    pub fn with_model(mut self, source: impl Into<Source>) -> Self {
        match &mut self.assembly {
            Assembly::Models(sources) => sources.push(source.into()),
            Assembly::Slices(_) => self.assembly = Assembly::Models(vec![source.into()]),
        }
        self
    }

    /// Adds layers to the output, made from the same number of layers of each source (see [`Source::layers`]). A recipe
    /// has either models or slices: this replaces models.
    #[must_use]
    pub fn with_slice(mut self, sources: impl IntoIterator<Item = Source>) -> Self {
        let slice = OutputSlice {
            span: Span::default(),
            sources: sources.into_iter().collect(),
            base_model: None,
            parameters: Parameters::default(),
        };
        match &mut self.assembly {
            Assembly::Slices(slices) => slices.push(slice),
            Assembly::Models(_) => self.assembly = Assembly::Slices(vec![slice]),
        }
        self
    }

    /// Sets a parameter of the method for all models.
    #[must_use]
    pub fn with_parameter(mut self, name: &str, value: impl Into<Setting>) -> Self {
        self.parameters.set(name, Span::default(), value.into());
        self
    }

    /// Sets the element type of the output; the base model's without one.
    #[must_use]
    pub fn with_dtype(mut self, dtype: DType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// Copies tensors and layers that only the base model has, instead of refusing them.
    #[must_use]
    pub fn keeping_base_only(mut self) -> Self {
        self.keeps_base_only = true;
        self
    }

    /// Notes what the reader of a file would have refused.
    pub(super) fn check(&self, diagnostics: &mut Diagnostics) {
        if self.sources().next().is_none() {
            diagnostics.error(None, format!("the recipe of method `{}` has no models", self.method.value));
        }
        if let Assembly::Slices(slices) = &self.assembly {
            for source in slices.iter().flat_map(|slice| &slice.sources).filter(|source| source.layer_range.is_none()) {
                let message = format!("the source `{}` of a slice has no layers", source.model.value);
                diagnostics.error_help(None, message, "set them with `Source::layers`");
            }
            if slices.iter().any(|slice| slice.sources.is_empty()) {
                diagnostics.error(None, "a slice needs sources");
            }
        } else if let Some(source) = self.sources().find(|source| source.layer_range.is_some()) {
            let message = format!("`{}` is taken whole, so it has no layers to choose", source.model.value);
            diagnostics.error_help(None, message, "use `Recipe::with_slice` to pick layers");
        }
        if self.keeps_base_only && self.base_model.is_none() {
            diagnostics.error_help(None, "`base_only` needs a `base_model`", "name the base model");
        }
        for dtype in [self.dtype, self.out_dtype].into_iter().flatten() {
            if dtype.torch_name().and_then(DType::from_recipe) != Some(dtype) {
                let help = format!("one of {}", DType::RECIPE_NAMES.join(", "));
                diagnostics.error_help(None, format!("dtype {dtype} can't be an output's"), help);
            }
        }
    }
}

impl Source {
    /// A model of which all layers take part.
    #[must_use]
    pub fn new(model: ModelReference) -> Self {
        Self { model: made(model), layer_range: None, parameters: Parameters::default() }
    }

    /// Chooses layers, for a slice.
    #[must_use]
    pub fn layers(mut self, layers: std::ops::Range<u32>) -> Self {
        self.layer_range = Some(made((i64::from(layers.start), i64::from(layers.end))));
        self
    }

    /// Sets a parameter of the method for this model.
    #[must_use]
    pub fn with_parameter(mut self, name: &str, value: impl Into<Setting>) -> Self {
        self.parameters.set(name, Span::default(), value.into());
        self
    }
}

impl From<ModelReference> for Source {
    fn from(model: ModelReference) -> Self {
        Self::new(model)
    }
}
