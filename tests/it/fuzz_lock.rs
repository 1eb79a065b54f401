//! The lock file of `fuzz/` belongs to its manifest and to ours: `cargo build --locked` there does not change it.

use std::collections::BTreeSet;
use std::path::Path;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Names of a manifest's `[dependencies]`.
fn wanted(manifest: &str) -> BTreeSet<String> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    // Features that are off by default bring nothing here.
    let lines = lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.contains("optional = true"));
    lines.filter_map(|line| Some(line.split_once('=')?.0.trim().to_owned())).collect()
}

/// Names of the dependencies that a lock gives a package.
fn locked(lock: &str, package: &str) -> BTreeSet<String> {
    let block = lock.split("[[package]]").find(|block| block.contains(&format!("\nname = \"{package}\"\n"))).unwrap();
    let lines = block.lines().skip_while(|line| *line != "dependencies = [").skip(1);
    let lines = lines.take_while(|line| *line != "]");
    lines.map(|line| line.trim_matches([' ', '"', ',']).split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn the_lock_of_the_fuzz_targets_is_current() {
    let lock = read("fuzz/Cargo.lock");
    assert_eq!(locked(&lock, "billon"), wanted(&read("Cargo.toml")));
    assert_eq!(locked(&lock, "billon-fuzz"), wanted(&read("fuzz/Cargo.toml")));
}

#[test]
fn every_fuzz_target_has_a_dictionary_and_seeds() {
    let (manifest, seeds, guide) = (read("fuzz/Cargo.toml"), read("fuzz/seeds.sh"), read("CONTRIBUTING.md"));
    let names: Vec<&str> = manifest.split("[[bin]]\nname = \"").skip(1).map(|b| b.split('"').next().unwrap()).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/{name}.dict")).is_file(), "{name}");
        assert!(
            seeds.contains(&format!("fuzz/corpus/{name}/"))
                || seeds.contains(&format!("parts \"{name}/"))
                || seeds.contains(&format!("parts {name}/")),
            "{name}"
        );
        assert!(guide.contains(&format!(" {name} ")) || guide.contains(&format!(" {name};")), "{name}");
    }
}
