//! The rank test: the sources name only what stands below them.
//!
//! It reads text, not types: every `crate::module` path, `crate::{...}` group and `super::` chain
//! that leaves its top-level module counts, whether in a `use` or in the middle of a line. Comments
//! do not count, nor do unit tests at the end of a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What may use what: a module may name those of lower rank.
const RANKS: &[(u32, &[&str])] = &[
    (1, &["error", "event", "dtype", "python_regex", "rng", "clock", "input", "panics", "threads", "visible"]),
    (2, &["checkpoint", "hub", "jinja", "yaml"]),
    (3, &["arch", "backend", "tokenizer"]),
    (4, &["lora", "recipe", "task"]),
    (5, &["merge", "model"]),
    (6, &["convert", "eval", "inspect"]),
    (7, &["train"]),
    (8, &["experiment"]),
    (9, &["demo"]),
    (10, &["cli"]),
    (11, &["main"]),
];

/// Modules of one rank that may name each other after all.
const BESIDE: &[(&str, &str)] = &[
    // The cancel flag hands out the error of a cancelled run.
    ("event", "error"),
    // So does the pool that has no thread.
    ("threads", "error"),
];

/// Crates and names with the only sources that may use them (several are set apart by blanks).
const OWNERS: &[(&str, &str)] = &[
    ("clap", "cli/"),
    ("indicatif", "cli/"),
    ("comfy_table", "cli/"),
    ("stdout", "cli/"),
    ("stderr", "cli/"),
    ("println!", "cli/"),
    ("eprintln!", "cli/"),
    ("memmap2", "checkpoint/"),
    ("tokenizers", "tokenizer/"),
    ("candle_core", "model/ convert/ train/"),
    ("plotters", "experiment/"),
    ("fancy_regex", "python_regex/"),
];

/// Calls that have one place each, where their dangers are dealt with, and who else may make them.
const PLACES: &[(&str, &str, &[&str])] = &[
    ("fs::read(", "input.rs", &[]),
    ("fs::read_to_string(", "input.rs", &[]),
    // The writer opens folders, to lock and to sync them.
    (" File::open(", "input.rs", &["checkpoint/"]),
    ("fs::File::open(", "input.rs", &["checkpoint/"]),
    ("(File::open(", "input.rs", &["checkpoint/"]),
    ("scope.spawn(", "threads.rs", &[]),
    ("thread::spawn(", "threads.rs", &[]),
    ("ThreadPoolBuilder::new(", "threads.rs", &[]),
    ("Timestamp::now(", "clock.rs", &[]),
    ("Zoned::now(", "clock.rs", &[]),
    (".add_template", "jinja/", &[]),
    (".template_from_str(", "jinja/", &[]),
    (".render_str(", "jinja/", &[]),
];

const MOST_LINES: usize = 600;
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// Faults of one source; `path` is relative to `src`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let steps: Vec<&str> = path.trim_end_matches(".rs").split('/').filter(|step| *step != "mod").collect();
    for step in &steps {
        if EMPTY_NAMES.contains(step) {
            faults.push(format!("{path}: the name `{step}` says nothing"));
        }
    }
    let code = code(text);
    let lines = code.lines().count();
    if lines > MOST_LINES {
        faults.push(format!("{path}: {lines} lines without tests, more than {MOST_LINES}"));
    }
    let module = steps[0];
    if module == "lib" {
        return faults;
    }
    let Some(own) = rank(module) else {
        return vec![format!("{path}: module `{module}` has no rank")];
    };
    for (number, line) in code.lines().enumerate() {
        for &(name, owner) in OWNERS {
            if !owner.split(' ').any(|owner| path.starts_with(owner))
                && words(line).any(|word| word == name.trim_end_matches('!'))
            {
                // `print` as a word is fine; the macro is not.
                if !name.ends_with('!') || line.contains(name) {
                    faults.push(format!("{path}:{}: `{name}` belongs to `{owner}`", number + 1));
                }
            }
        }
    }
    for (number, line) in code.lines().enumerate() {
        for (call, place, others) in PLACES {
            // What the kernel says about this machine is no input.
            let allowed = path.starts_with(place) || others.iter().any(|other| path.starts_with(other));
            if line.contains(call) && !allowed && !line.contains("\"/proc/") {
                faults.push(format!("{path}:{}: `{call}` belongs to `{place}`", number + 1));
            }
        }
    }
    for (line, used) in uses(&code, steps.len()) {
        let allowed = used == module
            || BESIDE.contains(&(module, used.as_str()))
            // What `lib.rs` re-exports at the root is `error`.
            || (["Error", "ErrorKind", "Result"].contains(&used.as_str()) && own > 1);
        match rank(&used) {
            _ if allowed => {}
            Some(other) if other < own => {}
            Some(other) => {
                faults.push(format!("{path}:{line}: `{module}` (rank {own}) uses `{used}` (rank {other})"));
            }
            None => faults.push(format!("{path}:{line}: `{used}` is no module with a rank")),
        }
    }
    faults
}

fn rank(module: &str) -> Option<u32> {
    RANKS.iter().find(|(_, modules)| modules.contains(&module)).map(|(rank, _)| *rank)
}

