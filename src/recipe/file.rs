//! Recipes with the text that they were read from, or that was written out of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reference::ModelReference;
use super::schema::Recipe;
use crate::error::{Diagnose, ErrorKind, Result};
use crate::yaml::diagnostic::{Diagnostics, SourceText};
use crate::yaml::{self, Kind};

/// One or more recipes that are merged together, each able to use the results of the others, and their text.
///
/// A recipe made in Rust turns into one: `RecipeFile::from(recipe)`.
#[derive(Debug, Clone)]
pub struct RecipeFile {
    /// The file.
    path: Option<PathBuf>,
    /// The text that messages quote; it has no name where no user wrote it.
    source: Arc<SourceText>,
    /// YAML that reads back as these recipes, for the lock and the model card.
    text: String,
    /// The documents in order.
    recipes: Vec<Recipe>,
    /// Faults and warnings of reading.
    diagnostics: Diagnostics,
}

/// A recipe file that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the recipe {}", path.display())]
struct Unreadable {
    path: PathBuf,
    source: std::io::Error,
}

impl Diagnose for Unreadable {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }
}

impl RecipeFile {
    /// Reads a recipe file: mergekit's YAML, of one document or several.
    ///
    /// # Errors
    /// When it can't be read, and everything that is wrong with it, each with its place.
    pub fn open(path: &Path) -> Result<Self> {
        let text = crate::storage::input::read_text(path, crate::storage::input::TEXT_BYTES)
            .map_err(|source| Unreadable { path: path.to_owned(), source })?;
        let file = Self::parse(path, &text, false);
        file.diagnostics.check()?;
        Ok(file)
    }

    /// Reads all documents of a text. Faults are in [`Self::diagnostics`]; documents with faults are still returned as
    /// far as they make sense, so that planning can find more.
    #[doc(hidden)]
    #[must_use]
    pub fn parse(file: &Path, text: &str, lenient: bool) -> Self {
        let name = file.display().to_string();
        // A byte order mark is not part of the recipe.
        let text = text.trim_start_matches('\u{feff}').to_owned();
        let source = Arc::new(SourceText { name, text: text.clone() });
        let mut diagnostics = Diagnostics::new(source.clone(), lenient).last_key_wins();
        let nodes = yaml::parse(&source.text, &mut diagnostics);
        let mut recipes = Vec::new();
        for (number, node) in nodes.iter().filter(|n| n.kind != Kind::Null).enumerate() {
            recipes.extend(Recipe::read(number, node, &mut diagnostics));
        }
        if recipes.is_empty() && !diagnostics.has_errors() {
            diagnostics.error(None, "the recipe is empty");
        }
        Self { path: Some(file.to_owned()), source, text, recipes, diagnostics }
    }

    /// A recipe that stands in a file of another kind, with the faults and warnings of reading it there.
    #[must_use]
    pub(crate) fn within(source: &Arc<SourceText>, recipe: Recipe, diagnostics: Diagnostics) -> Self {
        let (source, recipes) = (Arc::clone(source), vec![recipe]);
        Self { path: None, source, text: written(&recipes), recipes, diagnostics }
    }

    /// YAML that reads back as these recipes: the file's own text, or one written out of them.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The documents in order.
    #[must_use]
    pub fn recipes(&self) -> &[Recipe] {
        &self.recipes
    }

    /// Faults and warnings of reading.
    #[doc(hidden)]
    #[must_use]
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }

    /// The file that a user named.
    #[must_use]
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The text that messages quote.
    #[doc(hidden)]
    #[must_use]
    pub fn source(&self) -> &Arc<SourceText> {
        &self.source
    }

    /// The same recipes with other models, and a text that names those.
    #[must_use]
    pub(crate) fn with_references(&self, change: impl Fn(&ModelReference) -> ModelReference) -> Self {
        let mut file = self.clone();
        for reference in file.recipes.iter_mut().flat_map(Recipe::references_mut) {
            *reference = change(reference);
        }
        file.text = written(&file.recipes);
        file
    }
}

impl From<Recipe> for RecipeFile {
    fn from(recipe: Recipe) -> Self {
        Self::from(vec![recipe])
    }
}

impl From<Vec<Recipe>> for RecipeFile {
    /// Recipes made in Rust. What a file could not say is noted, and refused when they are planned.
    fn from(mut recipes: Vec<Recipe>) -> Self {
        let source = Arc::new(SourceText { name: String::new(), text: String::new() });
        let mut diagnostics = Diagnostics::new(Arc::clone(&source), false);
        for (number, recipe) in recipes.iter_mut().enumerate() {
            recipe.document = number;
            recipe.check(&mut diagnostics);
        }
        if recipes.is_empty() {
            diagnostics.error(None, "there is no recipe");
        }
        Self { path: None, source, text: written(&recipes), recipes, diagnostics }
    }
}

fn written(recipes: &[Recipe]) -> String {
    recipes.iter().map(Recipe::to_yaml).collect::<Vec<_>>().join("---\n")
}
