//! The rank test itself: what it must notice, each planted into a small crate that keeps the rules, and what it must let
//! pass.

use std::collections::BTreeMap;

use super::rules::faults;
use super::source::Sources;

/// A crate that keeps the rules.
const KEPT: &[(&str, &str)] = &[
    (
        "lib.rs",
        "mod error; mod parallel; mod storage; mod yaml; mod compute; mod checkpoint; mod recipe; mod merge; mod cli; pub use error::Error;",
    ),
    ("error.rs", "pub struct Error;"),
    (
        "parallel.rs",
        "use crate::error::Error;\npub(crate) fn workers() { std::thread::scope(|_| ()); rayon::join(|| (), || ()); }",
    ),
    ("storage/mod.rs", "//! Files.\nmod publish;\npub(crate) use publish::write;"),
    ("storage/publish.rs", "pub(crate) fn write() { std::fs::OpenOptions::new(); }"),
    ("yaml/mod.rs", "mod tree;\npub(crate) use tree::Node;"),
    ("yaml/tree.rs", "pub(crate) struct Node;\n#[cfg(test)]\nmod tests {\n    use crate::merge::plan;\n}"),
    ("compute/mod.rs", "pub(crate) mod merge;\npub(crate) mod nn;"),
    ("compute/merge/mod.rs", "pub(crate) mod cpu;"),
    ("compute/merge/cpu.rs", "pub(crate) struct Cpu;"),
    ("compute/nn/mod.rs", "mod norm;\n#[cfg(test)]\nmod norm_cases;\npub(crate) use norm::rms_norm;"),
    ("compute/nn/norm.rs", "pub(crate) fn rms_norm() {}"),
    ("compute/nn/norm_cases.rs", "use crate::cli::main;"),
    ("checkpoint/mod.rs", "mod header;\nmod model_dir;\npub(crate) use model_dir::ModelDir;"),
    ("checkpoint/header.rs", "use crate::error::Error;\npub(crate) struct Header;"),
    ("checkpoint/model_dir.rs", "use super::header::Header;\npub(crate) struct ModelDir;"),
    ("recipe/mod.rs", "mod schema;\npub(crate) use schema::Recipe;"),
    ("recipe/schema.rs", "use crate::yaml::Node;\npub(crate) struct Recipe;"),
    (
        "merge/mod.rs",
        "pub(crate) mod methods;\npub(crate) mod plan;\npub(crate) mod execute;\npub(crate) mod stages;\npub(crate) use plan::MergePlan;",
    ),
    ("merge/methods/mod.rs", "mod ties;\npub(crate) mod registry;"),
    ("merge/methods/ties.rs", "pub(crate) struct Ties;"),
    ("merge/methods/registry.rs", "use super::ties::Ties;\npub(crate) fn find(_: Ties) {}"),
    ("merge/plan/mod.rs", "mod planner;\npub(crate) use planner::MergePlan;"),
    (
        "merge/plan/planner.rs",
        "use crate::recipe::Recipe;\nuse crate::merge::methods::registry;\n// crate::cli is named in a comment\npub(crate) struct MergePlan;",
    ),
    ("merge/execute/mod.rs", "pub(crate) mod executor;"),
    (
        "merge/execute/executor.rs",
        "use crate::merge::MergePlan;\npub(crate) fn execute(_: MergePlan) { let text = \"crate::cli\"; }",
    ),
    ("merge/stages.rs", "use super::execute::executor;\nuse crate::{Error, recipe::Recipe};"),
    ("cli/mod.rs", "mod merge;\npub use merge::main;"),
    (
        "cli/merge.rs",
        "use clap::Args;\nuse crate::merge::stages;\npub fn main() { println!(\"x\"); std::io::stdout(); }",
    ),
    ("main.rs", "fn main() { billon::cli::main() }"),
];

