//! The rank test: the sources name only what stands below them, and each danger has its one room.
//!
//! It parses with `syn`; [`source`] resolves what files name, [`rules`] says what they may.

mod plants;
mod rules;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All sources below a folder by their path relative to it.
fn texts(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![root.into()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn ours() -> BTreeMap<String, String> {
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn modules_use_only_what_is_below_them() {
    let texts = ours();
    assert!(texts.len() > 20 && texts.contains_key("merge/plan/mod.rs"), "{:?}", texts.keys());
    let faults = rules::faults(&source::Sources::parse(&texts));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
