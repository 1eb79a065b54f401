//! A recipe as YAML that reads back as the same recipe.

use serde_json::{Map, Value};

use super::reference::ModelReference;
use super::schema::{Assembly, OutputSlice, Recipe, Source, TokenizerSource};
use super::setting::Parameters;
use crate::dtype::DType;
use crate::yaml::write;

impl Recipe {
    /// The recipe as YAML, in mergekit's words.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        write::block(&self.to_value())
    }

    /// The recipe as a tree. Two things that no plan gets by are left out: `chat_template` and the rules of a custom
    /// tokenizer.
    #[must_use]
    pub(crate) fn to_value(&self) -> Value {
        let Self {
            span: _,
            document: _,
            keeps_base_only,
            name,
            method,
            assembly,
            base_model,
            parameters,
            module_parameters,
            dtype,
            out_dtype,
            tokenizer,
            chat_template: _,
        } = self;
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            map.insert(key.to_owned(), value);
        };
        if let Some(name) = name {
            put("name", name.value.as_str().into());
        }
        put("merge_method", method.value.as_str().into());
        if let Some(base) = base_model {
            put("base_model", reference(&base.value));
        }
        if *keeps_base_only {
            put("base_only", "keep".into());
        }
        let (key, list) = match assembly {
            Assembly::Models(sources) => ("models", sources.iter().map(source).collect()),
            Assembly::Slices(slices) => ("slices", slices.iter().map(slice).collect()),
        };
        if module_parameters.is_empty() {
            put(key, list);
        } else {
            let module = Map::from_iter([
                (key.to_owned(), list),
                ("parameters".to_owned(), parameters_value(module_parameters)),
            ]);
            put("modules", Map::from_iter([("default".to_owned(), module.into())]).into());
        }
        if !parameters.is_empty() {
            put("parameters", parameters_value(parameters));
        }
        for (key, dtype) in [("dtype", dtype), ("out_dtype", out_dtype)] {
            if let Some(name) = dtype.and_then(DType::torch_name) {
                put(key, name.into());
            }
        }
        match tokenizer.as_ref().map(|tokenizer| &tokenizer.value) {
            Some(TokenizerSource::Base) => put("tokenizer_source", "base".into()),
            Some(TokenizerSource::Union) => put("tokenizer_source", "union".into()),
            // By path, as `base` and `union` may be directories.
            Some(TokenizerSource::Model(model)) => put("tokenizer_source", paths(model)),
            Some(TokenizerSource::Custom) | None => {}
        }
        map.into()
    }
}

fn slice(slice: &OutputSlice) -> Value {
    let OutputSlice { span: _, sources, base_model, parameters } = slice;
    let mut map = Map::from_iter([("sources".to_owned(), sources.iter().map(source).collect::<Value>())]);
    if let Some(base) = base_model {
        map.insert("base_model".to_owned(), reference(&base.value));
    }
    if !parameters.is_empty() {
        map.insert("parameters".to_owned(), parameters_value(parameters));
    }
    map.into()
}

fn source(source: &Source) -> Value {
    let Source { model, layer_range, parameters } = source;
    let mut map = Map::from_iter([("model".to_owned(), reference(&model.value))]);
    if let Some(range) = layer_range {
        let (start, end) = range.value;
        map.insert("layer_range".to_owned(), vec![start, end].into());
    }
    if !parameters.is_empty() {
        map.insert("parameters".to_owned(), parameters_value(parameters));
    }
    map.into()
}

fn parameters_value(parameters: &Parameters) -> Value {
    parameters.iter().map(|(key, setting)| (key.value.clone(), setting.to_value())).collect::<Map<_, _>>().into()
}

/// The text form, or paths where that would be split at the `+` or `@` of a path.
fn reference(model: &ModelReference) -> Value {
    let text = model.to_string();
    if ModelReference::parse(&text).as_ref() == Ok(model) { text.into() } else { paths(model) }
}