/// Where, the line that is added, and what of the fault must be said.
const PLANTS: &[(&str, &str, &str)] = &[
    ("checkpoint/header.rs", "use crate::recipe::Recipe;", "`checkpoint` uses `recipe`"),
    ("checkpoint/header.rs", "fn f() { crate::cli::main() }", "`checkpoint` uses `cli`"),
    ("checkpoint/header.rs", "use crate::{error::Error as E, merge::plan};", "`checkpoint` uses `merge/plan`"),
    ("checkpoint/header.rs", "use super::super::merge::plan;", "`checkpoint` uses `merge/plan`"),
    // After unit tests in the middle of a file.
    ("checkpoint/header.rs", "#[cfg(test)]\nmod cases {}\nuse crate::recipe::Recipe;", "`checkpoint` uses `recipe`"),
    // A file that is only called so.
    ("checkpoint/header_tests.rs", "use crate::cli::main;", "`checkpoint` uses `cli`"),
    ("checkpoint/tests.rs", "use crate::cli::main;", "`checkpoint` uses `cli`"),
    ("checkpoint/header.rs", "use crate as root; fn f() { root::cli::main() }", "`checkpoint` uses `cli`"),
    ("checkpoint/header.rs", "use crate as root; use root::cli;", "`checkpoint` uses `cli`"),
    ("checkpoint/header.rs", "extern crate self as own; fn f() { own::cli::main() }", "`checkpoint` uses `cli`"),
    ("checkpoint/header.rs", "fn f() { crate :: cli :: main() }", "`checkpoint` uses `cli`"),
    ("checkpoint/header.rs", "fn f() { crate::\n    cli::main() }", "`checkpoint` uses `cli`"),
    ("checkpoint/header.rs", "macro_rules! m { () => { $crate::cli::main() } }", "`checkpoint` uses `cli`"),
    ("checkpoint/header.rs", "fn f() { assert!(crate :: cli :: main() == ()) }", "`checkpoint` uses `cli`"),
    (
        "checkpoint/header.rs",
        "#[derive(D)] struct S { #[serde(with = \"crate::cli::main\")] a: u8 }",
        "`checkpoint` uses `cli`",
    ),
    ("checkpoint/header.rs", "#[path = \"../cli/merge.rs\"] mod own;", "`#[path]` leaves the folder"),
    ("checkpoint/header.rs", "fn f() { include!(\"../cli/merge.rs\") }", "`include!` belongs to"),
    ("checkpoint/header.rs", "fn f() -> Box<dyn crate::recipe::Recipe> { todo!() }", "`checkpoint` uses `recipe`"),
    ("compute/nn/norm.rs", "use crate::checkpoint::ModelDir;", "`compute/nn` uses `checkpoint`"),
    ("compute/nn/norm.rs", "use crate::compute::merge::cpu::Cpu;", "`compute/nn` uses `compute/merge`"),
    ("compute/merge/cpu.rs", "fn f() { rayon::join(|| (), || ()); }", "`rayon` belongs to `parallel`"),
    ("compute/merge/cpu.rs", "use rayon as r;", "`rayon` belongs to `parallel`"),
    ("compute/merge/cpu.rs", "fn f() { ::rayon::join(|| (), || ()); }", "`rayon` belongs to `parallel`"),
    ("compute/merge/cpu.rs", "fn f() { std::fs::read(\"x\"); }", "`std::fs::read` belongs to `storage`"),
    ("compute/merge/cpu.rs", "use std::fs; fn f() { fs::read(\"x\"); }", "`std::fs::read` belongs to `storage`"),
    (
        "compute/merge/cpu.rs",
        "use std::{fs as files}; fn f() { files::read(\"x\"); }",
        "`std::fs::read` belongs to `storage`",
    ),
    (
        "merge/execute/executor.rs",
        "use std::fs::OpenOptions; fn f() { OpenOptions::new().create(true); }",
        "`std::fs::OpenOptions` belongs to",
    ),
    ("merge/execute/executor.rs", "fn f() { ureq::get(\"x\"); }", "`ureq` belongs to `eval/server hub`"),
    (
        "merge/execute/executor.rs",
        "fn f() { std::thread::spawn(|| ()); }",
        "`std::thread::spawn` belongs to `parallel`",
    ),
    (
        "merge/execute/executor.rs",
        "use std::thread; fn f() { thread::spawn(|| ()); }",
        "`std::thread::spawn` belongs to `parallel`",
    ),
    ("merge/execute/executor.rs", "use clap::Args;", "`clap` belongs to `cli`"),
    ("merge/execute/executor.rs", "fn f() { println!(\"x\"); }", "`println!` belongs to `cli`"),
    ("merge/execute/executor.rs", "fn f() { std::io::stdout(); }", "`std::io::stdout` belongs to `cli`"),
    ("recipe/schema.rs", "use tokenizers::Tokenizer;", "`tokenizers` belongs to `tokenizer`"),
    ("recipe/schema.rs", "fn f(e: E) { e.add_template(a, b); }", "`.add_template()` belongs to `python/jinja`"),
    // Circles inside a room, and ranks of second-level rooms.
    ("merge/methods/ties.rs", "use super::registry::find;", "in a circle"),
    ("merge/methods/ties.rs", "use crate::merge::plan::MergePlan;", "`merge/methods` uses `merge/plan`"),
    ("merge/methods/ties.rs", "use crate::merge::MergePlan;", "`merge/methods` uses `merge/plan`"),
    ("merge/plan/planner.rs", "use crate::merge::execute::executor;", "`merge/plan` uses `merge/execute`"),
    ("merge/execute/executor.rs", "use crate::merge::stages;", "`merge/execute` uses `merge`"),
    ("checkpoint/header.rs", "use super::ModelDir;", "in a circle"),
    ("surprise.rs", "", "`surprise` has no rank"),
    ("merge/utils.rs", "", "the name `utils` says nothing"),
    ("merge/plan/mod.rs", "fn f() {}", "a `mod.rs` holds docs"),
];

fn crate_with(path: &str, line: &str) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> =
        KEPT.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let text = texts.entry(path.to_owned()).or_default();
    *text = format!("{text}\n{line}\n");
    texts
}

#[test]
fn a_crate_that_keeps_the_rules_passes() {
    assert_eq!(faults(&Sources::parse(&crate_with("error.rs", ""))), Vec::<String>::new());
}

#[test]
fn every_planted_violation_is_noticed() {
    for (path, line, expected) in PLANTS {
        let faults = faults(&Sources::parse(&crate_with(path, line)));
        assert!(
            faults.iter().any(|fault| fault.contains(expected) && fault.contains(';')
                || fault.contains(expected) && fault.contains("has no rank")),
            "{path}: {line}: {faults:?}"
        );
    }
}

#[test]
fn a_file_may_not_be_too_long() {
    let faults = faults(&Sources::parse(&crate_with("yaml/tree.rs", &"fn f() {}\n".repeat(501))));
    assert!(faults.iter().any(|fault| fault.contains("more than 500")), "{faults:?}");
}
