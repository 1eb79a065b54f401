//! Files of ours that documents name exist.

use std::path::Path;

#[test]
fn sources_that_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = vec!["README.md".into(), "CONTRIBUTING.md".into(), "clippy.toml".into()];
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        documents.push(format!("docs/{}", entry.unwrap().file_name().to_string_lossy()));
    }
    let mut missing = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(root.join(&document)).unwrap();
        for folder in ["src/", "tests/", "benches/", "fixtures/", "recipes/", "fuzz/"] {
            for (at, _) in text.match_indices(folder) {
                let before = text[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || "/._-$".contains(c)) {
                    continue;
                }
                let end =
                    text[at..].find(|c: char| !(c.is_alphanumeric() || "/._-".contains(c))).unwrap_or(text.len() - at);
                let path = text[at..at + end].trim_end_matches(['.', '-']);
                // Patterns, and what a command makes.
                let next = text[at + end..].chars().next();
                if next.is_some_and(|c| "*<$".contains(c)) || path.starts_with("fuzz/corpus") {
                    continue;
                }
                if !root.join(path).exists() {
                    missing.push(format!("{document}: {path}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
