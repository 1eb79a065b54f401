//! The examples in `recipes/` work, and README.md says what the program does.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::context::Context;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn recipes() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("recipes")).unwrap();
    let mut recipes: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    recipes.retain(|path| path.extension().is_some_and(|e| e == "yml"));
    recipes.sort();
    recipes
}

fn methods() -> Vec<Value> {
    let run = Context::new().run(["methods", "--json"]);
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn every_recipe_is_planned_and_merged_without_a_warning() {
    let context = Context::new();
    let recipes = recipes();
    assert!(!recipes.is_empty());
    for recipe in recipes {
        let recipe = recipe.to_str().unwrap();
        let plan = context.run(["plan", recipe]);
        assert_eq!((plan.code, plan.stderr.as_str()), (Some(0), ""), "{recipe}");
        let name = Path::new(recipe).file_stem().unwrap().to_str().unwrap();
        let out = context.path(name);
        let merge = context.run(["merge", recipe, out.to_str().unwrap(), "--json"]);
        assert_eq!(merge.code, Some(0), "{recipe}: {}", merge.stderr);
        assert!(!merge.stderr.contains("warning"), "{recipe}: {}", merge.stderr);
        let report: Value = serde_json::from_str(&merge.stdout).unwrap();
        assert_eq!(report["warnings"], Value::Array(Vec::new()), "{recipe}");
        assert!(out.join("config.json").is_file(), "{recipe}");
    }
    assert_eq!(context.leftovers(), Vec::<String>::new());
}

#[test]
fn every_method_has_a_recipe() {
    let texts: Vec<String> = recipes().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for method in methods() {
        let line = format!("merge_method: {}", method["name"].as_str().unwrap());
        assert!(texts.iter().any(|t| t.lines().any(|l| l == line)), "no recipe has `{line}`");
    }
}

#[test]
fn the_readme_lists_every_method_with_its_parameters() {
    let readme = text("README.md");
    for method in methods() {
        let word = |key: &str| method[key].as_str().unwrap();
        let parameters: Vec<String> =
            method["parameters"].as_array().unwrap().iter().map(|p| parameter(p.as_str().unwrap())).collect();
        let row = format!("| `{}` | {} | {} | [", word("name"), word("inputs"), parameters.join(", "));
        let found = readme.lines().find(|line| line.starts_with(&row));
        let found = found.unwrap_or_else(|| panic!("README.md has no row that starts with\n{row}"));
        assert!(found.contains(&format!("]({})", word("reference"))), "{found}");
    }
}

/// `weight: per model, required` as the README writes it: `` `weight` (per model, required) ``.
fn parameter(description: &str) -> String {
    let (name, rest) = description.split_once(": ").unwrap();
    format!("`{name}` ({})", rest.trim_start_matches("one value, ").replace("default ", ""))
}

#[test]
fn files_that_the_documents_name_exist() {
    const FOLDERS: [&str; 8] = ["recipes/", "fixtures/", "docs/", "benches/", "src/", "tests/", "fuzz/", ".ci/"];
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().display()));
    for document in ["README.md", "CONTRIBUTING.md", "clippy.toml"].map(str::to_owned).into_iter().chain(docs) {
        let text = text(&document);
        let words = text.split(|c: char| c.is_whitespace() || "`()[]|\",;'{}".contains(c));
        for word in words.map(|w| w.trim_end_matches(['.', ':'])).filter(|w| !w.contains(['*', '<'])) {
            if FOLDERS.iter().any(|folder| word.starts_with(folder)) {
                assert!(root().join(word).exists(), "{document} names {word}");
            }
        }
    }
}

/// Runs every `$ billon` line of the README's `console` blocks and compares what it prints with
/// what stands below it. `...` stands for any number of lines; times and rates may differ. Only
/// `2>/dev/null` is understood of the shell.
#[test]
fn the_readme_shows_what_the_program_prints() {
    let context = Context::new();
    let misspelt = text("recipes/fixtures-ties.yml").replacen("density: [", "densty: [", 1);
    context.write("misspelt.yml", &misspelt);
    let outside = [
        ("target/merged", context.path("merged")),
        ("target/eval/base", context.path("eval")),
        ("misspelt.yml", context.path("misspelt.yml")),
    ];
    let mut commands = 0;
    for (command, expected) in console_commands(&text("README.md")) {
        let Some(arguments) = command.strip_prefix("billon ") else { continue };
        let (arguments, silent) = match arguments.strip_suffix(" 2>/dev/null") {
            Some(arguments) => (arguments, true),
            None => (arguments, false),
        };
        let arguments = arguments.split_whitespace().map(|argument| {
            let moved = outside.iter().find(|(name, _)| *name == argument);
            moved.map_or_else(|| argument.to_owned(), |(_, path)| path.to_str().unwrap().to_owned())
        });
        let run = context.run(arguments);
        let mut printed = if silent { run.stdout } else { run.stderr + &run.stdout };
        for (name, path) in &outside {
            printed = printed.replace(path.to_str().unwrap(), name);
        }
        let printed: Vec<&str> = printed.lines().collect();
        assert!(matches(&expected, &printed), "`{command}` prints\n{}", printed.join("\n"));
        commands += 1;
    }
    assert!(commands > 0);
}

/// The commands of all `console` blocks, each with the lines below it.
fn console_commands(document: &str) -> Vec<(String, Vec<&str>)> {
    let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            commands.push((command.to_owned(), Vec::new()));
        } else if inside && let Some((_, lines)) = commands.last_mut() {
            lines.push(line);
        }
    }
    commands
}

fn matches(expected: &[&str], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((&"...", rest)) => (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..])),
        Some((line, rest)) => {
            printed.first().is_some_and(|p| timeless(p) == timeless(line)) && matches(rest, &printed[1..])
        }
    }
}

/// A line without what differs from run to run.
fn timeless(line: &str) -> &str {
    if line.contains("GB/s") {
        line.rsplit_once(" in ").map_or(line, |(before, _)| before)
    } else if line.starts_with("results in ") {
        "results in"
    } else if line.trim_start().starts_with("\"seconds\"") {
        "seconds"
    } else {
        line.trim_end()
    }
}
