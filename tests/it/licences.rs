//! What the program is built from, held to `deny.toml` without a network: licences and sources of every crate.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Everything that is built for this machine, by `cargo metadata`.
fn packages() -> Vec<Value> {
    let rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The strings of a list of `deny.toml`.
fn list(key: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    let list = text.split(&format!("\n{key} = [")).nth(1).unwrap().split("\n]").next().unwrap();
    let strings = list.lines().filter_map(|line| line.split('#').next()?.trim().strip_prefix('"')?.split('"').next());
    strings.map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met by the licences allowed. Cargo's old `A/B` means `A OR B`.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "+WITH+");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut place = 0;
    let met = any_of(&words, &mut place, allowed);
    met && place == words.len()
}

fn any_of(words: &[&str], place: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = all_of(words, place, allowed);
    while words.get(*place) == Some(&"OR") {
        *place += 1;
        met |= all_of(words, place, allowed);
    }
    met
}

fn all_of(words: &[&str], place: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, place, allowed);
    while words.get(*place) == Some(&"AND") {
        *place += 1;
        met &= one(words, place, allowed);
    }
    met
}

fn one(words: &[&str], place: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*place) else { return false };
    *place += 1;
    if *word != "(" {
        return allowed.contains(&word.replace("+WITH+", " WITH "));
    }
    let met = any_of(words, place, allowed);
    let closed = words.get(*place) == Some(&")");
    *place += 1;
    met && closed
}

#[test]
fn every_crate_has_an_allowed_licence_and_comes_from_the_registry() {
    let (allowed, banned) = (list("allow"), list("deny"));
    let packages = packages();
    assert!(packages.len() > 100 && allowed.contains("MIT") && !banned.is_empty());
    let mut faults = Vec::new();
    for package in &packages {
        let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_met(licence, &allowed) {
            faults.push(format!("{name} {version} has licence {licence}: see `allow` of deny.toml"));
        }
        if banned.contains(name) {
            faults.push(format!("{name} {version} is banned: see `deny` of deny.toml"));
        }
        let own = name == env!("CARGO_PKG_NAME");
        if !own && !package["source"].as_str().is_some_and(|source| source.starts_with("registry+")) {
            faults.push(format!("{name} {version} does not come from the registry: publish it or do without"));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn licence_expressions_are_evaluated() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for met in [
        "MIT",
        "GPL-3.0-only OR MIT",
        "Unlicense/MIT",
        "(MIT OR GPL-3.0-only) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
        "GPL-2.0-only AND MIT OR MIT",
    ] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in
        ["", "none", "GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT", "MIT)", "GPL-2.0-only WITH LLVM-exception"]
    {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}

/// The document lists what the manifest does.
#[test]
fn every_direct_dependency_is_documented() {
    let read = |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (manifest, document) = (read("Cargo.toml"), read("docs/dependencies.md"));
    let mut names = BTreeSet::new();
    for table in ["\n[dependencies]\n", "\n[dev-dependencies]\n"] {
        let lines = manifest.split(table).nth(1).unwrap().lines().take_while(|line| !line.starts_with('['));
        names.extend(lines.filter_map(|line| Some(line.split_once(" = ")?.0)));
    }
    let missing: Vec<&&str> = names.iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(names.len() > 20 && missing.is_empty(), "not in docs/dependencies.md: {missing:?}");
}