fn paths(model: &ModelReference) -> Value {
    let path = |path: &str, revision: Option<&str>| -> Value {
        let mut map = Map::from_iter([("path".to_owned(), Value::from(path))]);
        map.extend(revision.map(|revision| ("revision".to_owned(), Value::from(revision))));
        map.into()
    };
    let ModelReference { path: model, revision, adapter } = model;
    let mut map = Map::from_iter([("model".to_owned(), path(model, revision.as_deref()))]);
    map.extend(adapter.as_ref().map(|(folder, revision)| ("lora".to_owned(), path(folder, revision.as_deref()))));
    map.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::RecipeFile;
    use crate::recipe::setting::Setting;

    fn read(text: &str) -> Recipe {
        let file = RecipeFile::parse("r.yml".as_ref(), text, false);
        assert_eq!(file.diagnostics().list(), [], "{text}");
        file.recipes()[0].clone()
    }

    /// Everything of a recipe but its places in the text.
    fn without_places(recipe: &Recipe) -> String {
        let text = format!("{recipe:?}");
        let mut parts = text.split("Span {");
        let mut kept = parts.next().unwrap().to_owned();
        parts.for_each(|part| kept.push_str(part.split_once('}').unwrap().1));
        kept
    }

    #[test]
    fn a_recipe_that_was_written_reads_back_the_same() {
        for text in [
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1e-4}}, {model: b+c@d, parameters: {weight: '0.50'}}]\n",
            "merge_method: ties\nname: x y\nbase_model: {model: {path: a+b, revision: r}, lora: {path: 'c@d'}}\nbase_only: keep\n\
             dtype: bfloat16\nout_dtype: float32\ntokenizer_source: base\nparameters: {normalize: yes, lambda: 1.}\ntrim_scope: model\n\
             models:\n- model: /p/q\n  parameters:\n    weight: [0, 0.5, 1e0]\n    density:\n    - {filter: 'no', value: 0.1}\n    - {filter: mlp, value: [.1, 0.9]}\n    - value: 1\n",
            "merge_method: passthrough\ntokenizer_source: {model: {path: base}}\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n- base_model: b\n  \
             parameters: {scale: {filter: q, value: -2}}\n  sources: [{model: c, layer_range: [2, 3], parameters: {scale: null, other: []}}]\n",
            "merge_method: linear\nparameters: {weight: 1}\nmodules: {default: {models: [{model: 'true'}], parameters: {weight: 0x10}}}\n",
            "merge_method: linear\ntokenizer_source: union\nmodels: [{model: '007'}, {model: \"a\\nb: c\"}]\n",
        ] {
            let recipe = read(text);
            let again = read(&recipe.to_yaml());
            assert_eq!(without_places(&again), without_places(&recipe), "{}", recipe.to_yaml());
        }
    }

    #[test]
    fn a_recipe_made_in_rust_says_the_same_as_its_text() {
        let made = Recipe::new("ties")
            .with_base_model(ModelReference::directory("base"))
            .with_model(Source::new(ModelReference::directory("a")).with_parameter("density", 0.25))
            .with_model(
                Source::new(ModelReference::directory("b+c"))
                    .with_parameter("density", Setting::gradient([0.0, 1.0]))
                    .with_parameter("weight", Setting::when("mlp", 0.5).otherwise(1e-7)),
            )
            .with_parameter("normalize", true)
            .with_dtype(DType::BF16);
        let text = "\
merge_method: ties
base_model: base
models:
  - model: a
    parameters:
      density: 0.25
  - model:
      model:
        path: b+c
    parameters:
      density: [0.0, 1.0]
      weight:
        - filter: mlp
          value: 0.5
        - value: 1e-7
parameters:
  normalize: true
dtype: bfloat16
";
        assert_eq!(made.to_yaml(), text);
        assert_eq!(without_places(&read(text)), without_places(&made));
        assert!(!RecipeFile::from(made).diagnostics().has_errors());
    }

    #[test]
    fn what_no_file_could_say_is_refused_without_a_place() {
        let model = |path: &str| Source::new(ModelReference::directory(path));
        for (recipe, part) in [
            (Recipe::new("linear"), "has no models"),
            (Recipe::new("linear").with_slice([model("a")]), "of a slice has no layers"),
            (Recipe::new("linear").with_model(model("a").layers(0..2)), "is taken whole"),
            (Recipe::new("linear").with_model(model("a")).keeping_base_only(), "needs a `base_model`"),
            (Recipe::new("linear").with_model(model("a")).with_dtype(DType::U8), "can't be an output's"),
        ] {
            let text = RecipeFile::from(recipe).diagnostics().check().unwrap_err().to_string();
            assert!(text.contains(part) && !text.contains("-->"), "{part:?} is not in:\n{text}");
        }
    }
}
