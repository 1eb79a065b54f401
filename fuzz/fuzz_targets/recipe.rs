//! `RecipeFile::parse` on arbitrary text: it may never panic, every problem renders with an
//! excerpt, and reading the same text again finds the same.

#![no_main]

use billon::internal::ParameterKind;
use billon::internal::RecipeFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let lenient = first % 2 == 1;
    let file = RecipeFile::parse("fuzz.yml".as_ref(), &text, lenient);
    let mut diagnostics = file.diagnostics().clone();
    assert!(!file.recipes().is_empty() || diagnostics.has_errors(), "nothing was read and nothing was said");
    let again = RecipeFile::parse("fuzz.yml".as_ref(), &text, lenient);
    assert_eq!(file.recipes(), again.recipes());
    assert_eq!(diagnostics.list(), again.diagnostics().list());
    for recipe in file.recipes() {
        for (name, setting) in recipe.scopes().into_iter().flat_map(|scope| scope.iter()) {
            for kind in [ParameterKind::Number, ParameterKind::Boolean, ParameterKind::Choice(&["tensor", "model"])] {
                setting.check(&name.value, kind, &mut diagnostics);
                for t in [0.0, 0.3, 1.0] {
                    let _ = setting.evaluate(kind, "model.layers.1.self_attn.q_proj.weight", t);
                }
            }
        }
        for source in recipe.sources() {
            let reference = source.reference().to_string();
            assert!(!reference.is_empty());
        }
    }
    for diagnostic in diagnostics.list() {
        let rendered = diagnostics.render(diagnostic);
        assert!(rendered.starts_with(&diagnostic.message));
        if let Some(span) = diagnostic.span {
            let lines = file.source().text.lines().count().max(1);
            assert!((1..=lines).contains(&span.line) && span.column >= 1, "{span:?} is outside the text");
        }
    }
    if let Err(error) = diagnostics.check() {
        assert!(!error.to_string().is_empty());
    }
});