/// The text without comments, and up to the unit tests; line numbers stay.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{')) {
            break;
        }
        let end = if line.trim_start().starts_with("//") { Some(0) } else { line.find(" // ") };
        code.push_str(&line[..end.unwrap_or(line.len())]);
        code.push('\n');
    }
    code
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Top-level modules that a source `depth` modules deep names, with the lines.
fn uses(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let line = |at: usize| code[..at].lines().count().max(1);
    for root in ["crate::", "billon::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '$') {
                found.extend(heads(&code[at + root.len()..]).into_iter().map(|head| (line(at), head)));
            }
        }
    }
    // `super` escapes the top-level module when there are as many as modules above. An inline
    // module is one deeper, so that this only ever finds too much there.
    let escape = "super::".repeat(depth);
    for (at, _) in code.match_indices(&escape) {
        let rest = &code[at + escape.len()..];
        if !code[..at].ends_with("super::") {
            found.extend(heads(rest.trim_start_matches("super::")).into_iter().map(|head| (line(at), head)));
        }
    }
    found
}

/// The first names of a path or of a group of paths, `a::b` or `{a::b, c::{d, e}}`.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| words(text.trim_start()).next().unwrap_or_default().to_owned();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(name(&group[start..at]));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// All sources below a folder by their path relative to it.
fn sources(root: &Path) -> BTreeMap<String, String> {
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

#[test]
fn modules_use_only_what_is_below_them() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 20 && sources.contains_key("merge/plan/mod.rs"), "{:?}", sources.keys());
    // A file of unit tests may name what it likes.
    let read = sources.iter().filter(|(path, _)| !path.ends_with("_tests.rs") && !path.ends_with("/tests.rs"));
    let faults: Vec<String> = read.flat_map(|(path, text)| faults(path, text)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The checker itself, on sources that break each rule.
#[test]
fn every_rule_is_noticed_when_broken() {
    for (path, text, expected) in [
        ("checkpoint/header.rs", "use crate::recipe::Recipe;", "`checkpoint` (rank 2) uses `recipe` (rank 4)"),
        ("checkpoint/header.rs", "fn f() { crate::cli::main() }", "uses `cli` (rank 10)"),
        ("checkpoint/header.rs", "use crate::{dtype::{A, B}, merge::plan};", "uses `merge` (rank 5)"),
        ("checkpoint/header.rs", "use crate::{\n    dtype,\n    hub,\n};", "uses `hub` (rank 2)"),
        ("checkpoint/header.rs", "use super::super::merge::plan;", "uses `merge` (rank 5)"),
        ("merge/method/ties.rs", "use super::super::super::inspect;", "uses `inspect` (rank 6)"),
        ("hub.rs", "use super::checkpoint::ModelDir;", "uses `checkpoint` (rank 2)"),
        ("arch/mod.rs", "use crate::backend::Backend;", "uses `backend` (rank 3)"),
        ("backend/mod.rs", "use crate::surprise::X;", "`surprise` is no module with a rank"),
        ("surprise.rs", "", "`surprise` has no rank"),
        ("merge/executor.rs", "use clap::Args;", "`clap` belongs to `cli/`"),
        ("merge/executor.rs", "let out = std::io::stdout();", "`stdout` belongs to `cli/`"),
        ("merge/executor.rs", "println!(\"x\");", "`println!` belongs to `cli/`"),
        ("recipe/schema.rs", "use tokenizers::Tokenizer;", "`tokenizers` belongs to `tokenizer/`"),
        ("backend/cpu/mod.rs", "memmap2::Mmap::map(&file)", "`memmap2` belongs to `checkpoint/`"),
        ("merge/lock.rs", "let text = std::fs::read(&path)?;", "`fs::read(` belongs to `input.rs`"),
        ("task/data.rs", "let file = File::open(path)?;", "File::open(` belongs to `input.rs`"),
        ("merge/stages.rs", "scope.spawn(work);", "`scope.spawn(` belongs to `threads.rs`"),
        ("task/template.rs", "environment.add_template(name, text)?;", "`.add_template` belongs to `jinja/`"),
        ("merge/utils.rs", "", "the name `utils` says nothing"),
        ("merge/plan/mod.rs", &"fn f() {}\n".repeat(601), "601 lines without tests"),
    ] {
        let faults = faults(path, text);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{path}: {text:.80}: {faults:?}");
    }
    for (path, text) in [
        ("merge/plan/mod.rs", "use crate::recipe::Recipe;\nuse super::chunk;\n// crate::cli is named in a comment"),
        ("merge/method/ties.rs", "use super::super::plan;\nuse super::registry;"),
        ("inspect/mod.rs", "use crate::merge::sources::Model;\nuse crate::{Error, error::Hint};"),
        ("yaml/tree.rs", "use super::Kind;\n#[cfg(test)]\nmod tests {\n    use crate::merge::plan;\n}"),
        ("jinja/guard.rs", "std::fs::read_to_string(\"/proc/self/statm\")"),
        ("task/data.rs", "let file = MappedFile::open(path)?;\nlet text = crate::input::read(path, MOST)?;"),
        ("cli/merge.rs", "use clap::Args;\nuse crate::inspect;\nprintln!(\"x\");"),
        ("main.rs", "billon::cli::main()"),
        ("lib.rs", "pub use error::Error;"),
    ] {
        assert_eq!(faults(path, text), Vec::<String>::new(), "{path}");
    }
}
